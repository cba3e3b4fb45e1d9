"""Base class of ground truths: the models to train and their losses.

A truth consists of θ0 and counterfactual models for every train seed. The two models of a
difference share the train seed, and so their initial weights and the order of common data. Each
model is trained once and kept in the store.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import compress, product
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import Subset
from untrac_exp.runtime import processes
from untrac_exp.runtime.progress import Progress
from untrac_exp.stages.evaluation import evaluate
from untrac_exp.stages.training import Budget, ModelSpec, Training
from untrac_exp.store import Artifact
from untrac_exp.store.code import code_fingerprint

Losses = dict[Subset, float]
"""Mean loss on every test subset, nats per token."""


@dataclass(frozen=True)
class Truth(ABC):
    """Counterfactual models for each of `train_seeds`.

    budget: they train for as many "steps" or as many "epochs" as θ0.
    """

    train_seeds: Sequence[int]
    budget: Budget = "steps"
    trains: ClassVar[bool] = True
    """Whether its models are trained here, as θ0 is."""

    def __post_init__(self) -> None:
        if self.budget not in ("steps", "epochs"):
            raise ValueError(f"truth.budget='{self.budget}' is unknown; use steps or epochs")
        if not self.train_seeds:
            raise ValueError("truth.train_seeds is empty; give at least one seed")
        if len({*self.train_seeds}) < len(self.train_seeds):
            raise ValueError(f"truth.train_seeds={list(self.train_seeds)} has a seed twice")

    @property
    def over(self) -> str:
        """What the agreement is a correlation over, for reports."""
        return "corpora"

    @abstractmethod
    def left_out(self, corpora: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the corpora that each counterfactual model is trained without."""

    @abstractmethod
    def influences(self, changes: pd.DataFrame, corpora: Sequence[str]) -> pd.DataFrame:
        """Compute the influence of each corpus from loss changes.

        Returns columns train_seed, corpus, testset, subset, influence (nats per token), as in
        truth.csv.
        """

    @abstractmethod
    def compared(
        self, scores: pd.DataFrame, changes: pd.DataFrame
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return a method's prediction for each counterfactual model, and the actual loss change.

        scores: columns corpus, testset, subset, influence. Both tables have these columns, where
        `corpus` names the corpora left out; the second has train_seed as well.
        """

    def changes(self, training: Training, subsets: Mapping[Subset, Encoded]) -> pd.DataFrame:
        """Train what is missing and return each model's loss minus that of θ0 of its train seed.

        Returns columns train_seed, without (a tuple of corpora), testset, subset, influence (nats
        per token).
        """
        jobs, store = self.jobs(training, subsets), training.store
        missing = processes.broadcast([not job.is_done for job in jobs])
        models = [model for job in compress(jobs, missing) for model in job.model_spec.artifacts()]
        progress = Progress("truth: models", len(models))
        for done, _ in enumerate(store.get_all(models), start=1):
            progress(done)
        parts = [(job, i) for job in jobs for i in range(len(job.artifacts))]
        losses: dict[tuple[int, tuple[str, ...]], Losses] = {}
        progress = Progress("truth: losses of models", len(parts))
        evaluated = store.get_all([job.artifacts[i] for job, i in parts])
        for done, (at, path) in enumerate(evaluated, start=1):
            job, i = parts[at]
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
        """Return the models to train and evaluate, θ0 of each train seed first."""
        code = code_fingerprint([evaluate.__module__])
        return [
            Job(training, dict(subsets), seed, without, self.spec(training, seed, without), code)
            for seed, without in self.models(list(training.corpora))
        ]

    def spec(self, training: Training, seed: int, without: tuple[str, ...]) -> ModelSpec:
        """Return the specification of one model; of θ0 if `without` is empty."""
        return training.model_spec(seed, without, self.budget)

    def folders(self, training: Training, subsets: Mapping[Subset, Encoded]) -> list[Path]:
        """Return the folders of the losses that the truth consists of."""
        return [
            training.store.path(losses.kind, losses.key)
            for job in self.jobs(training, subsets)
            for losses in job.artifacts
        ]

    def models(self, corpora: Sequence[str]) -> list[tuple[int, tuple[str, ...]]]:
        """Return (train seed, corpora left out) of every model of `jobs`."""
        return list(product(self.train_seeds, [(), *self.left_out(corpora)]))


@dataclass(frozen=True)
class Job:
    """One model to train and evaluate; θ0 if `without` is empty.

    code: hash of the evaluation's code.
    """

    training: Training
    subsets: dict[Subset, Encoded]
    seed: int
    without: tuple[str, ...]
    model_spec: ModelSpec
    code: str

    @cached_property
    def _keys(self) -> dict[str, dict[str, Any]]:
        """Key of each test set's losses."""
        batch = self.training.trainer.loss.evaluation
        shared = {"code": self.code, **({"batch": batch} if batch else {})}
        model = self.model_spec.id
        keys: dict[str, dict[str, Any]] = {}
        for (testset, _), data in self.subsets.items():
            key = keys.setdefault(testset, {"model": model, "subsets": [], **shared})
            key["subsets"].append(data.fingerprint)
        return keys

    @property
    def is_done(self) -> bool:
        return all(self.training.store.find("losses", key) for key in self._keys.values())

    @cached_property
    def artifacts(self) -> list[Artifact]:
        """Losses on each test set, as requests to the store."""
        return [
            Artifact("losses", key, partial(self._evaluate, self._names(testset)))
            for testset, key in self._keys.items()
        ]

    def read(self, index: int, path: Path) -> Losses:
        """Load the losses of `artifacts[index]`, nats per token on each subset of the test set."""
        names = self._names([*self._keys][index])
        return dict(zip(names, json.loads((path / "losses.json").read_text()), strict=True))

    def _names(self, testset: str) -> list[Subset]:
        return [subset for subset in self.subsets if subset.testset == testset]

    def _evaluate(self, names: list[Subset], out: Path) -> None:
        trainer = self.training.trainer
        datasets = [self.subsets[name] for name in names]
        losses = evaluate(self.model_spec.load("sdpa"), datasets, trainer.max_tokens, trainer)
        (out / "losses.json").write_text(
            json.dumps([trainer.loss.of(subset).mean for subset in losses])
        )
