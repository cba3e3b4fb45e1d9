"""Products of dataset gradients: what GradDot, GradCos, TracIn and HIF have in common."""

import tempfile
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from safetensors.torch import load_model
from torch import Tensor

from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import Arrays, Part, Subject, Subset
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
    *args: Any,
    **kwargs: Any,
) -> dict[tuple[str, Subset], float]:
    """`products_at` θ0."""
    [found] = products_at([None], subject, name, product, *args, **kwargs)
    return found


def products_at(
    weights: Sequence[Path | None],
    subject: Subject,
    name: str,
    product: Callable[[Tensor, Tensor], float],
    solve: Callable[[Tensor], Tensor] | None = None,
    normalised: bool = False,
    draws: bool = True,
) -> list[dict[tuple[str, Subset], float]]:
    """`product` of every corpus' gradient (P,) and every test subset's (P,), both float32.

    weights: files of the weights to take the gradients at, None for θ0; an answer for each.
    solve: a symmetric linear map (P,) -> (P,) that stands between the two; it is applied to the
    corpora or to the subsets, whichever are fewer. normalised: scale the corpora's gradients to
    length 1. In memory there are two gradients at most; the corpora's wait on disk. `name` and
    `draws` are the parts', of which there is one for each of weights and test set.
    """
    solve_corpora = len(subject.corpora) <= len(subject.subsets)
    if solve is not None:  # not quite symmetric, so a part is of the side that was solved
        name += "-corpora" if solve_corpora else "-subsets"
    testsets: dict[str, dict[Subset, Encoded]] = {}
    for subset, data in subject.subsets.items():
        testsets.setdefault(subset.testset, {})[subset] = data

    def solved(vector: Tensor, here: bool) -> Tensor:
        return solve(vector) if solve is not None and here else vector

    def compute(kept: _Kept, file: Path | None, subsets: Mapping[Subset, Encoded]) -> Arrays:
        with _at(subject, file):
            stored = kept.of(file)
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

    with _Kept() as kept:
        parts = {
            (i, testset): Part(
                name if file is None else f"{name}-{file.stem}",
                partial(compute, kept, file, subsets),
                {"corpora": subject.corpora.values(), "subsets": subsets.values()},
                draws,
                group=(name, file),
            )
            for i, file in enumerate(weights)
            for testset, subsets in testsets.items()
        }
        answers = subject.parts(parts, "products of gradients")
    found: list[dict[tuple[str, Subset], float]] = [{} for _ in weights]
    for (i, testset), arrays in answers.items():
        for subset, row in zip(testsets[testset], arrays["products"].tolist(), strict=True):
            found[i] |= {
                (corpus, subset): x for corpus, x in zip(subject.corpora, row, strict=True)
            }
    return found


@contextmanager
def _at(subject: Subject, weights: Path | None) -> Iterator[None]:
    """The subject's model at other weights for a while; None for θ0."""
    if weights is None:
        yield
        return
    with subject.leaving_theta0() as model:
        load_model(model, weights, device=str(model.device))
        yield


class _Kept(ExitStack):
    """The corpora's gradients at the weights that were asked for last; others are removed."""

    def __init__(self) -> None:
        super().__init__()
        self._file: Path | None = None
        self._stored: Vectors | None = None

    def of(self, file: Path | None) -> Vectors:
        if self._stored is None or file != self._file:
            self.close()
            self._file, self._stored = file, self.enter_context(vectors())
        return self._stored


def dot(a: Tensor, b: Tensor) -> float:
    """Dot product, summed in float64."""
    return float(a.double() @ b.double())
