"""Datasets of the Hugging Face hub, or local copies of their repositories.

Corpora are streamed, and read only as far as needed.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from untrac_exp.data.base import Corpus, Row
from untrac_exp.data.rows import Columns
from untrac_exp.data.sampling import LONGEST, windows
from untrac_exp.data.sources.files import Record, Records
from untrac_exp.store import fingerprint

DEFAULT_REVISION = "main"
PREFIX = "hub:"
"""Of an address among local paths, `hub:owner/name` or `hub:owner/name@config`."""
BUFFER = 2_000
"""Rows of the shuffle buffer of a sampled address."""


@dataclass(frozen=True)
class Source:
    """One split of a dataset.

    Attributes:
        path: hub id or folder.
        config: name of a configuration of the dataset.
        split: name of the split.
        revision: branch, tag or commit; only a commit is immutable.
        key: configuration key, for errors.
        keys: its keys for config, split and path, if not ``<key>.<name>``.
    """

    path: str
    config: str | None = None
    split: str = "train"
    revision: str = DEFAULT_REVISION
    key: str = "corpora"
    keys: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def settings(self) -> dict[str, str | None]:
        """Everything that determines the rows."""
        return {name: getattr(self, name) for name in ("path", "config", "split", "revision")}

    def read(
        self,
        columns: Sequence[str] | None = None,
        streaming: bool = False,
        seed: int = 0,
        buffer_size: int = 1,
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows.

        Args:
            columns: columns to keep; None keeps all.
            streaming: read only as far as needed, instead of downloading all.
            seed: of the order.
            buffer_size: rows of the shuffle buffer of a stream, whose files are shuffled too; at
                most 1 keeps the order.

        Raises:
            ValueError: dataset, revision, config, split or column is gated, missing or unreachable.
        """
        import datasets  # slow to import, and mini scale needs none of it
        from huggingface_hub.utils import logging

        datasets.utils.logging.disable_progress_bar()
        level = logging.get_verbosity()
        logging.set_verbosity_error()  # else every retry is a log line
        try:
            dataset = datasets.load_dataset(
                self.path,
                self.config,
                split=self.split,
                revision=self.revision,
                streaming=streaming,
            )
            if buffer_size > 1:
                dataset = dataset.shuffle(seed=seed, buffer_size=buffer_size)
            for row in dataset:
                if absent := [name for name in columns or () if name not in row]:
                    raise ValueError(
                        f"{self.key}: '{self.path}' has no column '{absent[0]}' but "
                        f"{', '.join(row)}; name another column, revision or path"
                    )
                yield row if columns is None else {name: row[name] for name in columns}
        except Exception as error:
            if (reason := self._explanation(error)) is None:
                raise
            raise ValueError(f"{self.key}: {reason}") from error
        finally:
            logging.set_verbosity(level)

    def _explanation(self, error: Exception) -> str | None:
        """Return what is wrong and its remedy for errors of datasets and huggingface_hub."""
        import httpx
        from datasets.exceptions import DatasetNotFoundError
        from huggingface_hub import errors as hub

        chain = [error, error.__cause__, error.__context__]
        text = " ".join(str(error).split())
        path = f"'{self.path}'"
        keys = {**{name: f"{self.key}.{name}" for name in self.settings}, **self.keys}

        def raised(*kinds: type[BaseException]) -> bool:
            return any(isinstance(e, kinds) for e in chain)

        if raised(hub.GatedRepoError, hub.LocalTokenNotFoundError) or "gated dataset" in text:
            return (
                f"{path} is gated; accept its terms at https://huggingface.co/datasets/{self.path} "
                "and set HF_TOKEN (or run `hf auth login`)"
            )
        if raised(hub.RevisionNotFoundError) or text.startswith("Revision '"):
            return (
                f"{path} has no revision '{self.revision}'; set {keys['revision']} to a branch or "
                "commit it has"
            )
        if raised(hub.RepositoryNotFoundError, DatasetNotFoundError):
            return (
                f"there is no dataset {path} for your account; set {keys['path']} to another id, "
                "or HF_TOKEN if it is private"
            )
        if isinstance(error, ValueError) and "BuilderConfig" in text:
            return f"{text}; set {keys['config']} to one of them"
        if isinstance(error, ValueError) and "Config name is missing" in text:
            return f"{path} has several configs; set {keys['config']}. {text}"
        if isinstance(error, ValueError) and ("Unknown split" in text or "Bad split" in text):
            return f"{path}: {text.rstrip('.')}; set {keys['split']}"
        if "scripts are no longer supported" in text:
            return (
                f"{path} is a loading script, which datasets does not run; set {keys['path']} or "
                ".revision to one that holds parquet, arrow or jsonl files"
            )
        if raised(ConnectionError, httpx.TransportError, hub.LocalEntryNotFoundError):
            return (
                f"cannot reach the hub for {path}; connect, or set {keys['path']} to a folder that "
                "holds its files"
            )
        if isinstance(error, FileNotFoundError):
            return f"{path} has no data files; set {keys['path']}"
        return None


