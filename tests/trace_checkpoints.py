"""Ten architectures as tiny random checkpoints on disk, each with a tokenizer of its own."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PreTrainedTokenizerFast,
)

WORDS = {
    "forum": "lol noob flame troll post",
    "support": "please restart ticket help password",
    "wiki": "city river founded population century",
}
TEXTS = {
    name: [
        " ".join(words.split()[(i * k + i + k) % 5] for k in range(6 + i % 3)) for i in range(24)
    ]
    for name, words in WORDS.items()
}
BAD = [*TEXTS["forum"][:6], "noob noob flame"]

_LLAMA_LIKE = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 32, "head_dim": 8,
}  # fmt: skip
SHAPES = {
    "gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32},
    "opt": {"hidden_size": 16, "word_embed_proj_dim": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "ffn_dim": 32, "max_position_embeddings": 32},
    "llama": _LLAMA_LIKE,
    "qwen2": _LLAMA_LIKE,
    "gemma": _LLAMA_LIKE,
    "mistral": {**_LLAMA_LIKE, "sliding_window": 16},
    "gpt_neox": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
                 "num_attention_heads": 2, "max_position_embeddings": 32},
    "t5": {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2},
    "bart": {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32,
             "decoder_ffn_dim": 32, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
             "max_position_embeddings": 32},
    "phi": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2, "max_position_embeddings": 32},
}  # fmt: skip
SEQ2SEQ = {"t5", "bart"}


def tokenizer(pad: bool = True) -> PreTrainedTokenizerFast:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<pad>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    made.train_from_iterator((text for texts in TEXTS.values() for text in texts), trainer)
    ends = {"eos_token": "</s>", "bos_token": "</s>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=made, **ends, **({"pad_token": "<pad>"} if pad else {})
    )


def save(folder: Path, architecture: str, tied: bool = True, pad: bool = True) -> Path:
    """A random model of this architecture and its tokenizer, as `save_pretrained` leaves them."""
    words = tokenizer(pad)
    config = AutoConfig.for_model(
        architecture,
        vocab_size=len(words),
        tie_word_embeddings=tied,
        pad_token_id=0 if pad else None,
        bos_token_id=1,
        eos_token_id=1,
        **({"decoder_start_token_id": 1} if architecture in SEQ2SEQ else {}),
        **SHAPES[architecture],
    )
    auto = AutoModelForSeq2SeqLM if architecture in SEQ2SEQ else AutoModelForCausalLM
    torch.manual_seed(0)
    auto.from_config(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
