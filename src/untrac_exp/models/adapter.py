"""Memory savings for unlearning large models: LoRA and activation checkpointing."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

_NAME = "untrac"


def add_lora(model: PreTrainedModel, options: Mapping[str, Any]) -> Any:
    """Add a LoRA adapter to `model`, in place, and freeze all other weights.

    The adapter's output is zero until it is trained. Its weights are float32 whatever the model's
    dtype, because unlearning updates are too small for bfloat16.

    Args:
        model: the model to adapt.
        options: arguments of `peft.LoraConfig`.

    Returns:
        The `peft` model; its `unload()` removes the adapter.

    Raises:
        ValueError: peft is not installed or rejects `options`.
    """
    try:
        from peft import LoraConfig
        from peft.tuners.lora import LoraModel
    except ImportError as error:
        raise ValueError("model.adapter=lora needs peft: pip install 'untrac-exp[peft]'") from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # for the matrix that is initialised at random
        try:
            handle = LoraModel(model, {_NAME: LoraConfig(**options)}, _NAME)
        except (TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"model.lora: {reason}; give arguments of peft.LoraConfig") from error
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    model.eval()  # peft creates the adapter's dropout in training mode
    return handle


def checkpoint_activations(model: PreTrainedModel) -> Callable[[], None]:
    """Keep only the activations at layer boundaries; recompute the others in the backward pass.

    `gradient_checkpointing_enable` of transformers only works in training mode, which would enable
    dropout. Unlearning runs in evaluation mode.

    Returns:
        A function that undoes the change.

    Raises:
        ValueError: the architecture has no `GradientCheckpointingLayer`.
    """
    layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    if not layers:
        raise ValueError(
            f"model.gradient_checkpointing: {type(model).__name__} has no layers that "
            "support recomputation; set it to false"
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
