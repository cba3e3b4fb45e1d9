"""What a configuration names that is not on this machine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_NAMES = ("path", "pretrained_tokenizer")
"""Keys that name a file or folder, or what is to be downloaded."""


def downloads(node: Any, key: str = "") -> dict[str, str]:
    """Return the keys of a configuration that name a hub id or URL, and what they name."""
    remote: dict[str, str] = {}
    for name, item in node.items() if isinstance(node, Mapping) else enumerate(node):
        where = f"{key}.{name}".lstrip(".")
        if isinstance(item, Mapping | list):
            remote |= downloads(item, where)
        elif isinstance(item, str) and item.startswith("hub:"):
            remote[where] = item
        elif name in _NAMES and item not in (None, "???") and not Path(item).exists():
            config = node.get("config")
            remote[where] = f"{item} {config}" if isinstance(config, str) else item
    return remote
