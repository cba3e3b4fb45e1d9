"""What every attribution method is given and what it answers."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedModel

from untrac_exp.bootstrap import bootstrap_interval
from untrac_exp.cost import Meter
from untrac_exp.data.encoding import Encoded
from untrac_exp.models.loss import Losses, example_losses
from untrac_exp.progress import Progress
from untrac_exp.stages.trainer import TrainerSettings
from untrac_exp.store import Store, Wanted

Arrays = dict[str, np.ndarray]
Name = TypeVar("Name")


class Subset(NamedTuple):
    """The name of one subset of one test set."""

    testset: str
    subset: str


class Checkpoint(NamedTuple):
    """Weights saved while pretraining, and the learning rate of the step that led to them."""

    path: Path
    lr: float


class Part(NamedTuple):
    """A part of a method's answer that is computed apart from the others, and kept.

    reads: the datasets that `compute` reads, by their role in it; None for all that the subject
    holds. draws: whether it depends on the subject's `seed` beyond that. group: parts of one group
    share what they compute on the way, so one process computes them.
    """

    name: str
    compute: Callable[[], Arrays]
    reads: Mapping[str, Iterable[Encoded]] | None = None
    draws: bool = True
    group: Hashable = None


@dataclass
class Subject:
    """The trained model and the data to attribute.

    Attributes:
        model: at θ0, in evaluation mode; a method that moves its weights restores them.
        corpora: the sampled sequences of each corpus.
        subsets: the examples of each test subset.
        checkpoints: of the model's own training; empty for a checkpoint that was given.
        key: determines every part beside data and seed: θ0, configuration, precision, code.
        seed: of whatever the method draws.
        max_tokens: padded tokens that the device reads at once.
        further: draws sequences of each corpus that are not in its sample, for a retain set.
        trained_on: all sequences of each corpus, of which `corpora` is a sample.
    """

    model: PreTrainedModel
    corpora: Mapping[str, Encoded]
    subsets: Mapping[Subset, Encoded]
    checkpoints: Sequence[Checkpoint]
    trainer: TrainerSettings
    store: Store
    key: Mapping[str, Any]
    seed: int = 0
    max_tokens: int = 4096
    meter: Meter = field(default_factory=Meter)
    further: Callable[[], Mapping[str, Encoded]] = dict
    references: dict[str, Any] = field(default_factory=dict)
    trained_on: Mapping[str, Encoded] = field(default_factory=dict)

    def losses(self, data: Encoded) -> Losses:
        """The model's loss on every example of `data`, as its weights are now.

        In the weights' own precision, in mixed precision too: an influence is a small difference of
        losses, which the rounding of bfloat16 would drown.
        """
        self.meter.forward(data.read)
        return example_losses(self.model, data, self.max_tokens)

    @contextmanager
    def leaving_theta0(self) -> Iterator[PreTrainedModel]:
        """The model whose trained weights may be changed; on leaving they are θ0's, bit by bit.

        Their θ0 is kept in memory for as long, beside the model or where the trainer says.
        """
        where = "cpu" if self.trainer.theta0_on_cpu else None
        weights = [*parameters(self.model), *self.model.buffers()]
        theta0 = [weight.detach().to(where, copy=True) for weight in weights]
        try:
            yield self.model
        finally:
            with torch.no_grad():
                for weight, value in zip(weights, theta0, strict=True):
                    weight.copy_(value)
            self.model.zero_grad(set_to_none=True)

    def part(
        self,
        name: str,
        compute: Callable[[], Arrays],
        reads: Mapping[str, Iterable[Encoded]] | None = None,
        draws: bool = True,
    ) -> Arrays:
        """One part of the answer; see `Part` and `parts`."""
        return self.parts({name: Part(name, compute, reads, draws)}, name)[name]

    def parts(self, parts: Mapping[Name, Part], what: str) -> dict[Name, Arrays]:
        """Parts that do not depend on each other, in their order.

        Each is computed once and kept, so that a killed job takes up here: it is found again by any
        job of the same `key`, name and data. Processes that ask for the same parts share the work.
        what: of the parts, for the log.
        """
        outer, start = self.meter, time.monotonic()
        names, progress = list(parts), Progress(what, len(parts))
        found: dict[Name, Arrays] = {}
        for i, path in self.store.get_all([self.wanted(part) for part in parts.values()]):
            outer.add(Meter.load(path / "cost.json"))
            with np.load(path / "arrays.npz") as arrays:
                found[names[i]] = dict(arrays)
            progress(len(found))
        outer.wall_s -= time.monotonic() - start  # the parts' own clocks have counted it
        return {name: found[name] for name in names}

    def wanted(self, part: Part) -> Wanted:
        """A part as an artifact of the store."""
        reads = part.reads or {
            "corpora": self.corpora.values(),
            "subsets": self.subsets.values(),
            "trained on": self.trained_on.values(),
        }
        key = {
            **self.key,
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

        return Wanted("part", key, build, group=part.group)


class Change(NamedTuple):
    """What one unlearning run did to the examples of one dataset that was read.

    corpus, subset: whose influence on what they show. of: the dataset they are from, the test
    subset or the corpus. before: their losses at θ0; nll_after: (N,) nats after unlearning.
    """

    corpus: str
    subset: Subset
    of: Subset | str
    before: Losses
    nll_after: np.ndarray


@dataclass(frozen=True)
class Influences:
    """A method's answer.

    Attributes:
        scores: columns corpus, testset, subset, influence, ci_low, ci_high; nats per token for
            methods that evaluate losses, the method's own unit, and no interval, otherwise.
        trajectory: columns corpus, testset, subset, step, influence; None without steps.
        own_loss: columns unlearned, step, loss, in nats per token; None without steps.
        changes: what the scores are means of, for methods that evaluate losses.
        warnings: what a reader must know before trusting the scores, a sentence each.
        read: the datasets that `changes` were read on, by `Change.of`.
        missed: the method's, see `Method.missed`. partial: of a part of the samples alone.
    """

    scores: pd.DataFrame
    trajectory: pd.DataFrame | None = None
    own_loss: pd.DataFrame | None = None
    changes: Sequence[Change] = ()
    warnings: Sequence[str] = ()
    read: Mapping[Any, Encoded] = field(default_factory=dict)
    missed: float = 0.0
    partial: bool = False


class Size(Protocol):
    """What a plan knows of a dataset: an `Encoded`, or a guess at one that is not there yet."""

    def __len__(self) -> int:
        """How many examples."""

    @property
    def read(self) -> int:
        """How many tokens pass through the model when every example is read once."""

    def sample(self, n: int | None, seed: int) -> "Size":
        """`n` examples of it."""


@dataclass(frozen=True)
class Work:
    """The sizes of what a method will be given, as in `Subject`. checkpoints: their number."""

    corpora: Mapping[str, Size]
    subsets: Mapping[Subset, Size]
    checkpoints: int
    seed: int = 0

    @property
    def once(self) -> int:
        """Tokens of all corpora and subsets."""
        return sum(data.read for data in (*self.corpora.values(), *self.subsets.values()))

    def drawn(self, samples: int) -> int:
        """Tokens of so many sequences of all corpora together, at their mean length."""
        n = sum(map(len, self.corpora.values()))
        return min(samples, n) * sum(data.read for data in self.corpora.values()) // n


class Tokens(NamedTuple):
    """Tokens read forward and backward, counted as `Meter` does."""

    forward: int
    backward: int


class Method(ABC):
    """An attribution method; its fields are its configuration."""

    missed: ClassVar[float] = 1.25
    """Standard error of the difference of two corpora's influences that another draw of the
    examples does not show (the model, the step, the direction), as a share of the standard
    deviation of the influences over corpora. It widens what is claimed of an order, until what is
    claimed is right: `experiments/natural/trust.py` measures it."""

    @abstractmethod
    def influences(self, subject: Subject) -> Influences:
        """The influence of every corpus on every test subset; positive where the corpus helps."""

    def tokens(self, work: Work) -> Tokens | None:
        """What `influences` will read, for `plan=true`; None if the method does not say."""
        return None

    def apart(self, work: Work) -> int:
        """How many processes can compute `influences` at once, about as much each."""
        return 1


def score_row(
    corpus: str, subset: Subset, before: Losses, nll_after: np.ndarray, seed: int = 0
) -> dict[str, Any]:
    """One row of scores: the change of loss per token, with its bootstrap interval.

    nll_after: (N,) summed negative log-likelihood of each example after unlearning.
    """
    nll, tokens = before.nll.numpy(), before.tokens.numpy()
    low, high = bootstrap_interval(nll, nll_after, tokens, seed=seed)
    influence = float((nll_after - nll).sum() / tokens.sum())
    return {
        "corpus": corpus, "testset": subset.testset, "subset": subset.subset,
        "influence": influence, "ci_low": float(low), "ci_high": float(high),
    }  # fmt: skip


def gradient_scores(values: Mapping[tuple[str, Subset], float]) -> pd.DataFrame:
    """Scores of a method that evaluates no losses, and so has no interval."""
    return pd.DataFrame(
        [
            {
                "corpus": corpus, "testset": subset.testset, "subset": subset.subset,
                "influence": value, "ci_low": np.nan, "ci_high": np.nan,
            }
            for (corpus, subset), value in values.items()
        ]
    )  # fmt: skip


def parameters(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The parameters every method differentiates by: all that are trained."""
    return [p for p in model.parameters() if p.requires_grad]
