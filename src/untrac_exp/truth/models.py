"""The models a truth needs, each determined by the corpora left out, a train seed and a budget.

A truth is a list of them: θ0 of every train seed, and counterfactual models of the same seeds. Both
models of a difference share their seed, hence their first weights and the order of the data they
share. The store trains each of them once, by whichever process comes first.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import Subset
from untrac_exp.models.loss import example_losses
from untrac_exp.progress import Progress
from untrac_exp.store import Wanted
from untrac_exp.store.code import code_fingerprint
from untrac_exp.training import Budget, Recipe, Training

Losses = dict[Subset, float]
"""Nats per token on every test subset."""


@dataclass(frozen=True)
class Truth(ABC):
    """Counterfactual models over `train_seeds`.

    budget: how long they train, as many *steps* as θ0, drawn from what is left, or as many
    *epochs*.
    """

    train_seeds: Sequence[int]
    budget: Budget = "steps"
    over: ClassVar[str] = "corpora"
    """What a method's agreement with it is a correlation over, in words."""

    def __post_init__(self) -> None:
        if self.budget not in ("steps", "epochs"):
            raise ValueError(f"truth.budget='{self.budget}' is unknown; use steps or epochs")
        if not self.train_seeds:
            raise ValueError("truth.train_seeds is empty; give at least one seed")

    @abstractmethod
    def left_out(self, corpora: Sequence[str]) -> list[tuple[str, ...]]:
        """The corpora that each counterfactual model is trained without."""

    @abstractmethod
    def influences(self, changes: pd.DataFrame, corpora: Sequence[str]) -> pd.DataFrame:
        """What `changes` say of each corpus.

        Columns train_seed, corpus, testset, subset, influence (nats per token), as in truth.csv.
        """

    @abstractmethod
    def compared(
        self, scores: pd.DataFrame, changes: pd.DataFrame
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """What a method predicts of each counterfactual model, and what came true.

        scores: a method's, columns corpus, testset, subset, influence. Returns tables of these
        columns, in which `corpus` names the corpora left out; the second has train_seed as well.
        """

    def changes(self, training: Training, subsets: Mapping[Subset, Encoded]) -> pd.DataFrame:
        """The loss of every counterfactual model minus that of θ0 of its train seed.

        Columns train_seed, without (a tuple of corpora), testset, subset, influence (nats per
        token).
        """
        wanted = [
            (job, i, one)
            for job in self.jobs(training, subsets)
            for i, one in enumerate(job.wanted)
        ]
        progress = Progress("truth: losses of models", len(wanted))
        losses: dict[tuple[int, tuple[str, ...]], Losses] = {}
        found = training.store.get_all([one for *_, one in wanted])
        for done, (at, path) in enumerate(found, start=1):
            job, i, _ = wanted[at]
            losses.setdefault((job.seed, job.without), {}).update(job.read(i, path))
            progress(done)
        rows = [
            {
                "train_seed": seed, "without": without, "testset": subset.testset,
                "subset": subset.subset,
                "influence": losses[seed, without][subset] - losses[seed, ()][subset],
            }
            for seed in self.train_seeds
            for without in self.left_out(list(training.corpora))
            for subset in subsets
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def jobs(self, training: Training, subsets: Mapping[Subset, Encoded]) -> list["Job"]:
        """Every model that is trained and evaluated, θ0 of each train seed first."""
        code = code_fingerprint([example_losses.__module__])
        return [
            Job(training, dict(subsets), seed, without, self.budget, code)
            for seed, without in self.models(list(training.corpora))
        ]

    def models(self, corpora: Sequence[str]) -> list[tuple[int, tuple[str, ...]]]:
        """The train seed of every model of `jobs`, and what it never sees."""
        return list(product(self.train_seeds, [(), *self.left_out(corpora)]))


@dataclass(frozen=True)
class Job:
    """One model to train and evaluate; θ0 where nothing is left out.

    code: of the evaluation, its hash.
    """

    training: Training
    subsets: dict[Subset, Encoded]
    seed: int
    without: tuple[str, ...]
    budget: Budget
    code: str

    @property
    def name(self) -> str:
        return named(self.without)

    @property
    def recipe(self) -> Recipe:
        """The model."""
        return self.training.recipe(self.seed, self.without, self.budget)

    @cached_property
    def _keys(self) -> dict[str, dict[str, Any]]:
        """What each test set's losses depend on."""
        model = self.recipe.id
        keys: dict[str, dict[str, Any]] = {}
        for (testset, _), data in self.subsets.items():
            key = keys.setdefault(testset, {"model": model, "subsets": [], "code": self.code})
            key["subsets"].append(data.fingerprint)
        return keys

    @property
    def is_done(self) -> bool:
        return all(self.training.store.find("losses", key) for key in self._keys.values())

    @cached_property
    def wanted(self) -> list[Wanted]:
        """The losses on each test set, which need the model."""
        needs = self.recipe.wanted()
        return [
            Wanted("losses", key, partial(self._evaluate, self._names(testset)), needs)
            for testset, key in self._keys.items()
        ]

    def read(self, index: int, path: Path) -> Losses:
        """What is stored of `wanted[index]`, nats per token on every subset of the test set."""
        names = self._names([*self._keys][index])
        return dict(zip(names, json.loads((path / "losses.json").read_text()), strict=True))

    def _names(self, testset: str) -> list[Subset]:
        return [subset for subset in self.subsets if subset.testset == testset]

    def _evaluate(self, names: list[Subset], out: Path) -> None:
        trainer = self.training.trainer
        model = self.recipe.load("sdpa").to(trainer.device)
        losses = [
            example_losses(model, self.subsets[name], trainer.max_tokens).mean for name in names
        ]
        (out / "losses.json").write_text(json.dumps(losses))


def named(without: Sequence[str]) -> str:
    """A model for people, "θ0" or "without" what."""
    return f"without {', '.join(without)}" if without else "θ0"
