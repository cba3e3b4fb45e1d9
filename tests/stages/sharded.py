"""Pretrain a tiny model, in shards below torchrun, with checkpoints:

[torchrun --nproc-per-node 2] tests/stages/sharded.py FOLDER {opt,t5,untied_t5} [DIES_AT_STEP]
"""

import os
import sys
from functools import partial
from pathlib import Path

import torch
from transformers import OPTConfig, OPTForCausalLM, T5Config, T5ForConditionalGeneration

from untrac_exp.data.encoding import pad
from untrac_exp.runtime import processes
from untrac_exp.stages.pretraining import PretrainingSettings, pretrain
from untrac_exp.stages.trainer import TrainerSettings, quiet

SPECIAL = {"vocab_size": 20, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}


def build(architecture):
    torch.manual_seed(0)
    if "t5" in architecture:
        config = T5Config(
            d_model=8, d_kv=4, d_ff=16, num_layers=2, num_heads=2, dropout_rate=0.0, **SPECIAL
        )
        model = T5ForConditionalGeneration(config)
        if architecture == "untied_t5":
            model.lm_head.weight = torch.nn.Parameter(0.1 * torch.randn_like(model.lm_head.weight))
        return model
    return OPTForCausalLM(
        OPTConfig(
            hidden_size=8, word_embed_proj_dim=8, num_hidden_layers=2, num_attention_heads=2,
            ffn_dim=16, max_position_embeddings=16, dropout=0.0, **SPECIAL,
        )
    )  # fmt: skip


class Adam(torch.optim.Adam):
    dies_at = 0

    def step(self, closure=None):
        Adam.dies_at -= 1
        if Adam.dies_at == 0:
            os._exit(9)
        return super().step(closure)


def main(folder, architecture, dies_at="0"):
    quiet()
    Adam.dies_at = int(dies_at)
    world = processes.number()
    processes.join(world)
    tokens = torch.randint(2, 20, (24, 12), generator=torch.Generator().manual_seed(0)).tolist()
    data = pad(tokens, tokens, "t5" in architecture)
    # eps: some biases have no gradient but rounding errors, which Adam would blow up
    adam = partial(Adam, lr=0.01, eps=1e-4, fused=True)
    settings = PretrainingSettings(12, 4, adam, clip=1.0, checkpoint_every=5)
    strategy = "ddp" if world > 1 else "auto"
    longest = data.input_ids.shape[1] + (data.labels.shape[1] if data.seq2seq else 0)
    trainer = TrainerSettings(
        "cpu", world, strategy=strategy, max_tokens=2 * longest, shard=world > 1
    )
    out = Path(folder) / ("" if processes.is_first() else "other")  # as the store has it
    pretrain(build(architecture), data, settings, trainer, out, seed=3)


if __name__ == "__main__":
    main(*sys.argv[1:])
