"""Forward and backward passes through `torch.compile`, in few shapes.

The compiled function takes the parameters as inputs, so all runs of a job share it, whatever their
weights. Each shape is compiled separately: lengths are padded to powers of two, at least 32, or to
the model's context, and rows to powers of two. Padding is masked and its logits are removed before
the loss.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ModelOutput

from untrac_exp.data.encoding import Encoded
from untrac_exp.stages import micro_batches

_SHORTEST = 32
"""Minimum padded length of a sequence in tokens."""
_MOST_SHAPES = 64
"""Limit of recompilations, beyond which torch runs eagerly: 6 lengths up to 1,024 tokens, with and
without a mask, by 5 numbers of rows."""
_CONTEXT = ("max_position_embeddings", "n_positions")
"""Keys of a model's configuration for its context length."""


def compiled(model: PreTrainedModel, compile: bool) -> PreTrainedModel:
    """Return `model`, or a compiled wrapper of it if `compile`.

    The wrapper shares the model's weights and attributes and returns only logits. Call backward on
    its output, once, before the next forward pass that is not part of the same loss.
    """
    return cast(PreTrainedModel, _Compiled(model)) if compile else model


def keep_gradients(model: PreTrainedModel) -> None:
    """Copy the gradients of a compiled model so that its next pass does not overwrite them.

    A CUDA graph writes to the same memory at each replay. Does nothing on other devices.
    """
    if isinstance(model, _Compiled) and model.device.type == "cuda":
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad = parameter.grad.clone()


def batches(
    model: PreTrainedModel, data: Encoded, max_tokens: int
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Yield `Encoded.batches` of at most `max_tokens` tokens, as padded by the (compiled) model."""
    if not isinstance(model, _Compiled):
        yield from data.batches(max_tokens)
        return
    sizes = _sizes(data, model.config)
    order = torch.argsort(sizes, stable=True)
    ordered, start = sizes[order].tolist(), 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and _rows(stop + 1 - start) * ordered[stop] <= max_tokens:
            stop += 1
        chosen = order[start:stop]
        yield chosen, data.batch(chosen)
        start = stop


def fitting(model: PreTrainedModel, data: Encoded, batch_size: int, max_tokens: int) -> int:
    """Return `micro_batches.fitting`, as padded by the (compiled) model."""
    if not isinstance(model, _Compiled):
        return micro_batches.fitting(data, batch_size, max_tokens)
    most = max(1, max_tokens // int(_sizes(data, model.config).max()))
    return min(batch_size, 1 << (most.bit_length() - 1))


def _sizes(data: Encoded, config: PreTrainedConfig) -> Tensor:
    """Return the padded length (N,) in tokens of each example alone in a compiled batch."""
    out = _length(data.labels.shape[1], config) if data.seq2seq else 0
    return torch.tensor([_length(n, config) + out for n in data.lengths.tolist()])


def _rows(n: int) -> int:
    """Return the number of rows to which `n` examples are padded."""
    return 1 << (n - 1).bit_length()


def _length(n: int, config: PreTrainedConfig) -> int:
    """Return the length to which `n` tokens are padded."""
    known = [getattr(config, name, None) for name in _CONTEXT]
    context = min([k for k in known if isinstance(k, int) and k > 1], default=2**30)
    return max(n, min(1 << (max(n, _SHORTEST) - 1).bit_length(), context))


class _Compiled:
    """A model whose forward pass is compiled; all other attributes are the model's."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._logits = _compiled_logits(model.device.type)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, input_ids: Tensor, use_cache: bool = False, **inputs: Tensor) -> ModelOutput:
        """inputs: attention_mask (B, L) if there is padding, decoder_input_ids (B, M)."""
        (n, width), config = input_ids.shape, self._model.config
        more_rows, wider = _rows(n) - n, _length(width, config) - width
        mask = inputs.get("attention_mask")
        if wider and mask is None:
            mask = torch.ones_like(input_ids)
        padded = {"input_ids": F.pad(input_ids, (0, wider, 0, more_rows))}
        if mask is not None:
            # added rows are unmasked: a fully masked row has no defined gradient
            padded["attention_mask"] = F.pad(F.pad(mask, (0, wider)), (0, 0, 0, more_rows), value=1)
        read = width
        if (decoded := inputs.get("decoder_input_ids")) is not None:
            read = decoded.shape[1]
            padded["decoder_input_ids"] = F.pad(
                decoded, (0, _length(read, config) - read, 0, more_rows)
            )
        return ModelOutput(logits=self._logits(self._model, padded)[:n, :read])


def _options(device: str) -> dict[str, Any]:
    """Options of `torch.compile`; CUDA graphs are used on CUDA."""
    return {"mode": "reduce-overhead"} if device == "cuda" else {}


@cache
def _compiled_logits(device: str) -> Any:
    """Return `_logits` compiled, once per process."""
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, _MOST_SHAPES)
    return torch.compile(_logits, dynamic=False, **_options(device))


def _logits(model: PreTrainedModel, inputs: dict[str, Tensor]) -> Tensor:
    return model(**inputs, use_cache=False).logits
