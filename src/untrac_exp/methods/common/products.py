"""Products of dataset gradients, shared by GradDot, GradCos, TracIn and HIF."""

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

from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import Arrays, Part, Subject, Subset
from untrac_exp.stages.gradient import mean_gradient
from untrac_exp.store import fingerprint

Name = TypeVar("Name", bound=Hashable)


class Vectors(Generic[Name]):
    """Named float32 vectors (P,) in files of a folder, memory-mapped when read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[Name] = []

    def append(self, name: Name, vector: Tensor) -> None:
        if self.folder.is_dir():  # not for a worker on another machine
            np.save(self._file(name), vector.detach().float().cpu().numpy())
        self.names.append(name)

    def items(self) -> Iterator[tuple[Name, Tensor]]:
        for name in self.names:
            yield name, torch.from_numpy(np.load(self._file(name), mmap_mode="c"))

    def _file(self, name: Name) -> Path:
        return self.folder / f"{fingerprint(name)[:16]}.npy"


@contextmanager
def vectors() -> Iterator[Vectors]:
    """Create `Vectors` in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="untrac-") as folder:
        yield Vectors(Path(folder))


def gradient(subject: Subject, data: Encoded) -> Tensor:
    """Compute the gradient (P,) of the loss per token of `data` at the model's current weights."""
    subject.meter.backward(data.read)
    with subject.trainer.autocast(subject.model.device):
        return mean_gradient(subject.model, data, subject.max_tokens)


def products(
    subject: Subject,
    name: str,
    product: Callable[[Tensor, Tensor], float],
    *args: Any,
    **kwargs: Any,
) -> dict[tuple[str, Subset], float]:
    """Return `products_at` θ0."""
    [at_theta0] = products_at([None], subject, name, product, *args, **kwargs)
    return at_theta0


def products_at(
    weights: Sequence[Path | None],
    subject: Subject,
    name: str,
    product: Callable[[Tensor, Tensor], float],
    solve: Callable[[Tensor], Tensor] | None = None,
    normalised: bool = False,
    draws: bool = True,
) -> list[dict[tuple[str, Subset], float]]:
    """Compute `product` of the gradients of each corpus and each test subset.

    Each weights file is loaded once, and each dataset is read once per file. At most two gradients
    are in memory. Those of the corpora or of the subsets, whichever are fewer, are kept on disk
    while the others are computed.

    Args:
        weights: files of weights at which to take the gradients; None for θ0.
        subject: the model and the data.
        name: name of the parts, one per weights file.
        product: function of a corpus' and a subset's gradient, both (P,) float32 on the CPU.
        solve: symmetric linear map (P,) -> (P,), such as an inverse Hessian, applied to the
            gradients of the corpora or of the subsets, whichever are fewer.
        normalised: scale the corpora's gradients to length 1.
        draws: whether the parts depend on the subject's seed.

    Returns:
        For each weights file, the products by corpus and subset.
    """
    corpora_are_fewer = len(subject.corpora) <= len(subject.subsets)
    if solve is not None:  # only approximately symmetric, so the name says which side was solved
        name += "-corpora" if corpora_are_fewer else "-subsets"

    def gradients(datasets: Mapping[Any, Encoded], of_corpora: bool) -> Iterator[Tensor]:
        for data in datasets.values():  # one at a time, to save memory
            vector = gradient(subject, data)
            if of_corpora and normalised and vector.any():
                vector = vector / vector.norm()
            if solve is not None and of_corpora == corpora_are_fewer:
                vector = solve(vector)
            yield vector.float().cpu()

    def compute(file: Path | None) -> Arrays:
        """Return products (corpora, subsets)."""
        few: Mapping[Any, Encoded] = subject.corpora
        many: Mapping[Any, Encoded] = subject.subsets
        if not corpora_are_fewer:
            few, many = many, few
        with _at(subject, file), vectors() as stored:
            for key, vector in zip(few, gradients(few, corpora_are_fewer), strict=True):
                stored.append(key, vector)
            rows = [
                [
                    product(kept, vector) if corpora_are_fewer else product(vector, kept)
                    for _, kept in stored.items()
                ]
                for vector in gradients(many, not corpora_are_fewer)
            ]
        return {"products": np.array(rows).T if corpora_are_fewer else np.array(rows)}

    reads = {
        "corpora": subject.corpora.values(),
        "subsets": subject.subsets.values(),
    }
    parts = {
        file: Part(
            name if file is None else f"{name}-{file.stem}", partial(compute, file), reads, draws
        )
        for file in weights
    }
    tables = subject.parts(parts, "products of gradients")
    return [
        {
            (corpus, subset): float(tables[file]["products"][i, j])
            for j, subset in enumerate(subject.subsets)
            for i, corpus in enumerate(subject.corpora)
        }
        for file in weights
    ]


@contextmanager
def _at(subject: Subject, weights: Path | None) -> Iterator[None]:
    """Load `weights` into the subject's model and restore θ0 on exit; None keeps θ0."""
    if weights is None:
        yield
        return
    with subject.leaving_theta0() as model:
        load_model(model, weights, device=str(model.device))
        yield


def dot(a: Tensor, b: Tensor) -> float:
    """Return the dot product of two vectors (P,), accumulated in float64."""
    return float(a.double() @ b.double())
