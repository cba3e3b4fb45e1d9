"""Estimated sizes of data that are not downloaded yet, for plans."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.utils import get_method, instantiate
from omegaconf import DictConfig

from untrac_exp.data.base import Corpus, Row
from untrac_exp.data.sources import tasks_csv, toxigen, truthfulqa, winobias
from untrac_exp.methods.base import Subset
from untrac_exp.models.source import ModelSource

_CHARS_PER_TOKEN = 4.2
"""Of English text with a vocabulary of about ten thousand tokens."""

_TESTSETS = {toxigen.testsets: (13, 22), winobias.testsets: (4, 18), truthfulqa.testsets: (9, 24)}
"""Number of subsets and mean tokens per text of the test sets that a function downloads."""
_TOKENS_PER_TEXT = 32
"""Of other downloads."""


@dataclass(frozen=True)
class Guess:
    """Estimated size of a dataset: `n` examples of `length` tokens each."""

    n: int
    length: float

    def __len__(self) -> int:
        return self.n

    @property
    def read(self) -> int:
        return round(self.n * self.length)

    def sample(self, n: int | None, seed: int) -> "Guess":
        return self if n is None else Guess(min(n, self.n), self.length)


def downloads(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the keys of a configuration that name a hub id or URL, and what they name."""
    if not isinstance(value, Mapping):
        return
    for name in ("path", "pretrained_tokenizer"):
        where = value.get(name)
        if isinstance(where, str) and where != "???" and not Path(where).exists():
            parts = [where, value.get("config"), value.get("revision")]
            yield f"{key}.{name}", " ".join(str(part) for part in parts if isinstance(part, str))
    for name, item in value.items():
        yield from downloads(item, f"{key}.{name}".lstrip("."))


def guessed_corpora(cfg: DictConfig, source: ModelSource) -> dict[str, Guess]:
    """Estimate each corpus: from its rows if they are local, else `max_sequences` full blocks."""
    if get_method(cfg.corpora._target_) is tasks_csv.corpora:
        task = Guess(cfg.corpora.n_per_corpus, _TOKENS_PER_TEXT)
        return {f"corpus {i}": task for i in range(1, 5)}
    corpora: list[Corpus] = instantiate(cfg.corpora)
    block, limits, guesses = source.block_size, cfg.max_sequences or {}, {}
    sample = cfg.n_per_corpus or math.ceil((cfg.n_tokens_per_corpus or 0) / block)
    for corpus in corpora:
        limit = limits.get(corpus.name)
        if not isinstance(corpus.rows, list):
            guess = Guess(limit or sample, block)
        elif source.seq2seq or any(row.input for row in corpus.rows):
            guess = _guess(corpus.rows)
        else:
            guess = Guess(int(_chars(corpus.rows) / _CHARS_PER_TOKEN) // block, block)
        guesses[corpus.name] = guess.sample(limit, 0)
    return guesses


def guessed_subsets(node: Mapping[str, Any]) -> dict[Subset, Guess]:
    """Estimate each test subset; those to be downloaded are named by their path and a number."""
    if not list(downloads(node)):
        return {
            Subset(testset.name, name): _guess(rows)
            for testset in instantiate(node)
            for name, rows in testset.subsets.items()
        }
    if "path" not in node:  # several test sets
        parts = [part for part in node.values() if isinstance(part, Mapping)]
        return {key: guess for part in parts for key, guess in guessed_subsets(part).items()}
    n, length = _TESTSETS.get(get_method(node["_target_"]), (1, _TOKENS_PER_TEXT))
    return {Subset(node["path"], str(i)): Guess(node["n_per_subset"], length) for i in range(n)}


def _guess(rows: Sequence[Row]) -> Guess:
    return Guess(len(rows), _chars(rows) / len(rows) / _CHARS_PER_TOKEN + 2)


def _chars(rows: Sequence[Row]) -> int:
    return sum(len(row.input) + len(row.target) for row in rows)
