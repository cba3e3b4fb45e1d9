"""Unlearning a model too large to train in full: LoRA, and activations that are computed twice."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

_NAME = "untrac"


def add_lora(model: PreTrainedModel, options: Mapping[str, Any]) -> Any:
    """Give `model` a LoRA adapter, in place, and freeze all but it; return peft's handle on it.

    options: arguments of `peft.LoraConfig`. The adapter's output is zero until it is trained. Its
    weights are float32 whatever the model's are: steps of unlearning are too small for bfloat16.
    `unload()` of the handle takes the adapter out.
    Raises `ValueError` without peft, or for options that peft does not take.
    """
    try:
        from peft import LoraConfig
        from peft.tuners.lora import LoraModel
    except ImportError as error:
        raise ValueError("model.adapter=lora needs peft: pip install 'untrac-exp[peft]'") from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of the half that does not start at zero
        try:
            handle = LoraModel(model, {_NAME: LoraConfig(**options)}, _NAME)
        except (TypeError, ValueError) as error:
            said = " ".join(str(error).split())
            raise ValueError(f"model.lora: {said}; give it what peft.LoraConfig takes") from error
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    model.eval()  # the adapter's dropout comes in training mode
    return handle


def checkpoint_activations(model: PreTrainedModel) -> Callable[[], None]:
    """Keep the activations of layer boundaries only, and compute the others again going backward.

    Returns what undoes it. transformers' own switch works in training mode alone, where dropout
    would be on; unlearning is done without. Raises `ValueError` for an architecture that marks no
    layers.
    """
    layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    if not layers:
        raise ValueError(
            f"model.gradient_checkpointing: {type(model).__name__} does not say which of its "
            "layers can be computed twice; set it to false"
        )
    for layer in layers:
        layer.forward = _twice(layer.forward)

    def undo() -> None:
        for layer in layers:
            del layer.forward

    return undo


def _twice(forward: Any) -> Any:
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run
