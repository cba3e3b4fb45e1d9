"""Where records (values by column) come from: what all places of people's own data share."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from untrac_exp.data.base import Row
from untrac_exp.data.rows import Columns, parse

Record = tuple[str, Mapping[str, Any]]
"""(configuration key and position, for errors; values by column)."""


@cache
def datasets_library() -> Any:
    """Import `datasets`, which takes seconds, without progress bars, log lines and telemetry."""
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # else a request for each local file
    return datasets


@dataclass(frozen=True)
class Records:
    """Records of one place, read again on each call.

    Attributes:
        key: its configuration key, for errors.
        columns: what its columns are; of a table, no others are read.
    """

    key: str
    columns: Columns

    @property
    def size(self) -> int:
        """Size in bytes, as far as known."""
        return 0

    @property
    def n_pieces(self) -> int:
        """Number of pieces that can be read alone."""
        return 1

    @property
    def identity(self) -> str:
        """The same for all spellings of the place."""
        return self.key

    def digest(self) -> str:
        """Return what identifies the content."""
        raise NotImplementedError

    def records(self, index: int = 0, n: int = 1) -> Iterator[Record]:
        """Yield in order the records that begin in piece `index` of `n`."""
        raise NotImplementedError

    def rows(self, index: int = 0, n: int = 1) -> Iterator[Row]:
        """Yield in order the rows with text to score that begin in piece `index` of `n`."""
        records = self.records(index, n)
        return (row for where, record in records if (row := parse(where, record, self.columns)))
