"""The size of data that would have to be downloaded, from what the configuration says of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.utils import get_object, instantiate
from omegaconf import DictConfig

from untrac_exp.data.base import Corpus
from untrac_exp.methods.base import Subset
from untrac_exp.models.source import ModelSource

_CHARS_PER_TOKEN = 4.2
"""Of English text under a vocabulary of some ten thousand tokens, to guess by."""


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
    limits = cfg.max_sequences or {}
    if cfg.corpora._target_.endswith("tasks_csv.corpora"):
        return {f"corpus {i + 1}": Guess(cfg.corpora.n_per_corpus, 32.0) for i in range(4)}
    found: list[Corpus] = instantiate(cfg.corpora)
    guesses = {}
    for corpus in found:
        if isinstance(corpus.rows, list):
            chars = sum(len(row.input) + len(row.target) for row in corpus.rows)
            if source.seq2seq or any(row.input for row in corpus.rows):
                n, length = len(corpus.rows), chars / len(corpus.rows) / _CHARS_PER_TOKEN + 2
            else:
                n, length = int(chars / _CHARS_PER_TOKEN) // source.block_size, source.block_size
            guesses[corpus.name] = Guess(min(n, limits.get(corpus.name) or n), length)
        else:
            tokens = cfg.n_tokens_per_corpus
            sample = cfg.n_per_corpus or (tokens and -(-tokens // source.block_size))
            guesses[corpus.name] = Guess(limits.get(corpus.name) or sample, source.block_size)
    return guesses


def guessed_subsets(node: Any) -> dict[Subset, Guess]:
    """Of test sets to be fetched, what their modules reckon with; of others, their texts."""
    if not list(downloads(node)):
        return {
            Subset(testset.name, name): Guess(
                len(rows),
                sum(len(row.input) + len(row.target) for row in rows) / len(rows) / _CHARS_PER_TOKEN
                + 2,
            )
            for testset in instantiate(node)
            for name, rows in testset.subsets.items()
        }
    parts = [part for part in node.values() if isinstance(part, Mapping) and "_target_" in part]
    if parts:  # several test sets together
        return {key: guess for part in parts for key, guess in guessed_subsets(part).items()}
    module = get_object(node["_target_"].rpartition(".")[0])
    planned = getattr(module, "PLANNED", {"subsets": 1, "tokens_per_text": 32})
    name = node.get("name") or node["_target_"].split(".")[-2]
    return {
        Subset(name, str(i)): Guess(node["n_per_subset"], planned["tokens_per_text"])
        for i in range(planned["subsets"])
    }
