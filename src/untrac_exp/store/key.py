"""The hash of what determines an artifact."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def fingerprint(value: Any) -> str:
    """SHA-256 in hex of a JSON-able value; the order of a mapping's keys does not matter.

    Raises:
        TypeError: something in it is not JSON (a path, a set, a key that is not a string).
        ValueError: a float in it is NaN or infinite.
    """
    _check_json(value, "key")
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=dict)
    return hashlib.sha256(text.encode()).hexdigest()


def _check_json(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        for name, item in value.items():
            # json.dumps would turn 1 into "1", and two keys into one hash
            if not isinstance(name, str):
                raise TypeError(f"{where}: the name {name!r} is not a string")
            _check_json(item, f"{where}.{name}")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _check_json(item, f"{where}[{i}]")
    elif isinstance(value, float):
        if value - value != 0:
            raise ValueError(f"{where} is {value}, which equals nothing; give a finite number")
    elif not isinstance(value, str | int | None):
        raise TypeError(f"{where} is a {type(value).__name__}, which is not JSON")
