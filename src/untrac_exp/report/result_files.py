"""Result files of one job, written so that reading them back gives bit-identical numbers.

A job directory ``<sweep>/<method>/seed<k>/`` holds ``scores.csv``, ``truth.csv`` (unless
truth=none), ``trajectory.csv`` and ``own_loss.csv`` (forget-set loss; unlearning methods only) and
``metrics.json``, which is written last and marks the job as finished.

Floats are written with ``repr``, undefined ones as an empty field or null. Files are written
atomically.
"""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from untrac_exp.statistics.ranking import EXAMPLES, RANKING
from untrac_exp.statistics.tokens import TOKENS

SCORES = ["corpus", "testset", "subset", "influence", "ci_low", "ci_high"]
TRAJECTORY = ["corpus", "testset", "subset", "step", "influence"]
TRUTH = ["train_seed", "corpus", "testset", "subset", "influence"]
MODELS = ["train_seed", "without", "testset", "subset", "influence"]
OWN_LOSS = ["unlearned", "step", "loss"]
SHARED = ["corpus", "testset", "subset", "test_index", "share", "excerpt"]
TABLES = {
    "scores": SCORES,
    "trajectory": TRAJECTORY,
    "candidates": SCORES,  # of texts that were not trained on: what adding them would do
    "truth": TRUTH,  # influence by retraining, for each train seed
    "models": MODELS,  # loss change of each model trained without several corpora, listed as JSON
    "own_loss": OWN_LOSS,  # of the forget set
    "ranking": RANKING,  # with the lead over the next corpus
    "examples": EXAMPLES,  # texts whose loss rose most
    "tokens": TOKENS,  # nats of each token of the texts that a corpus moved most, if asked for
    "duplicates": SHARED,  # test texts that are also in a corpus' sample
}
"""Columns of each file; influences, losses and changes are in nats per token."""

_TYPES = {
    **dict.fromkeys(("step", "train_seed", "rank", "index", "test_index", "position"), "int64"),
    **dict.fromkeys(("corpus", "testset", "subset", "without", "unlearned"), "str"),
    **dict.fromkeys(("read", "text", "excerpt", "token"), "str"),
}
"""Types of the columns that are no floats."""


def write(outdir: Path, name: str, table: pd.DataFrame) -> Path:
    """Write ``<name>.csv``, with the columns of `TABLES`; those that are missing are empty."""
    columns = TABLES[name]
    missing = {"influence", "loss", "change", "share"} & {*columns} - {*table.columns}
    assert not missing, f"{name}.csv without {missing}"
    # a bare \r ends a line for some readers, quoted or not
    table = table.reindex(columns=columns).replace(r"\r\n?", "\n", regex=True)
    return write_text(outdir / f"{name}.csv", table_text(table))


def write_metrics(outdir: Path, metrics: Mapping[str, Any]) -> Path:
    """Write ``metrics.json``, the last of a job's files. NaN and infinities become null.

    It has the sha256 of each table.
    """
    paths = [outdir / f"{name}.csv" for name in TABLES]
    tables = {path.name: _sha256(path) for path in paths if path.exists()}
    content = plain({**metrics, "tables": tables})
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False, default=str)
    return write_text(outdir / "metrics.json", text + "\n")


def begin(outdir: Path) -> None:
    """Remove the results that are about to be replaced, ``metrics.json`` first."""
    for name in ("metrics.json", *(f"{table}.csv" for table in TABLES)):
        (outdir / name).unlink(missing_ok=True)


def read_metrics(outdir: Path) -> dict[str, Any]:
    """Read ``metrics.json``.

    Raises:
        ValueError: the file is missing or malformed.
    """
    path = outdir / "metrics.json"
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(metrics, dict) or not {"method", "seed"} <= metrics.keys():
            raise ValueError("no method or seed in it")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: unreadable ({error}); delete it and run the job again") from None
    return metrics


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame | None:
    """Read a table of this module bit by bit; None if the file does not exist.

    Names stay text even if they look like numbers or like pandas' NaN strings.

    Raises:
        ValueError: a column is missing, or the file cannot be parsed.
    """
    if not path.exists():
        return None
    try:
        return pd.read_csv(
            path,
            usecols=list(columns),
            dtype={name: _TYPES.get(name, "float64") for name in columns},
            keep_default_na=False,
            na_values={name: [""] for name in columns if name not in _TYPES},
        )[list(columns)]
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{path}: unreadable ({reason}); delete it and run the job again"
        ) from None


def changed_table(outdir: Path, metrics: Mapping[str, Any]) -> str | None:
    """Return a table that is not the one that these metrics were written with, None if all are."""
    for name, digest in (metrics.get("tables") or {}).items():
        path = outdir / name
        if not path.is_file() or _sha256(path) != digest:
            return str(name)
    return None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_text(path: Path, text: str) -> Path:
    """Write a text file atomically, as `write_bytes` does."""
    return write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file atomically: under a temporary name, then renamed.

    Raises:
        ValueError: the disk is full or not writable.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise ValueError(
            f"cannot write {path}: {error.strerror or error}; free some space there or make it "
            "writable"
        ) from error
    return path


def table_text(table: pd.DataFrame) -> str:
    """Format a table as CSV, floats with ``repr``."""
    return table.to_csv(index=False, lineterminator="\n")


def plain(value: Any) -> Any:
    """Convert a value to JSON types: numpy scalars unwrapped, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
