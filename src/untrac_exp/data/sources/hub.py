"""Datasets of the Hugging Face hub, or local copies of their repositories.

Corpora are streamed, and read only as far as needed: their files come in a random order, and their
rows through a shuffle buffer. So a sample of a dataset of few large files is from the beginnings
of some of them.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from untrac_exp.data.remedies import answers, remedy_of
from untrac_exp.data.rows import Record, Records
from untrac_exp.store import fingerprint

DEFAULT_REVISION = "main"
PREFIX = "hub:"
"""Of an address among local paths, `hub:owner/name` or `hub:owner/name@config`."""

_GATED = "accept its terms at https://huggingface.co/datasets/{path} and set HF_TOKEN"
_REMEDIES = {
    ("GatedRepoError", "LocalTokenNotFoundError", "gated dataset"): "is gated; " + _GATED,
    ("Config name", "BuilderConfig", "Unknown split", "Bad split", "Revision '"): "is there, but "
    "{text}; give one of its configs, splits and revisions",
    ("RepositoryNotFoundError", "DatasetNotFoundError"): "does not exist for your account; correct "
    "it, or set HF_TOKEN if it is private",
    ("ConnectionError", "TransportError", "LocalEntryNotFoundError"): "is on the hub, which cannot "
    "be reached; connect, or give a folder that holds its files",
    ("FileNotFoundError", "scripts are no longer supported"): "cannot be read: {text}; give one "
    "with parquet, arrow or jsonl files",
}
"""What is wrong and its remedy, by names of an error's classes or words of its text."""


@cache
def datasets_library() -> Any:
    """Import `datasets`, which takes seconds, without progress bars, log lines and telemetry."""
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # else a request for each local file
    return datasets


@dataclass(frozen=True)
class HubDataset(Records):
    """One split of a dataset.

    Attributes:
        path: hub id or folder.
        config: name of a configuration of the dataset.
        split: name of the split, or several joined by "+", which follow one another.
        revision: branch, tag or commit; only a commit is immutable.
        seed: of the order; None keeps the dataset's.
        buffer_size: rows of the shuffle buffer.
        documents: number of rows to take, in this order; None for all. Samples are drawn of these.
    """

    path: str
    config: str | None = None
    split: str = "train"
    revision: str = DEFAULT_REVISION
    seed: int | None = None
    buffer_size: int = 2_000
    documents: int | None = None

    @property
    def size(self) -> int:  # unknown, and large unless it is cut to its first documents
        return sys.maxsize if self.documents is None else 0

    def __str__(self) -> str:
        return f"{self.key}: '{self.path}'"

    @property
    def identity(self) -> str:
        return f"{PREFIX}{self.path}@{self.config}@{self.split}"

    def digest(self) -> str:
        order = [self.seed, self.buffer_size, self.documents]
        return fingerprint([self.identity, self.revision, *order])

    def read(
        self, columns: Sequence[str] | None = None, streaming: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows.

        Args:
            columns: columns to keep; None keeps all.
            streaming: read only as far as needed, instead of downloading all.

        Raises:
            ValueError: dataset, revision, config, split or column is gated, missing or unreachable.
        """
        try:
            library = datasets_library()
            is_folder = Path(self.path).is_dir()
            if not (is_folder or answers(self.path, "dataset")):
                library.config.HF_HUB_OFFLINE = True  # only what has been fetched before
            splits = [
                library.load_dataset(
                    self.path,
                    self.config,
                    split=split,
                    revision=self.revision,
                    # what `datasets` keeps of a folder goes by its name, whatever is in it
                    streaming=streaming or is_folder,
                )
                for split in self.split.split("+")
            ]
            dataset = splits[0] if len(splits) == 1 else library.concatenate_datasets(splits)
            if self.seed is not None:
                dataset = dataset.shuffle(seed=self.seed, buffer_size=self.buffer_size)
            for row in dataset:
                if absent := [name for name in columns or () if name not in row]:
                    raise ValueError(
                        f"{self} has no column '{absent[0]}' but {', '.join(row)}; name another "
                        "column, revision or path"
                    )
                yield row if columns is None else {name: row[name] for name in columns}
        except Exception as error:
            if remedy := remedy_of(error, _REMEDIES, path=self.path):
                raise ValueError(f"{self} {remedy}") from error
            raise

    def records(self, index: int = 0, n: int = 1) -> Iterator[Record]:
        rows = islice(self.read(streaming=True), self.documents)
        for number, record in enumerate(rows, 1):
            yield f"{self} row {number}", record

    def shuffled(self, seed: int) -> "HubDataset":
        """Return the dataset in another order of its files and through a shuffle buffer."""
        return replace(self, seed=(self.seed or 0) + seed)
