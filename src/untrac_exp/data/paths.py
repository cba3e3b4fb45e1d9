"""The files that people's paths, folders and globs name, each once."""

import glob
import json
import logging
import os
from pathlib import Path

from untrac_exp.data.files import COMPRESSIONS, FORMATS, format_of

log = logging.getLogger(__name__)


def find_files(
    key: str, patterns: list[str], split: str
) -> tuple[list[Path], dict[str, list[str]]]:
    """Return the files that paths, folders and globs name, each once, and the ignored ones.

    Args:
        key: of the configuration, for errors.
        patterns: the paths and globs.
        split: of a dictionary of datasets that was saved by `datasets`.

    Returns:
        The files, and the ignored ones by reason.

    Raises:
        ValueError: there is no such file, or it cannot be read.
    """
    files: dict[tuple[int, int], Path] = {}
    ignored: dict[str, list[str]] = {}
    formats = f"{', '.join(FORMATS)}, or one of the first five with {', '.join(COMPRESSIONS)}"
    for pattern in patterns:
        path = Path(pattern).expanduser()
        if path.is_file() and not format_of(path):
            suffix = "".join(path.suffixes[-2:])
            raise ValueError(f"{key}: {path} ends in '{suffix}'; convert it to {formats}")
        named = [path] if path.exists() else map(Path, glob.glob(str(path), recursive=True))
        is_empty = True
        for place in sorted(named):
            for file in _walk(key, place, split) if place.is_dir() else [place]:
                reason = _reason_to_ignore(file, is_named=file == place)
                if reason is None:
                    is_empty, state = False, file.stat()
                    first = files.setdefault((state.st_dev, state.st_ino), file)
                    reason = "read by another name" if first != file else None
                if reason is not None:
                    ignored.setdefault(reason, []).append(str(file))
        if is_empty:
            why = ", ".join(f"; {len(files)} {reason}" for reason, files in ignored.items())
            raise ValueError(
                f"{key}: no file at '{pattern}' (from {Path.cwd()}{why}); check the path or "
                f"pattern; files end in {formats}"
            )
    for reason, ignored_files in ignored.items():
        such = ", ".join(Path(file).name for file in ignored_files[:3])
        log.info("%s: %d files ignored, %s (%s)", key, len(ignored_files), reason, such)
    return list(files.values()), ignored


def _walk(key: str, folder: Path, split: str) -> list[Path]:
    """Return all files below a folder, of a saved dictionary of datasets those of the split."""
    if (dictionary := folder / "dataset_dict.json").is_file():
        if not (folder / split).is_dir():
            splits = ", ".join(json.loads(dictionary.read_bytes())["splits"])
            group = key.partition(".")[0]
            raise ValueError(
                f"{key}: {folder} has no split '{split}' but {splits}; set {group}.split"
            )
        folder = folder / split
    paths, visited = [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in visited else [f for f in folders if not f.startswith(".")]
        paths += [] if real in visited else [Path(place, name) for name in names]
        visited.add(real)
    return sorted(paths)


def _reason_to_ignore(file: Path, is_named: bool) -> str | None:
    if file.name.startswith(".") and not is_named:
        return "hidden"
    if not file.is_file():
        return "no file"
    if (file.parent / "state.json").is_file() and not file.match("data-*.arrow"):
        return "not the data of a saved dataset"
    return None if format_of(file) else "of another format"