@dataclass(frozen=True)
class Streamed(Records):
    """A split of a hub dataset, read anew on each iteration; its size is taken as large.

    Attributes:
        column: the only column to read; None for all.
        seed, buffer_size: of the order, see `Source.read`.
        in_order: shuffle only to draw.
    """

    source: Source
    column: str | None = None
    seed: int = 0
    buffer_size: int = BUFFER
    in_order: bool = True

    size = sys.maxsize

    def __str__(self) -> str:
        return f"{PREFIX}{self.source.path}"

    @property
    def identity(self) -> str:
        """Identifier of path, config and split."""
        return f"{self}@{self.source.config}@{self.source.split}"

    def digest(self) -> str:
        """Return the sha256 of the source; nothing is read."""
        return fingerprint(self.source.settings)

    def __iter__(self) -> Iterator[Row]:
        return self.parsed(self.records())

    def records(self, seed: int | None = None) -> Iterator[Record]:
        """Yield the records; seed: added to `self.seed`, None for the order of the corpus."""
        columns = None if self.column is None else [self.column]
        size = 1 if self.in_order and seed is None else self.buffer_size
        rows = self.source.read(columns, True, self.seed + (seed or 0), size)
        for number, record in enumerate(rows, 1):
            yield f"{self.key}: '{self.source.path}' row {number}", record

    def draw(self, n: int, seed: int) -> list[Row]:
        """Return the first `n` rows of the shuffled files and the shuffle buffer.

        For a dataset of one file they come from its beginning. If there are no more, all in order.
        """
        rows = windows(self.parsed(self.records(seed)), LONGEST, seed)
        found = list(islice(rows, n + 1))
        return found[:n] if len(found) > n else super().draw(n, seed)


def named(address: str, split: str, key: str, columns: Columns) -> Streamed:
    """Return the dataset at an address, at its main revision; key: its configuration key."""
    path, _, config = address.removeprefix(PREFIX).partition("@")
    if not path:
        raise ValueError(f"{key}: '{address}' has no dataset name; write {PREFIX}owner/name")
    keys = {"path": key, "config": f"@config in {key}", "split": f"{key.split('.')[0]}.split"}
    return Streamed(key, columns, Source(path, config or None, split, key=key, keys=keys))


def corpora(
    datasets: Mapping[str, Mapping[str, Any] | None], seed: int = 0, buffer_size: int = 10_000
) -> list[Corpus]:
    """Return corpora of the hub.

    Args:
        datasets: by corpus name, {path, config, revision, split, column, buffer_size}, of which
            only path is required; column is "text". None leaves a corpus out.
        seed: of the order.
        buffer_size: default of the rows of the shuffle buffer; use less for long texts.
    """
    found = []
    for name, settings in datasets.items():
        if settings is None:  # a corpus of a preset, taken out: corpora.datasets.stories=null
            continue
        key = f"corpora.datasets.{name}"
        given = {"column": "text", "buffer_size": buffer_size, **settings}
        order = {name: given.pop(name) for name in ("column", "buffer_size")} | {"seed": seed}
        try:
            source = Source(**given, key=key)
        except TypeError as error:
            raise ValueError(
                f"{key}: {error}; it takes path, config, revision, split, column and buffer_size"
            ) from error
        rows = Streamed(key, Columns(text=order["column"]), source, **order, in_order=False)
        mark = fingerprint({"source": source.settings, **order})
        found.append(Corpus(name, rows, mark, rows.draw))
    return found
