"""EK-FAC: the Fisher information of each linear layer and embedding.

The Fisher approximates the Hessian of the loss per token. For a layer with a weight (out, in) it is
assumed to be diagonal in the Kronecker product of two eigenbases: of the covariance of the layer's
inputs (with a 1 for the bias) and of the gradients of its outputs. The input of an embedding (V, d)
is one-hot, so the first basis is that of the V tokens themselves; the second is that of the
gradients of its vectors. An output embedding has the same bases, tied to the input's or not.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from untrac_exp.data.encoding import IGNORED, Encoded
from untrac_exp.models.loss import logits_and_labels
from untrac_exp.stages.micro_batches import fitting


class Factors(NamedTuple):
    """One layer's Fisher: outputs (out, out) and inputs (in + 1, in + 1), eigenvectors in columns;
    eigenvalues (out, in + 1) of the loss per token. Without a bias it is in, not in + 1.

    For an embedding, inputs are those of the vectors' gradients (d, d), eigenvalues (V, d), and
    outputs None, for the identity.
    """

    outputs: Tensor | None
    inputs: Tensor
    eigenvalues: Tensor


def linear_layers(model: PreTrainedModel) -> list[str]:
    """Return the trainable linear layers except the output embedding, whose covariance would be
    (V, V).
    """
    head = model.get_output_embeddings()
    return [
        name
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear)
        and layer is not head
        and all(p.requires_grad for p in layer.parameters())
    ]


def embeddings(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return the trainable weights (V, d) of embeddings, of tokens and of positions, by layer."""
    head = model.get_output_embeddings()
    weights: dict[str, Tensor] = {}
    for name, layer in model.named_modules():
        if not (isinstance(layer, nn.Embedding) or layer is head):
            continue
        is_new = all(layer.weight is not weight for weight in weights.values())
        if is_new and layer.weight.requires_grad:
            weights[name] = layer.weight
    return weights


def fit_embeddings(
    model: PreTrainedModel, data: Encoded, seed: int, sampled: bool = True
) -> dict[str, Factors]:
    """Fit the factors of each of `embeddings`, from two passes over single sequences.

    Memory: one gradient of the embeddings. The arguments and the result are those of `fit`.
    """
    weights = embeddings(model)
    if not weights:
        return {}

    def gradients() -> Iterator[tuple[Tensor, ...]]:
        """Yield the gradients (V, d) of each sequence's summed loss, the same on each call."""
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(seed)
            for i in range(len(data)):
                loss = summed_loss(model, data.batch(torch.tensor([i])), sampled)
                yield torch.autograd.grad(loss, [*weights.values()], materialize_grads=True)

    covariances = [torch.zeros_like(weight[0]).outer(weight[0]) for weight in weights.values()]
    for of_weights in gradients():
        for total, of_weight in zip(covariances, of_weights, strict=True):
            total += (of_weight.T @ of_weight).detach()
    bases = [torch.linalg.eigh(total).eigenvectors for total in covariances]
    squares = [torch.zeros_like(weight) for weight in weights.values()]
    for of_weights in gradients():
        for total, of_weight, basis in zip(squares, of_weights, bases, strict=True):
            total += (of_weight @ basis).square()
    tokens = int(data.scored.sum())
    return {
        name: Factors(None, basis.detach(), total.detach() / tokens)
        for name, basis, total in zip(weights, bases, squares, strict=True)
    }


def summed_loss(model: PreTrainedModel, batch: dict[str, Tensor], sampled: bool) -> Tensor:
    """Return the loss of a batch summed over tokens, of its labels or of labels sampled anew."""
    logits, labels = logits_and_labels(model, batch)
    logits, labels = logits.flatten(0, 1), labels.flatten()
    if sampled:
        drawn = torch.multinomial(logits.detach().float().softmax(-1), 1)[:, 0]
        labels = torch.where(labels == IGNORED, IGNORED, drawn)
    return F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")


def fit(
    model: PreTrainedModel, data: Encoded, max_tokens: int, seed: int, sampled: bool = True
) -> dict[str, Factors]:
    """Fit the factors of each layer of `linear_layers`, from two passes over the data.

    Memory: per-sequence gradients of one batch.

    Args:
        model: the model, which calls each of the layers once.
        data: training sequences.
        max_tokens: maximum number of tokens per batch, including padding.
        seed: seed of the sampled labels.
        sampled: sample labels from the model's predictions (true Fisher); else use those of `data`
            (empirical Fisher).

    Returns:
        The factors by layer name.
    """
    covariances: dict[str, list[Tensor]] = {}
    squares: dict[str, Tensor] = {}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for name, *rows_of in _rows(model, data, max_tokens, sampled):
            totals = covariances.setdefault(
                name, [rows.new_zeros(rows.shape[2], rows.shape[2]) for rows in rows_of]
            )
            for total, rows in zip(totals, rows_of, strict=True):
                total.addmm_(rows.flatten(0, 1).T, rows.flatten(0, 1))
        bases = {
            name: (_eigenvectors(outer), _eigenvectors(inner))
            for name, (outer, inner) in covariances.items()
        }
        for name, slopes, inputs in _rows(model, data, max_tokens, sampled):
            outer, inner = bases[name]
            gradients = torch.einsum("nto,nti->noi", slopes, inputs)
            square = (outer.T @ (gradients @ inner)).square().sum(0)
            squares[name] = squares[name] + square if name in squares else square
    # summed over sequences of gradients of a loss summed over tokens
    tokens = int(data.scored.sum())
    return {name: Factors(*bases[name], square / tokens) for name, square in squares.items()}


def _rows(
    model: PreTrainedModel, data: Encoded, max_tokens: int, sampled: bool
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield the gradients of outputs and the inputs of each layer in each batch.

    The gradients (B, T, out) are those of the summed loss. The inputs (B, T, in), or in + 1 with a
    1 for the bias, are 0 for padding. Those of an encoder-decoder are not: encoder and decoder
    lengths differ, so no single mask fits both. This changes the basis slightly but not the
    exactness of the eigenvalues.
    """
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def watch(name: str) -> RemovableHandle:
        def keep(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            seen[name] = inputs[0].detach(), output

        return model.get_submodule(name).register_forward_hook(keep)

    batches: DataLoader[dict[str, Tensor]] = DataLoader(
        range(len(data)),  # type: ignore[arg-type]
        fitting(data, len(data), max_tokens),
        collate_fn=lambda indices: data.batch(torch.tensor(indices)),
    )
    for batch in batches:
        seen.clear()
        with ExitStack() as hooks, torch.enable_grad():
            for name in linear_layers(model):
                hooks.callback(watch(name).remove)
            loss = summed_loss(model, batch, sampled)
        outputs = [output for _, output in seen.values()]
        slopes = torch.autograd.grad(loss, outputs, materialize_grads=True)
        for (name, (inputs, _)), slope in zip(seen.items(), slopes, strict=True):
            if model.get_submodule(name).bias is not None:
                inputs = F.pad(inputs, (0, 1), value=1.0)
            # OPT flattens the input of its feed-forward layers
            n = len(batch["input_ids"])
            slope, inputs = (rows.reshape(n, -1, rows.shape[-1]) for rows in (slope, inputs))
            if not data.seq2seq:
                inputs = inputs * batch["attention_mask"][..., None].to(inputs)
            yield name, slope, inputs


def _eigenvectors(covariance: Tensor) -> Tensor:
    """Return eigenvectors in columns, computed in float64 on the CPU."""
    exact = covariance.cpu().double()
    return torch.linalg.eigh((exact + exact.T) / 2).eigenvectors.to(covariance)
