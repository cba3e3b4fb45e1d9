r"""Derivatives of a trained model's losses by the weights of parts of its training data.

The training of `stages.pretraining` is a chain of steps of Adam,

.. math::
    s_{t+1} = F_t(s_t, w), \qquad s = (\theta, m, v),

in which the loss of batch B is
:math:`\sum_{i \in B} w_{c(i)} \ell_i / (|B| \sum_c w_c n_c / N)`, with :math:`\ell_i` in nats, |B|
its tokens, c(i) the part that sequence i is of, and :math:`n_c / N` the part's share of the
sequences: a part without weight is replaced by the others, as in a training of as many steps.
`derivatives` goes through the chain backwards. States are kept at every √T-th of T steps, and the
steps between two of them are computed again.

Source: Engstrom, Ilyas et al., "Optimizing ML Training with Metagradient Descent", 2025
(arXiv 2503.13751).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from transformers import PreTrainedModel

from untrac_exp.data.encoding import Encoded
from untrac_exp.data.order import batches
from untrac_exp.models.loss import token_nll
from untrac_exp.models.weights import parameters
from untrac_exp.runtime.progress import Progress
from untrac_exp.stages.micro_batches import MicroBatch, micro_batches, number_per_process
from untrac_exp.stages.pretraining import PretrainingSettings, seed_dropout
from untrac_exp.stages.trainer import TrainerSettings


class _State(NamedTuple):
    """Weights, and means of gradients and of their squares; each (P,)."""

    weights: Tensor
    mean: Tensor
    square: Tensor


class _Adam(NamedTuple):
    """Step number t, from 1, of Adam."""

    t: int
    rate: float
    betas: tuple[float, float]
    eps: float

    def step(self, state: _State, gradient: Tensor) -> _State:
        """Return the state after a step."""
        first, second = self.betas
        mean = first * state.mean + (1 - first) * gradient
        square = second * state.square + (1 - second) * gradient.square()
        numerator, root = self._corrected(mean, square)
        return _State(state.weights - self.rate * numerator / (root + self.eps), mean, square)

    def backward(self, after: _State, gradient: Tensor, slope: _State) -> tuple[Tensor, _State]:
        """Return the derivatives by the step's gradient (K, P), and by the state before it.

        after: the state after the step. slope: derivatives (K, P) by that state. The derivative by
        the state lacks what goes through the gradient.
        """
        first, second = self.betas
        numerator, root = self._corrected(after.mean, after.square)
        rates = self.rate / (root + self.eps)
        mean = slope.mean - slope.weights * rates / (1 - first**self.t)
        # √v has no derivative at 0, where the gradient was always 0 and stays so
        by_square = rates * numerator / (root + self.eps) / (2 * root * (1 - second**self.t))
        square = slope.square + slope.weights * torch.where(root > 0, by_square, 0)
        by_gradient = (1 - first) * mean + 2 * (1 - second) * gradient * square
        return by_gradient, _State(slope.weights, first * mean, second * square)

    def _corrected(self, mean: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
        """Return the corrected mean, and the root of the corrected mean square."""
        first, second = self.betas
        return mean / (1 - first**self.t), (square / (1 - second**self.t)).sqrt()


class Replay:
    """The training of a model, which can be repeated from any of its states.

    Args:
        model: the model with its initial weights; changed by `derivatives`.
        data: the mixture, N sequences.
        parts: (N,) int64, the part from 0 of each sequence.
        settings: as in `stages.pretraining.pretrain`.
        trainer: likewise.
        seed: likewise.

    Raises:
        ValueError: the optimizer is not Adam without weight decay.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        data: Encoded,
        parts: Tensor,
        settings: PretrainingSettings,
        trainer: TrainerSettings,
        seed: int,
    ) -> None:
        self.model, self.data, self.parts, self.settings = model, data, parts, settings
        self.trainer, self.seed = trainer, seed
        optimizer = settings.optimizer([torch.nn.Parameter(torch.zeros(1))])
        self.options = optimizer.param_groups[0]
        others = ("weight_decay", "amsgrad", "maximize")
        if type(optimizer) is not torch.optim.Adam or any(self.options[name] for name in others):
            raise ValueError(
                "pretraining.optimizer: derivatives through training are those of torch.optim.Adam "
                "without weight decay, amsgrad and maximize"
            )
        self.share = torch.bincount(parts) / len(parts)

    def derivatives(self, ends: Callable[[PreTrainedModel], Sequence[Tensor]]) -> Tensor:
        """Return the derivatives of K losses of the trained model by the weights of C parts.

        Args:
            ends: returns the gradients of the losses, each (P,), at the trained model.

        Returns:
            (K, C), in the losses' unit, at weights of 1.
        """
        steps = self.settings.steps
        every = max(1, math.isqrt(steps))
        weights = parameters_to_vector(parameters(self.model.train())).detach()
        state = _State(weights, torch.zeros_like(weights), torch.zeros_like(weights))
        progress = Progress("magic: steps forward and back", 3 * steps)
        kept = {}
        for t, batch in self._steps(0, steps):
            if t % every == 0:
                kept[t] = state
            state = self._adam(t).step(state, self._clipped(self._gradient(state, batch)))
            progress(t + 1)
        self._set(state)
        slope = self._slope(torch.stack(list(ends(self.model.eval()))))
        self.model.train()
        total = torch.zeros(len(slope.weights), len(self.share), dtype=weights.dtype)
        for start in sorted(kept, reverse=True):
            state = kept.pop(start)
            segment = []
            for t, batch in self._steps(start, min(start + every, steps)):
                gradient = self._gradient(state, batch)
                after = self._adam(t).step(state, self._clipped(gradient))
                segment.append((t, batch, state, gradient, after))
                state = after
            while segment:
                t, batch, before, gradient, after = segment.pop()
                clipped = self._clipped(gradient)
                by_clipped, slope = self._adam(t).backward(after, clipped, slope)
                by_gradient = self._unclipped(gradient, by_clipped)
                by_weights, by_parts = self._second(before, batch, by_gradient)
                slope = slope._replace(weights=slope.weights + by_weights)
                total += by_parts
                progress(3 * steps - 2 * t)
        self.model.eval()
        return total

    def _adam(self, t: int) -> _Adam:
        rate = self.options["lr"] * self.settings.schedule(t, self.settings.steps)
        return _Adam(t + 1, rate, self.options["betas"], self.options["eps"])

    def _slope(self, gradients: Tensor) -> _State:
        return _State(gradients, torch.zeros_like(gradients), torch.zeros_like(gradients))

    def _steps(self, start: int, stop: int) -> Iterator[tuple[int, list[MicroBatch]]]:
        """Yield the steps from `start` to before `stop`, with their micro-batches."""
        size = min(self.settings.batch_size, len(self.data))
        number = number_per_process(self.data, size, self.trainer.max_tokens, self.trainer.loss)
        order = batches(len(self.data), size, self.seed, None, start)
        all_parts = micro_batches(self.data, order, number, loss=self.trainer.loss)
        for t in range(start, stop):
            yield t, [part._replace(step=t) for part in islice(all_parts, number)]

    def _set(self, state: _State) -> None:
        vector_to_parameters(state.weights.clone(), parameters(self.model))

    def _losses(self, batch: list[MicroBatch], weight: Tensor) -> Iterator[Tensor]:
        """Yield the weighted losses of micro-batches, whose sum is the loss of the step."""
        for part in batch:
            seed_dropout(self.model.device, self.seed, part.step, part.part)
            with self.trainer.autocast(self.model.device):
                nll, tokens = token_nll(self.model, part.inputs)
            weights = weight[self.parts[part.indices]] / (weight @ self.share.to(weight))
            yield (nll.sum(1) * weights).sum() / tokens.sum() * (part.weight / part.parts)

    def _gradient(self, state: _State, batch: list[MicroBatch]) -> Tensor:
        """Compute the gradient (P,) of a step's loss."""
        self._set(state)
        trained = parameters(self.model)
        total = torch.zeros_like(state.weights)
        for loss in self._losses(batch, torch.ones(len(self.share)).to(total)):
            slopes = torch.autograd.grad(loss, trained, materialize_grads=True)
            total += torch.cat([slope.flatten() for slope in slopes])
        return total

    def _second(
        self, state: _State, batch: list[MicroBatch], vectors: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Differentiate the products of a step's gradient with vectors (K, P).

        Returns:
            The derivatives (K, P) by the weights of the model and (K, C) by those of the parts.
        """
        self._set(state)
        trained = parameters(self.model)
        sizes = [weight.numel() for weight in trained]
        of_parts = torch.ones(len(self.share)).to(state.weights).requires_grad_()
        by_weights = torch.zeros_like(vectors)
        by_parts = torch.zeros(len(vectors), len(self.share)).to(vectors)
        # only the math attention kernel supports double backward
        with sdpa_kernel(SDPBackend.MATH):
            for loss in self._losses(batch, of_parts):
                slopes = torch.autograd.grad(
                    loss, trained, create_graph=True, materialize_grads=True
                )
                for k, vector in enumerate(vectors):
                    pieces = vector.split(sizes)
                    product = torch.stack(
                        [(g.flatten() * v).sum() for g, v in zip(slopes, pieces, strict=True)]
                    ).sum()
                    *rows, row = torch.autograd.grad(
                        product, [*trained, of_parts], retain_graph=True, materialize_grads=True
                    )
                    by_weights[k] += torch.cat([piece.flatten() for piece in rows])
                    by_parts[k] += row
        return by_weights, by_parts

    def _clipped(self, gradient: Tensor) -> Tensor:
        """Clip a gradient (P,) as `torch.nn.utils.clip_grad_norm_` does."""
        return gradient * self._scale(gradient)

    def _scale(self, gradient: Tensor) -> float:
        clip = self.settings.clip
        return min(1.0, clip / (float(gradient.norm()) + 1e-6)) if clip else 1.0

    def _unclipped(self, gradient: Tensor, slope: Tensor) -> Tensor:
        """Return the derivatives (K, P) by a gradient (P,), given those by the clipped one."""
        scale = self._scale(gradient)
        if scale == 1.0:
            return slope
        length = gradient.norm()
        along = (slope @ gradient)[:, None] * gradient / (length * (length + 1e-6))
        return scale * (slope - along)
