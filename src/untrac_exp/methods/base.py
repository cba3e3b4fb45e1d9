"""Interface of attribution methods: their input `Subject` and their result `Influences`."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from transformers import PreTrainedModel

from untrac_exp.data.base import Subset as Subset
from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.common.sizes import Sizes
from untrac_exp.models.loss import Losses, example_losses
from untrac_exp.models.weights import parameters
from untrac_exp.runtime.cost import Meter
from untrac_exp.runtime.progress import Progress
from untrac_exp.stages.trainer import TrainerSettings
from untrac_exp.stages.training import Training
from untrac_exp.store import Artifact, Store

Arrays = dict[str, np.ndarray]
Name = TypeVar("Name")

SCORES = ["corpus", "testset", "subset", "influence"]
"""Columns of `Influences.scores`."""


class Checkpoint(NamedTuple):
    """Weights saved during pretraining.

    rates: sum of the learning rates of the steps since the checkpoint before.
    """

    path: Path
    rates: float


class Part(NamedTuple):
    """A part of a method's result that is computed and stored independently of the others.

    reads: the datasets that `compute` reads, by role; None for all datasets of the subject.
    draws: whether the part depends on the subject's `seed`, too.
    of_theta0: whether it depends on θ0 and these datasets alone; methods share it.
    """

    name: str
    compute: Callable[[], Arrays]
    reads: Mapping[str, Iterable[Encoded]] | None = None
    draws: bool = True
    of_theta0: bool = False


class Candidate(NamedTuple):
    """Sequences of a text that the model was not trained on: a sample of them, and all."""

    sample: Encoded
    whole: Encoded


@dataclass
class Subject:
    """The trained model and the data to attribute.

    Attributes:
        load: returns the model, the same on each call in a process.
        corpora: the sampled sequences of each corpus.
        subsets: the examples of each test subset.
        checkpoints: saved during pretraining; empty for an external checkpoint.
        key: store key of the parts without data and seed: θ0, configuration, precision, code.
        theta0_key: the same of parts that depend on θ0 and data alone; None for `key`.
        seed: seed of the method's random draws.
        max_tokens: maximum number of tokens per micro-batch, including padding.
        trained_on: all sequences of each corpus, of which `corpora` is a sample.
        decode: returns the text of token ids.
        candidates: texts to read as if they had been trained on, by name.
        only: the corpus whose influence is asked for; a method may leave out others. None for all.
        by_token: whether losses of tokens are kept too, by methods that evaluate test subsets.
        on_curves: called with each unlearning run when it is there: the forget set's name, its loss
            (columns step, loss, seconds, flops) and the trajectory, as in `Influences`.
        training: the training of θ0, with `train_seed`.
    """

    load: Callable[[], PreTrainedModel]
    corpora: Mapping[str, Encoded]
    subsets: Mapping[Subset, Encoded]
    checkpoints: Sequence[Checkpoint]
    trainer: TrainerSettings
    store: Store
    key: Mapping[str, Any]
    theta0_key: Mapping[str, Any] | None = None
    seed: int = 0
    max_tokens: int = 4096
    meter: Meter = field(default_factory=Meter)
    trained_on: Mapping[str, Encoded] = field(default_factory=dict)
    decode: Callable[[list[int]], str] = str
    by_token: bool = False
    candidates: Mapping[str, "Candidate"] = field(default_factory=dict)
    only: str | None = None
    on_curves: Callable[[str, pd.DataFrame, pd.DataFrame], None] = lambda *_: None
    training: Training | None = None
    train_seed: int = 0

    @property
    def trained(self) -> int:
        """Tokens that the training of θ0 reads; 0 if it is not trained here."""
        if self.training is None or not self.training.settings.steps:
            return 0
        settings, data = self.training.settings, self.trained_on.values()
        n = sum(map(len, data))
        return settings.steps * min(settings.batch_size, n) * sum(of.read for of in data) // n

    @property
    def model(self) -> PreTrainedModel:
        """The model at θ0, in evaluation mode; a method that changes its weights restores them."""
        return self.load()

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without what workers do not need."""
        new = {"meter": Meter(), "candidates": {}}
        return {name: value for name, value in vars(self).items() if name != "on_curves"} | new

    def losses(self, data: Encoded) -> Losses:
        """Compute the losses of a dataset's examples, whose mean is the dataset's loss."""
        return self.trainer.loss.of(self.example_losses(data))

    def example_losses(self, data: Encoded) -> Losses:
        """Compute the loss of each example of `data` at the model's current weights.

        In the weights' dtype, without autocast: an influence can be below the rounding error of
        bfloat16. Without a trainer, since one may be unlearning the model.
        """
        self.meter.forward(data.read)
        return example_losses(self.model, data, self.max_tokens, self.by_token)

    @contextmanager
    def leaving_theta0(self) -> Iterator[PreTrainedModel]:
        """Yield the model for changes of its weights; on exit θ0 is restored exactly.

        A copy of θ0 is kept on the model's device, or on the CPU with `trainer.theta0_on_cpu`.
        """
        where = "cpu" if self.trainer.theta0_on_cpu else None

        def weights() -> list[Tensor]:
            # listed anew on exit, since a move to another device and back replaces buffers
            return [*parameters(self.model), *self.model.buffers()]

        theta0 = [weight.detach().to(where, copy=True) for weight in weights()]
        try:
            yield self.model
        finally:
            with torch.no_grad():
                for weight, value in zip(weights(), theta0, strict=True):
                    weight.copy_(value)
            self.model.zero_grad(set_to_none=True)

    def part(
        self,
        name: str,
        compute: Callable[[], Arrays],
        reads: Mapping[str, Iterable[Encoded]] | None = None,
        draws: bool = True,
        of_theta0: bool = False,
    ) -> Arrays:
        """Return one part of the result; see `Part` and `parts`."""
        return self.parts({name: Part(name, compute, reads, draws, of_theta0)}, name)[name]

    def parts(
        self,
        parts: Mapping[Name, Part],
        what: str,
        on_part: Callable[[Name, Arrays], None] = lambda *_: None,
    ) -> dict[Name, Arrays]:
        """Return independent parts in their order, computing those that the store lacks.

        A job with the same `key`, part name and data finds them again, so an interrupted job
        resumes here. The parts are computed in parallel.
        what: description of the parts for the log. on_part: called with each part's name and
        arrays when it is there.
        """
        outer, start = self.meter, time.monotonic()
        names, progress = list(parts), Progress(what, len(parts))
        arrays_of: dict[Name, Arrays] = {}
        for i, path in self.store.get_all([self.artifact(part) for part in parts.values()]):
            outer.add(Meter.load(path / "cost.json"))
            with np.load(path / "arrays.npz") as arrays:
                arrays_of[names[i]] = dict(arrays)
            progress(len(arrays_of))
            on_part(names[i], arrays_of[names[i]])
        outer.wall_s -= time.monotonic() - start  # already counted by the parts' meters
        return {name: arrays_of[name] for name in names}

    def artifact(self, part: Part) -> Artifact:
        """Return the store's request for a part."""
        reads = part.reads or {
            "corpora": self.corpora.values(),
            "subsets": self.subsets.values(),
            "trained on": self.trained_on.values(),
        }
        key = {
            **((self.theta0_key if part.of_theta0 else None) or self.key),
            "part": part.name,
            "reads": {role: [data.fingerprint for data in read] for role, read in reads.items()},
            "seed": self.seed if part.draws else None,
        }

        def build(out: Path) -> None:
            outer, self.meter = self.meter, Meter()
            try:
                np.savez(out / "arrays.npz", **part.compute())  # type: ignore[arg-type]
                self.meter.stop()
                self.meter.save(out / "cost.json")
            finally:
                self.meter = outer

        return Artifact("part", key, build)


