"""Hash of an artifact's key."""

import hashlib
import json
from typing import Any


def fingerprint(value: Any) -> str:
    """Return the SHA-256 (hex) of a JSON-serialisable value, regardless of the order of keys.

    Raises:
        TypeError: a value is not JSON, such as a path or a set.
        ValueError: a float is NaN or infinite.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=dict, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
