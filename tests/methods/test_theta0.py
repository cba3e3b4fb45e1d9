"""The loss of θ0: refused if it is not finite, compared with that of a uniform guess."""

import math

import pytest
import torch
from transformers import (
    AutoConfig,
    EncoderDecoderConfig,
    EncoderDecoderModel,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
)

from tests.conftest import VOCAB, opt, sequences
from untrac_exp.data.base import Subset
from untrac_exp.methods.common.budget import attribute
from untrac_exp.methods.common.theta0 import losses_at_theta0, weak
from untrac_exp.methods.ngram import NGram
from untrac_exp.models.loss import mean_loss, vocab_size


def first(method, subject):
    return next(attribute(method, subject))


def test_each_testset_has_its_loss_and_that_of_a_uniform_guess(subject):
    theta0 = first(NGram(order=2), subject).theta0
    assert list(theta0) == ["copies", "likenesses"]
    copies = subject.subsets[Subset("copies", "threes")]
    expected = mean_loss(subject.model, copies.batch(slice(None))).item()
    assert theta0["copies"] == {
        "loss": pytest.approx(expected), "uniform": pytest.approx(math.log(VOCAB))
    }  # fmt: skip


def test_a_random_model_is_not_clearly_better_than_a_guess(fresh_subject):
    assert weak({"t": {"loss": 2.0, "uniform": math.log(VOCAB)}}) == []
    random = opt(torch.float64)
    [warning, *_] = first(NGram(order=2), fresh_subject(load=lambda: random)).influences.warnings
    assert "'copies'" in warning
    assert f"not clearly below the {math.log(VOCAB):.2f} nats per token of a uniform" in warning


@pytest.mark.parametrize("weight", [math.nan, math.inf])
def test_a_model_whose_loss_is_not_finite_is_refused(fresh_subject, weight):
    model = opt()
    model.model.decoder.layers[0].fc1.weight.data[0, 0] = weight
    with pytest.raises(ValueError, match=r"θ0's loss on copies/threes is (nan|inf); give"):
        first(NGram(order=2), fresh_subject(load=lambda: model))


def test_a_model_that_overflows_on_a_corpus_only_is_refused(fresh_subject):
    model = opt()
    token = 11
    tests = {Subset("t", "all"): sequences(0, 1, 2)}
    tests[Subset("t", "all")].input_ids[:] = tests[Subset("t", "all")].labels[:] = 3
    model.model.decoder.embed_tokens.weight.data[token] = math.nan
    model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
    one = {"odd": sequences(1, 1, 3)}
    one["odd"].input_ids[:] = one["odd"].labels[:] = token
    with pytest.raises(ValueError, match="θ0's loss on corpus odd is nan"):
        losses_at_theta0(fresh_subject(load=lambda: model, subsets=tests, corpora=one))


def test_nested_configurations_have_a_vocabulary():
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "vocab_size": 99,
            "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 16}  # fmt: skip
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
              "num_attention_heads": 1, "image_size": 28, "patch_size": 14}  # fmt: skip
    with torch.device("meta"):
        gemma = Gemma3ForConditionalGeneration(Gemma3Config(text_config=text, vision_config=vision))
        sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
                 "num_attention_heads": 1}  # fmt: skip
        parts = [AutoConfig.for_model("bert", vocab_size=n, **sizes) for n in (50, 60)]
        pair = EncoderDecoderModel(EncoderDecoderConfig.from_encoder_decoder_configs(*parts))
    assert vocab_size(gemma) == 99
    assert vocab_size(pair) == 60