class Change(NamedTuple):
    """Losses of N examples before and after one unlearning run.

    corpus, subset: whose influence they give. of: what is evaluated. before, after: its losses.
    """

    corpus: str
    subset: Subset
    of: Subset | str
    before: Losses
    after: Losses

    @property
    def nats(self) -> np.ndarray:
        """Change of the loss of each example (N,), summed over its tokens."""
        return self.after.nll.numpy() - self.before.nll.numpy()

    @property
    def tokens(self) -> np.ndarray:
        """Number of scored tokens of each example (N,), as in `Losses`."""
        return self.before.tokens.numpy()

    @property
    def per_token(self) -> np.ndarray:
        """Change of the loss of each example (N,) in nats per token."""
        return self.nats / np.maximum(1, self.tokens)


@dataclass(frozen=True)
class Influences:
    """Result of a method.

    Attributes:
        scores: columns corpus, testset, subset, influence; in nats per token for methods that
            evaluate losses, else in a method-specific unit.
        trajectory: columns corpus, testset, subset, step, influence; None without steps.
        own_loss: columns unlearned, step, loss (forget-set loss in nats per token), or None.
        changes: losses per example behind the scores, for methods that evaluate losses.
        warnings: limits of the scores, one sentence each.
        read: the datasets of `changes`, by `Change.of`.
        partial: whether only part of the samples was used.
    """

    scores: pd.DataFrame
    trajectory: pd.DataFrame | None = None
    own_loss: pd.DataFrame | None = None
    changes: Sequence[Change] = ()
    warnings: Sequence[str] = ()
    read: Mapping[Any, Encoded] = field(default_factory=dict)
    partial: bool = False


@dataclass(frozen=True)
class Method(ABC):
    """An attribution method; its fields are its configuration."""

    @abstractmethod
    def influences(self, subject: Subject) -> Influences:
        """Compute the influence of each corpus on each test subset, positive if it helps."""

    def tokens(self, sizes: Sizes) -> tuple[int, int]:
        """Estimate the tokens of `influences` forward and backward; of all gradients by default."""
        return sizes.tokens, sizes.tokens


def score_table(subject: Subject, values: np.ndarray) -> pd.DataFrame:
    """Return the scores of a method that evaluates no losses.

    values: (Z, S), in the order of the subject's corpora and subsets.
    """
    rows = [
        (corpus, *subset, float(values[i, j]))
        for j, subset in enumerate(subject.subsets)
        for i, corpus in enumerate(subject.corpora)
    ]
    return pd.DataFrame(rows, columns=SCORES)
