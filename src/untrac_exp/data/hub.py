"""Datasets of the Hugging Face hub, or local copies of their repositories.

Corpora are streamed, shuffled with a seed and a buffer, and read only as far as needed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any

from untrac_exp.data.base import Corpus, Row
from untrac_exp.data.sampling import LONGEST, windows
from untrac_exp.store import fingerprint

DEFAULT_REVISION = "main"


@dataclass(frozen=True)
class Source:
    """One split of a dataset.

    Attributes:
        path: hub id or folder.
        config: name of a configuration of the dataset.
        split: name of the split.
        revision: branch, tag or commit; only a commit is immutable.
        key: configuration key, for errors.
        keys: keys to name in errors for config, split and path, if not ``<key>.<name>``.
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

    def read(self, columns: Sequence[str], streaming: bool = False) -> Iterator[dict[str, Any]]:
        """Yield the rows, reduced to `columns`.

        Raises:
            ValueError: dataset, revision, config, split or column is gated, missing or unreachable.
        """
        yield from self.rows(self.load(streaming), columns)

    def load(self, streaming: bool) -> Any:
        """Load as `datasets.Dataset`, or `IterableDataset` if `streaming`."""
        import datasets  # slow to import, and mini scale needs none of it

        datasets.utils.logging.disable_progress_bar()
        with self.explained(), _quiet():
            return datasets.load_dataset(
                self.path,
                self.config,
                split=self.split,
                revision=self.revision,
                streaming=streaming,
            )

    def rows(self, dataset: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> Iterator[dict]:
        """Yield rows of a loaded dataset; raise `ValueError` if a column is missing."""
        with self.explained():
            for row in dataset:
                if absent := [name for name in columns if name not in row]:
                    raise ValueError(
                        f"{self.key}: '{self.path}' has no column '{absent[0]}' but "
                        f"{', '.join(row)}; name another column, revision or path"
                    )
                yield {name: row[name] for name in columns}

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn errors of datasets and huggingface_hub into one line with a remedy."""
        try:
            yield
        except Exception as error:
            message = self._explanation(error)
            if message is None:
                raise
            raise ValueError(message) from error

    def _key(self, name: str) -> str:
        return self.keys.get(name, f"{self.key}.{name}")

    def _explanation(self, error: Exception) -> str | None:
        import httpx
        from datasets.exceptions import DatasetNotFoundError
        from huggingface_hub import errors as hub

        chain = [error, *(e for e in (error.__cause__, error.__context__) if e is not None)]
        text = " ".join(str(error).split())

        def raised(*kinds: type[BaseException]) -> bool:
            return any(isinstance(e, kinds) for e in chain)

        if raised(hub.GatedRepoError, hub.LocalTokenNotFoundError) or "gated dataset" in text:
            return (
                f"{self.key}: '{self.path}' is gated; accept its terms at https://huggingface.co/"
                f"datasets/{self.path} and set HF_TOKEN (or run `hf auth login`)"
            )
        if raised(hub.RevisionNotFoundError) or text.startswith("Revision '"):
            return (
                f"{self.key}: '{self.path}' has no revision '{self.revision}'; "
                f"set {self.key}.revision to a branch or commit it has"
            )
        if raised(hub.RepositoryNotFoundError, DatasetNotFoundError):
            return (
                f"{self.key}: there is no dataset '{self.path}' for your account; "
                f"set {self._key('path')} to another id, or HF_TOKEN if it is private"
            )
        if isinstance(error, ValueError) and "BuilderConfig" in text:
            return f"{self.key}: {text}; set {self._key('config')} to one of them"
        if isinstance(error, ValueError) and "Config name is missing" in text:
            return (
                f"{self.key}: '{self.path}' has several configs; set {self._key('config')}. {text}"
            )
        if isinstance(error, ValueError) and ("Unknown split" in text or "Bad split" in text):
            return f"{self.key}: '{self.path}': {text.rstrip('.')}; set {self._key('split')}"
        if "scripts are no longer supported" in text:
            return (
                f"{self.key}: '{self.path}' is a loading script, which datasets does not run; set "
                f"{self._key('path')} or .revision to one that holds parquet, arrow or jsonl files"
            )
        if raised(ConnectionError, httpx.TransportError, hub.LocalEntryNotFoundError):
            return (
                f"{self.key}: cannot reach the hub for '{self.path}'; connect, or set "
                f"{self._key('path')} to a folder that holds its files"
            )
        if isinstance(error, FileNotFoundError):
            return f"{self.key}: '{self.path}' has no data files; set {self._key('path')}"
        return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the log lines of retries."""
    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


@dataclass(frozen=True)
class Texts:
    """Texts of one column, streamed on each iteration in the same seeded order.

    buffer_size: rows of the shuffle buffer; the dataset's files are shuffled too.
    """

    source: Source
    column: str
    seed: int
    buffer_size: int

    def __iter__(self) -> Iterator[Row]:
        stream = self.source.load(streaming=True)
        if self.buffer_size > 1:
            stream = stream.shuffle(seed=self.seed, buffer_size=self.buffer_size)
        for row in self.source.rows(stream, [self.column]):
            text = row[self.column]
            if text and not text.isspace():
                yield Row(text)

    @property
    def fingerprint(self) -> str:
        """Hash of the source and the order; nothing is read."""
        return fingerprint({**asdict(self), "source": self.source.settings})

    def draw(self, n: int, seed: int) -> list[Row]:
        """Return the first `n` texts in the order of `seed`; if there are no more, all in order."""
        other = replace(self, seed=self.seed + seed)
        found = list(islice(windows(other, LONGEST, seed), n + 1))
        return found[:n] if len(found) > n else list(windows(self, LONGEST, seed))


def corpora(
    datasets: Mapping[str, Mapping[str, Any] | None], seed: int = 0, buffer_size: int = 10_000
) -> list[Corpus]:
    """Return corpora of the hub.

    Args:
        datasets: by corpus name, {path, config, revision, split, column, buffer_size}, of which
            only path is required; column is "text". None leaves a corpus out.
        seed: of the order.
        buffer_size: default of `Texts.buffer_size`; use less for long texts such as books.
    """
    found = []
    for name, settings in datasets.items():
        if settings is None:  # a corpus of a preset, taken out: corpora.datasets.stories=null
            continue
        key = f"corpora.datasets.{name}"
        given = {"column": "text", "buffer_size": buffer_size, **settings}
        column, buffer = given.pop("column"), given.pop("buffer_size")
        try:
            texts = Texts(Source(**given, key=key), column, seed, buffer)
        except TypeError as error:
            raise ValueError(
                f"{key}: {error}; it takes path, config, revision, split, column and buffer_size"
            ) from error
        found.append(Corpus(name, texts, texts.fingerprint, texts.draw))
    return found
