"""Losses against the model's own, whatever the batches."""

import pytest
import torch
from transformers import OPTConfig, OPTForCausalLM, T5Config, T5ForConditionalGeneration

from untrac_exp.data.encoding import IGNORED, pad
from untrac_exp.models.loss import Averaging, Losses, example_losses, mean_loss


@pytest.fixture
def opt():
    torch.manual_seed(0)
    config = OPTConfig(
        vocab_size=30, hidden_size=16, word_embed_proj_dim=16, num_hidden_layers=2,
        num_attention_heads=2, ffn_dim=32, max_position_embeddings=32,
    )  # fmt: skip
    return OPTForCausalLM(config).eval()


@pytest.fixture
def t5():
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=30, d_model=16, d_ff=32, d_kv=8, num_layers=2, num_heads=2,
        decoder_start_token_id=0, pad_token_id=0,
    )  # fmt: skip
    return T5ForConditionalGeneration(config).eval()


def ragged(seq2seq: bool):
    generator = torch.Generator().manual_seed(1)
    rows = [
        torch.randint(1, 30, (n,), generator=generator).tolist() for n in (9, 3, 12, 5, 5, 2, 7)
    ]
    targets = [row[::-1][: 2 + i % 3] for i, row in enumerate(rows)] if seq2seq else rows
    return pad(rows, targets, seq2seq)


@pytest.mark.parametrize("name", ["opt", "t5"])
def test_each_example_pays_what_the_model_says_alone(name, request):
    model = request.getfixturevalue(name)
    data = ragged(name == "t5")
    losses = example_losses(model, data, max_tokens=40)
    for i in range(len(data)):
        batch = data.batch(torch.tensor([i]))
        alone = model(input_ids=batch["input_ids"], labels=batch["labels"]).loss
        assert losses.nll[i].item() / losses.tokens[i].item() == pytest.approx(alone.item(), 1e-5)


@pytest.mark.parametrize("name", ["opt", "t5"])
def test_the_size_of_batches_does_not_matter(name, request):
    model = request.getfixturevalue(name)
    data = ragged(name == "t5")
    one, many = (example_losses(model, data, max_tokens=n) for n in (1, 10_000))
    torch.testing.assert_close(one.nll, many.nll, rtol=1e-5, atol=0)
    whole = mean_loss(model, data.batch(torch.arange(len(data))))
    assert one.mean == pytest.approx(whole.item(), 1e-5)


def test_unscored_tokens_cost_nothing(opt):
    data = pad([[1, 2, 3, 4]], [[IGNORED, IGNORED, 3, 4]], False)
    losses = example_losses(opt, data, 100)
    logits = opt(torch.tensor([[1, 2, 3, 4]])).logits.log_softmax(-1)
    assert losses.tokens.tolist() == [2]
    assert losses.nll.item() == pytest.approx(-(logits[0, 1, 3] + logits[0, 2, 4]).item(), 1e-5)


def test_a_mean_of_batches_is_the_mean_of_their_losses_weighed_by_their_examples():
    nll, tokens = torch.tensor([2.0, 4, 6, 9, 20]).double(), torch.tensor([1, 3, 2, 1, 5])
    plain = Losses(nll, tokens)
    assert Averaging().of(plain) is plain
    averaged = Averaging(evaluation=2).of(plain)
    # (2 + 4) / (1 + 3), (6 + 9) / (2 + 1), 20 / 5; the last batch has one example
    assert averaged.mean == pytest.approx((2 * 1.5 + 2 * 5 + 4) / 5)
    assert averaged.tokens.tolist() == [1] * 5
    assert Averaging(evaluation=9).of(plain).mean == pytest.approx(plain.mean)
    assert Averaging(evaluation=1).of(plain).mean == pytest.approx(float((nll / tokens).mean()))


def test_tokens_of_equal_sequences_weigh_the_same_either_way():
    nll, tokens = torch.arange(7).double(), torch.full((7,), 3)
    averaged = Averaging(evaluation=2).of(Losses(nll, tokens))
    assert averaged.mean == pytest.approx(Losses(nll, tokens).mean)


@pytest.mark.parametrize("name", ["evaluation", "micro_batch"])
def test_a_size_of_batches_below_one_is_refused(name):
    with pytest.raises(ValueError, match=rf"^loss\.{name}=0 must be at least 1, or null"):
        Averaging(**{name: 0})
