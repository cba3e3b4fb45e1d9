"""Products of dataset gradients, shared by GradDot, GradCos, TracIn and HIF."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_model
from torch import Tensor

from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import Arrays, Part, Subject
from untrac_exp.stages.gradient import mean_gradient


def gradient(subject: Subject, data: Encoded) -> Tensor:
    """Compute the gradient (P,) of the loss per token of `data` at the model's current weights."""
    subject.meter.backward(data.read)
    with subject.trainer.autocast(subject.model.device):
        return mean_gradient(subject.model, data, subject.max_tokens)


def products(
    subject: Subject,
    name: str,
    product: Callable[[Tensor, Tensor], float],
    solve: Callable[[Tensor], Tensor] | None = None,
    *,
    weights: Sequence[tuple[Path | None, float]] = ((None, 1.0),),
    normalised: bool = False,
    draws: bool = True,
) -> np.ndarray:
    """Compute `product` of the gradients of each corpus and each test subset.

    Each weights file is loaded once, and each dataset is read once per file. At most two gradients
    are in memory. Those of the corpora or of the subsets, whichever are fewer, are kept on disk
    while the others are computed.

    Args:
        subject: the model and the data.
        name: name of the parts, one per weights file.
        product: function of a corpus' and a subset's gradient, both (P,) float32 on the CPU.
        solve: symmetric linear map (P,) -> (P,), such as an inverse Hessian, applied to the
            gradients of the corpora or of the subsets, whichever are fewer.
        weights: files of weights at which to take the gradients, None for θ0, and what the products
            there are multiplied by in the sum over files.
        normalised: scale the corpora's gradients to length 1.
        draws: whether the parts depend on the subject's seed.

    Returns:
        The products (Z, S), in the order of the subject's corpora and subsets.
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
            yield vector.detach().float().cpu()

    def compute(file: Path | None) -> Arrays:
        """Return products (corpora, subsets)."""
        few: Mapping[Any, Encoded] = subject.corpora
        many: Mapping[Any, Encoded] = subject.subsets
        if not corpora_are_fewer:
            few, many = many, few
        with _at(subject, file), TemporaryDirectory(prefix="untrac-") as folder:
            files = [Path(folder) / f"{i}.npy" for i in range(len(few))]
            for path, vector in zip(files, gradients(few, corpora_are_fewer), strict=True):
                np.save(path, vector.numpy())
            stored = [torch.from_numpy(np.load(path, mmap_mode="c")) for path in files]
            rows = [
                [
                    product(kept, vector) if corpora_are_fewer else product(vector, kept)
                    for kept in stored
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
        for file, _ in weights
    }
    tables = subject.parts(parts, "products of gradients")
    return np.sum([factor * tables[file]["products"] for file, factor in weights], axis=0)


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
