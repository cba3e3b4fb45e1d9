"""Products of dataset gradients: what GradDot, GradCos, TracIn and HIF have in common."""

import tempfile
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from safetensors.torch import load_model
from torch import Tensor

from untrac_exp import processes
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
        return mean_gradient(
            subject.model, data, subject.max_tokens, compile=subject.trainer.compile
        )


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
    length 1. `name` and `draws` are the parts', of which there is one for each of weights and test
    set.

    Each file is loaded once, and then each dataset is read once, for all test sets that the store
    lacks. In memory there are two gradients at most. On disk are those of the corpora or of the
    subsets, whichever are fewer, and only while the others are computed.
    """
    solve_corpora = len(subject.corpora) <= len(subject.subsets)
    if solve is not None:  # not quite symmetric, so a part is of the side that was solved
        name += "-corpora" if solve_corpora else "-subsets"
    testsets: dict[str, dict[Subset, Encoded]] = {}
    for subset, data in subject.subsets.items():
        testsets.setdefault(subset.testset, {})[subset] = data

    def read(datasets: Mapping[Any, Encoded], corpora: bool) -> Iterator[tuple[Any, Tensor]]:
        """Gradients of corpora or of subsets, with the model's present weights."""
        for one, vector in gradients(subject, datasets):
            if corpora and normalised and vector.any():
                vector = vector / vector.norm()
            yield one, solve(vector) if solve is not None and corpora == solve_corpora else vector

    def cells_of(subsets: Mapping[Subset, Encoded]) -> dict[tuple[str, Subset], float]:
        few: Mapping[Any, Encoded] = subject.corpora
        many: Mapping[Any, Encoded] = subsets
        if not solve_corpora:
            few, many = many, few
        found = {}
        with vectors() as stored:
            for one, vector in read(few, solve_corpora):
                stored.append(one, vector)
            for other, vector in read(many, not solve_corpora):
                vector = vector.float().cpu()
                for one, kept in stored.items():
                    if solve_corpora:
                        found[one, other] = product(kept, vector)
                    else:
                        found[other, one] = product(vector, kept)
        return found

    at_hand: dict[Path | None, dict[tuple[str, Subset], float]] = {}  # of the last file

    def compute(file: Path | None, testset: str) -> Arrays:
        cells = [[(corpus, subset) for corpus in subject.corpora] for subset in testsets[testset]]
        if not at_hand.get(file, {}).keys() >= {cell for row in cells for cell in row}:
            at_hand.clear()
            missing = [one for one in testsets if _is_missing(subject, parts[file, one])]
            wanted = {one: data for name in missing for one, data in testsets[name].items()}
            with _at(subject, file):
                at_hand[file] = cells_of(wanted)
        return {"products": np.array([[at_hand[file][cell] for cell in row] for row in cells])}

    parts = {
        (file, testset): Part(
            name if file is None else f"{name}-{file.stem}",
            partial(compute, file, testset),
            {"corpora": subject.corpora.values(), "subsets": subsets.values()},
            draws,
            group=(name, file),
        )
        for file in weights
        for testset, subsets in testsets.items()
    }
    answers = subject.parts(parts, "products of gradients")
    found: list[dict[tuple[str, Subset], float]] = []
    for file in weights:
        found.append({})
        for testset, subsets in testsets.items():
            rows = answers[file, testset]["products"].tolist()
            for subset, row in zip(subsets, rows, strict=True):
                found[-1] |= {
                    (corpus, subset): x for corpus, x in zip(subject.corpora, row, strict=True)
                }
    return found


def _is_missing(subject: Subject, part: Part) -> bool:
    """Whether a part is still to be computed; what the first process sees counts for all."""
    kind, key, *_ = subject.wanted(part)
    found = subject.store.find(kind, key) if processes.is_first() else None
    return processes.broadcast(found is None)


@contextmanager
def _at(subject: Subject, weights: Path | None) -> Iterator[None]:
    """The subject's model at other weights for a while; None for θ0."""
    if weights is None:
        yield
        return
    with subject.leaving_theta0() as model:
        load_model(model, weights, device=str(model.device))
        yield


def dot(a: Tensor, b: Tensor) -> float:
    """Dot product, summed in float64."""
    return float(a.double() @ b.double())
