"""The size of data that would have to be downloaded, from what the configuration says of them."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.utils import get_method, instantiate
from omegaconf import DictConfig

from untrac_exp.data.base import Corpus, Row
from untrac_exp.methods.base import Subset
from untrac_exp.models.source import ModelSource

_CHARS_PER_TOKEN = 4.2
"""Of English text under a vocabulary of some ten thousand tokens, to guess by."""
_PLANNED = {"subsets": 1, "tokens_per_text": 32}
"""Sizes assumed for a source whose module has no `PLANNED`."""


@dataclass(frozen=True)
class Guess:
    """The size of a dataset that is not there: `n` examples of `length` tokens each."""

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
    """What a configuration would fetch: the keys that name a hub id or URL, with its revision."""
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
    """Packed blocks as many as `max_sequences`; rows that are at hand, by their length."""
    planned, node = _planned(cfg.corpora), cfg.corpora
    if "corpora" in planned:
        each = Guess(node.n_per_corpus, planned["tokens_per_text"])
        return {f"corpus {i + 1}": each for i in range(planned["corpora"])}
    found: list[Corpus] = instantiate(node)
    block, limits, guesses = source.block_size, cfg.max_sequences or {}, {}
    tokens = cfg.n_tokens_per_corpus
    sample = cfg.n_per_corpus or (tokens and -(-tokens // block))
    for corpus in found:
        guess = Guess(limits.get(corpus.name) or sample, block)
        if isinstance(corpus.rows, list):
            if source.seq2seq or any(row.input for row in corpus.rows):
                guess = _guess(corpus.rows)
            else:
                guess = Guess(int(_chars(corpus.rows) / _CHARS_PER_TOKEN) // block, block)
            guess = guess.sample(limits.get(corpus.name), 0)
        guesses[corpus.name] = guess
    return guesses


def guessed_subsets(node: Mapping[str, Any]) -> dict[Subset, Guess]:
    """Of test sets to be fetched, the sizes that their modules give; of others, their texts."""
    if not list(downloads(node)):
        return {
            Subset(testset.name, name): _guess(rows)
            for testset in instantiate(node)
            for name, rows in testset.subsets.items()
        }
    parts = [part for part in node.values() if isinstance(part, Mapping) and "_target_" in part]
    if parts:  # several test sets together
        return {key: guess for part in parts for key, guess in guessed_subsets(part).items()}
    planned = _planned(node)
    each = Guess(node["n_per_subset"], planned["tokens_per_text"])
    default = inspect.signature(get_method(node["_target_"])).parameters["name"].default
    name = node.get("name", default)
    return {Subset(name, str(i)): each for i in range(planned["subsets"])}


def _planned(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """The sizes that the module of a source gives for data that are not downloaded."""
    return getattr(inspect.getmodule(get_method(node["_target_"])), "PLANNED", _PLANNED)


def _guess(rows: Sequence[Row]) -> Guess:
    return Guess(len(rows), _chars(rows) / len(rows) / _CHARS_PER_TOKEN + 2)


def _chars(rows: Sequence[Row]) -> int:
    return sum(len(row.input) + len(row.target) for row in rows)
