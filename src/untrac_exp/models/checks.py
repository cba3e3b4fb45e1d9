"""What a model must be to be traced: causal, and not shorter than its sequences."""

import re

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from untrac_exp.models.source import ModelSource

LONGEST = 512
"""Default length of a sequence in tokens, unless the model's context is shorter."""

_CONTEXT = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length")
_PROBED = 8
"""Tokens of the text that shows whether a model is causal."""
_TOLERANCE = 1e-5
"""Of logits that must not change, as a share of the largest."""


def context(config: PreTrainedConfig, most: int = LONGEST) -> int:
    """Return the model's context length in tokens by its configuration, at most `most`."""
    config = config.get_text_config()
    lengths = [getattr(config, name, None) for name in _CONTEXT]
    return min([most, *(n for n in lengths if isinstance(n, int) and n > 1)])


def check_block_size(model: PreTrainedModel, source: ModelSource) -> None:
    """Raise `ValueError` if `block_size` exceeds the model's learned position embeddings."""
    block_size = source.block_size
    learned = any(
        isinstance(module, torch.nn.Embedding) and re.search(r"position|wpe$", name)
        for name, module in model.named_modules()
    )
    if learned and block_size > (limit := context(model.config, block_size)):
        raise ValueError(
            f"model.block_size={block_size} is more than the {limit} positions that the model has "
            f"learned; set model.block_size={limit}, or null"
        )


@torch.no_grad()
def check_causal(model: PreTrainedModel) -> None:
    """Raise `ValueError` if a token changes the logits of those before it, as in an encoder.

    The model is in evaluation mode. Of an encoder-decoder nothing is checked.
    """
    if model.config.is_encoder_decoder:
        return
    n = model.get_input_embeddings().num_embeddings
    # not the first tokens, which may be special: some models do not attend to padding
    text = torch.arange(n // 2, n // 2 + _PROBED, device=model.device)[None] % n
    other = text.clone()
    other[0, -1] = n // 2
    before, after = (
        model(input_ids=ids, use_cache=False).logits[:, :-1].float() for ids in (text, other)
    )
    tolerance = max(_TOLERANCE, 30 * torch.finfo(model.dtype).eps)
    if (before - after).abs().max() > tolerance * before.abs().max():
        raise ValueError(
            f"{type(model).__name__} is no causal language model: later tokens change what it says "
            "of earlier ones; give a decoder, such as GPT-2 or Llama"
        )
