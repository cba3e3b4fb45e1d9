"""Folders written by `save_to_disk` of Hugging Face datasets, memory-mapped."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pyarrow

from untrac_exp.data.base import Row
from untrac_exp.data.rows import parse
from untrac_exp.data.sampling import LONGEST, windows
from untrac_exp.data.sources.files import File, Record, Records


def is_saved(folder: Path) -> bool:
    """Return whether `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote the folder."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


@dataclass(frozen=True)
class Saved(Records):
    """A saved dataset, or the split `split` of a saved `DatasetDict`."""

    path: Path
    split: str

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

    def records(self) -> Iterator[Record]:
        for number, record in enumerate(self._load(), 1):
            yield f"{self.key}: {self} row {number}", record

    def draw(self, n: int, seed: int) -> list[Row]:
        """Draw by index, at most as often as there are rows."""
        dataset = self._load()
        random = Random(f"places/{seed}").random
        found: dict[int, Row] = {}
        for _ in range(len(dataset)):
            number = int(random() * len(dataset))
            where = f"{self.key}: {self} row {number + 1}"
            if number not in found and (row := parse(where, dataset[number], self.columns)):
                found[number] = next(windows([row], LONGEST, number))
                if len(found) == n:
                    return list(found.values())
        return super().draw(n, seed)

    @property
    def _files(self) -> list[File]:
        split = self.path / self.split if (self.path / "dataset_dict.json").is_file() else self.path
        return [File(self.key, self.columns, path) for path in sorted(split.glob("*.arrow"))]

    def _load(self) -> Any:
        import datasets  # imported here because it is slow

        try:
            dataset = datasets.load_from_disk(str(self.path), keep_in_memory=False)
        except (OSError, ValueError, KeyError, pyarrow.ArrowInvalid) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{self.key}: {self} is not readable as a saved dataset ({reason}); save it again"
            ) from error
        if isinstance(dataset, datasets.DatasetDict):
            if self.split not in dataset:
                raise ValueError(
                    f"{self.key}: {self} has no split '{self.split}' but {', '.join(dataset)}; "
                    f"set {self.key.split('.')[0]}.split"
                )
            dataset = dataset[self.split]
        chosen = [name for name in dataset.column_names if name in self.columns.names]
        return dataset.select_columns(chosen) if chosen else dataset
