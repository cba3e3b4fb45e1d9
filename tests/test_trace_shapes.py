"""Checkpoints of ten architectures, traced and left as they were."""

import itertools

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedTokenizerFast

from tests.trace_checkpoints import BAD, SEQ2SEQ, SHAPES, TEXTS, save
from untrac_exp import trace

CPU = {"trainer.accelerator": "cpu", "threads": 1}
CASES = [(name, True, True) for name in SHAPES] + [(name, False, False) for name in SHAPES]


@pytest.mark.parametrize(
    ("architecture", "tied", "pad"),
    CASES,
    ids=lambda value: value if isinstance(value, str) else "with" if value else "without",
)
def test_every_shape_is_traced_and_given_back(architecture, tied, pad, tmp_path):
    folder = save(tmp_path / architecture, architecture, tied, pad)
    auto = AutoModelForSeq2SeqLM if architecture in SEQ2SEQ else AutoModelForCausalLM
    model = auto.from_pretrained(folder).train()
    model.get_input_embeddings().requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)  # Qwen's own class adds a pad
    assert (tokenizer.pad_token_id is not None) is pad

    scores = trace(model, tokenizer, TEXTS, {"insults": BAD}, seed=1, **CPU)

    cells = list(scores[["corpus", "testset", "subset"]].itertuples(index=False, name=None))
    assert cells == list(itertools.product(TEXTS, ["insults"], ["all"]))
    values = scores[["influence", "ci_low", "ci_high"]].to_numpy()
    assert np.isfinite(values).all()
    assert (values != 0).all()
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all(module.training for module in model.modules())
    assert not model.get_input_embeddings().weight.requires_grad
    of_the_head = model.get_output_embeddings().weight
    assert (of_the_head is model.get_input_embeddings().weight) or not tied
