"""EK-FAC: the Fisher information of each linear layer and embedding.

The Fisher approximates the Hessian of the loss per token. For a layer with a weight (out, in) it is
assumed to be diagonal in the Kronecker product of two eigenbases: of the covariance of the layer's
inputs (with a 1 for the bias) and of the gradients of its outputs; kronfluence fits these. The
input of an embedding (V, d) is one-hot, so the first basis is that of the V tokens themselves; the
second is that of the gradients of its vectors. An output embedding has the same bases, tied to the
input's or not.
"""

import copy
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
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
    """Fit the factors of each layer of `linear_layers`; `model` is not changed.

    Costs two forward and backward passes over `data`. Memory: a copy of the model and per-sequence
    gradients of one batch.

    Args:
        model: the model.
        data: training sequences.
        max_tokens: maximum number of tokens per batch, including padding.
        seed: seed of the sampled labels.
        sampled: sample labels from the model's predictions (true Fisher); else use those of `data`
            (empirical Fisher).

    Returns:
        The factors by layer name, on the CPU.

    Raises:
        ModuleNotFoundError: kronfluence is not installed.
    """
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments
    from kronfluence.utils.dataset import DataLoaderKwargs

    inner = {name: f"{name}.layer" for name in linear_layers(model)}
    task = _task(list(inner.values()), data.seq2seq)
    double = model.dtype == torch.float64
    kinds = ("activation_covariance", "gradient_covariance", "per_sample_gradient", "lambda")
    precision = {f"{kind}_dtype": torch.float64 if double else torch.float32 for kind in kinds}
    prepared = copy.deepcopy(model)
    for name in inner:
        prepared.set_submodule(name, _BySequence(prepared, prepared.get_submodule(name)))
    prepared = prepare_model(prepared, task)
    with (
        tempfile.TemporaryDirectory(prefix="untrac-") as folder,
        torch.random.fork_rng(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # deprecations inside kronfluence
        torch.manual_seed(seed)
        analyzer = Analyzer(
            "ekfac", prepared, task,
            cpu=model.device.type == "cpu", output_dir=folder,
            disable_tqdm=True, disable_model_save=True,
        )  # fmt: skip
        analyzer.set_dataloader_kwargs(
            DataLoaderKwargs(collate_fn=lambda indices: data.batch(torch.tensor(indices)))
        )
        analyzer.fit_all_factors(
            "factors",
            range(len(data)),
            per_device_batch_size=fitting(data, len(data), max_tokens),
            factor_args=FactorArguments(
                use_empirical_fisher=not sampled,
                covariance_max_examples=None,
                lambda_max_examples=None,
                **precision,
            ),
        )
        basis = analyzer.load_eigendecomposition("factors")
        squares = analyzer.load_lambda_matrices("factors")
    tokens = int(data.scored.sum())
    return {
        name: Factors(
            basis["gradient_eigenvectors"][key].to(model.dtype),
            basis["activation_eigenvectors"][key].to(model.dtype),
            # summed over sequences of gradients of a loss summed over tokens
            squares["lambda_matrix"][key].to(model.dtype) / tokens,
        )
        for name, key in inner.items()
    }


def _task(names: Sequence[str], seq2seq: bool) -> Any:
    """Return the kronfluence task: summed loss of the tracked layers."""
    from kronfluence.task import Task

    class SummedLoss(Task):
        def compute_train_loss(
            self, batch: dict[str, Tensor], model: Any, sample: bool = False
        ) -> Tensor:
            return summed_loss(model, batch, sample)

        def compute_measurement(self, batch: dict[str, Tensor], model: Any) -> Tensor:
            return self.compute_train_loss(batch, model)

        def get_influence_tracked_modules(self) -> list[str]:
            return list(names)

        def get_attention_mask(self, batch: dict[str, Tensor]) -> Tensor | None:
            # Encoder and decoder lengths differ, so no single mask fits both. Padding then counts
            # as input, which changes the basis slightly but not the exactness of the eigenvalues.
            return None if seq2seq else batch["attention_mask"]

    return SummedLoss()


class _BySequence(nn.Module):
    """A layer whose input is reshaped from tokens (B T, in) to sequences (B, T, in), if it is flat.

    OPT flattens the input of its feed-forward layers, so hooks would treat tokens as examples.
    """

    def __init__(self, model: nn.Module, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.examples = 1
        model.register_forward_pre_hook(self._count, with_kwargs=True)

    @property
    def weight(self) -> Any:
        """The layer's, whose dtype T5 reads."""
        return self.layer.weight

    def _count(self, model: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        self.examples = len(kwargs["input_ids"])

    def forward(self, tokens: Tensor) -> Tensor:
        if tokens.dim() == 3:
            return self.layer(tokens)
        return self.layer(tokens.unflatten(0, (self.examples, -1))).flatten(0, 1)
