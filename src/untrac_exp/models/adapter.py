"""LoRA, to unlearn large models with less memory."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedModel

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
