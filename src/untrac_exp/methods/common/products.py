"""Products of dataset gradients: what GradDot, GradCos, TracIn and HIF have in common."""

import tempfile
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import Arrays, Subject, Subset
from untrac_exp.stages.gradient import mean_gradient

Name = TypeVar("Name", bound=Hashable)


class Vectors(Generic[Name]):
    """Parameter-sized float32 vectors on disk, mapped into memory when read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[Name] = []

    def append(self, name: Name, vector: Tensor) -> None:
        np.save(self.folder / f"{len(self.names)}.npy", vector.detach().float().cpu().numpy())
        self.names.append(name)

    def items(self) -> Iterator[tuple[Name, Tensor]]:
        for i, name in enumerate(self.names):
            yield name, torch.from_numpy(np.load(self.folder / f"{i}.npy", mmap_mode="c"))


@contextmanager
def vectors() -> Iterator[Vectors]:
    """Vectors in a temporary folder that goes with them."""
    with tempfile.TemporaryDirectory(prefix="untrac-") as folder:
        yield Vectors(Path(folder))


def gradient(subject: Subject, data: Encoded) -> Tensor:
    """Gradient (P,) of the loss per token of `data` with the model's present weights."""
    subject.meter.backward(data.read)
    with subject.trainer.autocast(subject.model.device):
        return mean_gradient(subject.model, data, subject.max_tokens)


def gradients(subject: Subject, datasets: Mapping[Name, Encoded]) -> Iterator[tuple[Name, Tensor]]:
    """One gradient after another, so that only one needs to be in memory."""
    for name, data in datasets.items():
        yield name, gradient(subject, data)


def products(
    subject: Subject,
    name: str,
    product: Callable[[Tensor, Tensor], float],
    solve: Callable[[Tensor], Tensor] | None = None,
    normalised: bool = False,
    draws: bool = True,
) -> dict[tuple[str, Subset], float]:
    """`product` of every corpus' gradient (P,) and every test subset's (P,), both float32.

    solve: a symmetric linear map (P,) -> (P,) that stands between the two; it is applied to the
    corpora or to the subsets, whichever are fewer. normalised: scale the corpora's gradients to
    length 1. In memory there are two gradients at most; the corpora's wait on disk. `name` and
    `draws` are the parts', of which there is one for each test set.
    """
    solve_corpora = len(subject.corpora) <= len(subject.subsets)
    if solve is not None:  # not quite symmetric, so a part is of the side that was solved
        name += "-corpora" if solve_corpora else "-subsets"
    testsets: dict[str, dict[Subset, Encoded]] = {}
    for subset, data in subject.subsets.items():
        testsets.setdefault(subset.testset, {})[subset] = data

    def solved(vector: Tensor, here: bool) -> Tensor:
        return solve(vector) if solve is not None and here else vector

    def compute(stored: Vectors, subsets: Mapping[Subset, Encoded]) -> Arrays:
        if not stored.names:  # only now, so that a finished job computes no gradient
            for corpus, vector in gradients(subject, subject.corpora):
                if normalised and vector.any():
                    vector = vector / vector.norm()
                stored.append(corpus, solved(vector, solve_corpora))
        values = [
            [product(g, h) for _, g in stored.items()]
            for h in (
                solved(vector, not solve_corpora).float().cpu()
                for _, vector in gradients(subject, subsets)
            )
        ]
        return {"products": np.array(values)}

    found: dict[tuple[str, Subset], float] = {}
    with vectors() as stored:
        for subsets in testsets.values():
            reads = {"corpora": subject.corpora.values(), "subsets": subsets.values()}
            values = subject.part(name, partial(compute, stored, subsets), reads, draws)["products"]
            for subset, row in zip(subsets, values.tolist(), strict=True):
                found |= {
                    (corpus, subset): x for corpus, x in zip(subject.corpora, row, strict=True)
                }
    return found


def dot(a: Tensor, b: Tensor) -> float:
    """Dot product, summed in float64."""
    return float(a.double() @ b.double())
