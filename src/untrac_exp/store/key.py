"""Hash of an artifact's key."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def fingerprint(value: Any) -> str:
    """Return the SHA-256 (hex) of a JSON-serialisable value, regardless of the order of keys.

    Raises:
        TypeError: a value is not JSON (a path, a set, a key that is not a string).
        ValueError: a float is NaN or infinite.
    """
    _check_json(value, "key")
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=dict)
    return hashlib.sha256(text.encode()).hexdigest()


def _check_json(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        for name, item in value.items():
            # json.dumps would turn the key 1 into "1"
            if not isinstance(name, str):
                raise TypeError(f"{where}: the name {name!r} is not a string")
            _check_json(item, f"{where}.{name}")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _check_json(item, f"{where}[{i}]")
    elif isinstance(value, float):
        if value - value != 0:
            raise ValueError(f"{where} is {value}; give a finite number")
    elif not isinstance(value, str | int | None):
        raise TypeError(f"{where} is a {type(value).__name__}, which is not JSON")
