"""FLOP/s that this machine reaches with a model, for estimates of time.

Counted are 2 N FLOPs per token of a forward pass and 4 N of a backward pass, for N parameters. The
rate is below the hardware's peak, and far below it for a small model.
"""

import time
from typing import Any

import torch
from transformers import PreTrainedModel

from untrac_exp.models.checks import context
from untrac_exp.models.loss import mean_loss

_ASSUMED = 5e13
"""FLOP/s assumed where nothing can be measured."""
_LARGEST_TIMED = 600_000_000
"""Parameters of the largest model that is timed for a plan."""
_LONG_ENOUGH_S = 0.4
"""Shortest time that counts as a measurement."""
_WIDTH, _MOST_TOKENS = 32, 2048
"""Tokens of the first, untimed pass and of the largest one."""

_measured: dict[str, float] = {}


def flops(forward: Any, backward: Any, parameters: Any) -> Any:
    """Return the FLOPs of passes over so many tokens: numbers, or arrays of them."""
    return 2.0 * parameters * forward + 4.0 * parameters * backward


def model_rate(model: PreTrainedModel) -> float:
    """Measure the FLOP/s of a model on its device, in about a second, once per process.

    Weights are unchanged; gradients are cleared.
    """
    key = f"{model.config.to_json_string()} {model.device} {model.dtype} {torch.get_num_threads()}"
    width, vocab_size = context(model.config, _WIDTH), model.get_input_embeddings().num_embeddings
    tokens, seconds = width, 0.0
    while key not in _measured:
        ids = torch.arange(tokens).view(-1, width) % vocab_size
        batch = {"input_ids": ids, "labels": ids, "attention_mask": torch.ones_like(ids)}
        start = time.monotonic()
        mean_loss(model, batch).backward()
        model.zero_grad(set_to_none=True)
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        seconds = time.monotonic() - start
        is_warm = tokens > width
        if is_warm and (seconds > _LONG_ENOUGH_S or tokens >= _MOST_TOKENS):
            _measured[key] = flops(tokens, tokens, model.num_parameters()) / max(seconds, 1e-9)
        tokens *= 2
    return _measured[key]


def planned_rate(
    skeleton: PreTrainedModel | None, device: torch.device | None
) -> tuple[float, str]:
    """Return the FLOP/s of a model on a device for a plan, and where they are from.

    Args:
        skeleton: the model on the meta device; None if that needs a download.
        device: None if it is not present.
    """
    if device is None or skeleton is None or skeleton.num_parameters() > _LARGEST_TIMED:
        return _ASSUMED, "assumed; plan_flops_per_s gives another"
    model = skeleton.to_empty(device=device)
    with torch.no_grad():  # uninitialised memory may hold subnormals, which are slow
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.zero_()
    return model_rate(model), "as measured here"
