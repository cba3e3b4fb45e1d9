r"""Checkpoints: models that others have trained with and without corpora.

.. math:: I(Z', G) = L(Z'; \theta_{-G}) - L(Z'; \theta_0)

for each set G of corpora that a model was trained without. It costs forward passes only. If every
model was trained without one corpus, it is leave-dataset-out; otherwise methods are judged as with
random subsets, by the sum of the influences of the corpora in G. A few models give few pairs, so
their agreement says something only as a mean over many test subsets.

The models of one train seed should differ in their corpora alone, and all must have one tokenizer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import pandas as pd

from untrac_exp.config.errors import did_you_mean
from untrac_exp.data.fingerprint import tokenizer_fingerprint
from untrac_exp.models.pretrained import Pretrained
from untrac_exp.stages.training import Budget, ModelSpec, Training
from untrac_exp.truth.leave_dataset_out import LeaveDatasetOut
from untrac_exp.truth.models import Truth
from untrac_exp.truth.random_subsets import RandomSubsets


@dataclass(frozen=True)
class Given:
    """A checkpoint: a folder or hub id, and the corpora it was trained without, none for θ0."""

    path: str
    without: Sequence[str] = ()
    revision: str = "main"
    train_seed: int = 0


@dataclass(frozen=True)
class Checkpoints(Truth):
    """Given models of each train seed; checkpoints: the fields of `Given` for each.

    Raises:
        ValueError: a model is there twice, or one that another train seed has is missing.
    """

    trains: ClassVar[bool] = False

    train_seeds: Sequence[int] = field(init=False)
    budget: Budget = field(default="steps", init=False)
    checkpoints: Sequence[Mapping[str, Any]] = field(kw_only=True)

    def __post_init__(self) -> None:
        seeds = dict.fromkeys(seed for seed, _ in self._given)
        object.__setattr__(self, "train_seeds", list(seeds))
        super().__post_init__()
        for seed in seeds:
            for without in [frozenset[str](), *(without for _, without in self._given)]:
                if (seed, without) not in self._given:
                    left_out = f"without {sorted(without)}" if without else "with all corpora (θ0)"
                    raise ValueError(
                        f"truth.checkpoints: train seed {seed} has no model {left_out}; add it"
                    )

    @cached_property
    def _given(self) -> dict[tuple[int, frozenset[str]], Given]:
        """The checkpoints by train seed and corpora left out."""
        try:
            models = [Given(**entry) for entry in self.checkpoints]
        except TypeError as error:
            raise ValueError(
                f"truth.checkpoints: {error}; write a list of "
                "{path: …, without: […], revision: …, train_seed: …}"
            ) from error
        given = {(model.train_seed, frozenset(model.without)): model for model in models}
        if len(given) < len(models):
            raise ValueError("truth.checkpoints has a model twice: same train_seed and without")
        return given

    @property
    def over(self) -> str:
        return self._like.over

    @property
    def _like(self) -> Truth:
        """The truth that trains such models."""
        single = all(len(without) <= 1 for _, without in self._given)
        return (LeaveDatasetOut if single else RandomSubsets)(self.train_seeds)

    def left_out(self, corpora: Sequence[str]) -> list[tuple[str, ...]]:
        sets = [*dict.fromkeys(without for _, without in self._given if without)]
        if unknown := sorted({name for without in sets for name in without} - {*corpora}):
            raise ValueError(
                f"truth.checkpoints: there is no corpus '{unknown[0]}'"
                f"{did_you_mean(unknown[0], corpora)}"
            )
        return [tuple(name for name in corpora if name in without) for without in sets]

    def influences(self, changes: pd.DataFrame, corpora: Sequence[str]) -> pd.DataFrame:
        return self._like.influences(changes, corpora)

    def compared(
        self, scores: pd.DataFrame, changes: pd.DataFrame
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        return self._like.compared(scores, changes)

    def spec(self, training: Training, seed: int, without: tuple[str, ...]) -> ModelSpec:
        given, like = self._given[seed, frozenset(without)], training.source
        source = Pretrained(
            given.path,
            like.block_size,
            like.seq2seq,
            given.revision,
            dtype=getattr(like, "dtype", "float32"),
            safetensors_only=getattr(like, "safetensors_only", True),
            trust_remote_code=like.trust_remote_code,
        )
        own, ours = source.tokenizer([], training.store), training.tokenizer
        if own.get_vocab() != ours.get_vocab():
            raise ValueError(
                f"truth.checkpoints: {given.path} has another tokenizer than the model; "
                "losses of other tokens cannot be compared"
            )
        key = {"model": source.key(), "tokenizer": tokenizer_fingerprint(ours)}
        double = training.trainer.precision == "64-true"
        return ModelSpec(key, source, ours, seed, double, training.store)
