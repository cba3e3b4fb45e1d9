"""Folders written by `save_to_disk` of Hugging Face datasets, memory-mapped."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow

from untrac_exp.data.base import Row
from untrac_exp.data.files import File, Record, evenly
from untrac_exp.data.rows import Columns, parse
from untrac_exp.data.sampling import distinct


def is_saved(folder: Path) -> bool:
    """Return whether `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote the folder."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


@dataclass(frozen=True)
class Saved:
    """A saved dataset, or the split `split` of a saved `DatasetDict`.

    split_key: configuration key of the split, for errors.
    """

    path: Path
    split: str
    split_key: str

    draws = True

    def __str__(self) -> str:
        return str(self.path)

    @cached_property
    def size(self) -> int:
        """Size in bytes."""
        return sum(file.size for file in self._files)

    @property
    def identity(self) -> str:
        """Identifier of the folder and split."""
        return f"{self.path.resolve()}@{self.split}"

    def digest(self) -> str:
        """Return the sha256 of the dataset's files; see `File.digest`."""
        return sha256("".join(file.digest() for file in self._files).encode()).hexdigest()

    def records(self, key: str, columns: Columns, paragraphs: bool) -> Iterator[Record]:
        """Yield the records in order; `paragraphs` is ignored."""
        for number, record in enumerate(self._load(key, columns), 1):
            yield f"{key}: {self.path} row {number}", record

    def draw(self, key: str, columns: Columns, n: int, seed: int) -> list[Row]:
        """Draw `n` rows uniformly by index; if there are fewer, return all rows in order."""
        dataset = self._load(key, columns)

        def place(at: float) -> tuple[int, int, Row | None]:
            number = int(at * len(dataset))
            where = f"{key}: {self.path} row {number + 1}"
            return number, 1, parse(where, dataset[number], columns)

        rows = distinct(place, len(dataset), n, seed)
        if rows is None:
            rows = evenly(self.records(key, columns, paragraphs=True), columns, n, seed)
        return rows

    @property
    def _folder(self) -> Path:
        return self.path / self.split if (self.path / "dataset_dict.json").is_file() else self.path

    @property
    def _files(self) -> list[File]:
        return [File(path) for path in sorted(self._folder.glob("*.arrow"))]

    def _load(self, key: str, columns: Columns) -> Any:
        import datasets  # imported here because it is slow

        try:
            dataset = datasets.load_from_disk(str(self.path), keep_in_memory=False)
        except (OSError, ValueError, KeyError, pyarrow.ArrowInvalid) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{key}: {self.path} is not readable as a saved dataset ({reason}); save it again"
            ) from error
        if isinstance(dataset, datasets.DatasetDict):
            if self.split not in dataset:
                raise ValueError(
                    f"{key}: {self.path} has no split '{self.split}' but {', '.join(dataset)}; "
                    f"set {self.split_key}"
                )
            dataset = dataset[self.split]
        chosen = [name for name in dataset.column_names if name in columns.names]
        return dataset.select_columns(chosen) if chosen else dataset
