"""Losses against the model's own, whatever the batches."""

import pytest
import torch

from tests.conftest import opt, sequences, t5
from untrac_exp.data.encoding import IGNORED, pad
from untrac_exp.models.loss import Averaging, Losses, example_losses, mean_loss

BUILD = {False: opt, True: t5}


def ragged(seq2seq):
    return sequences(1, 3, 7, seq2seq, ragged=not seq2seq)


@pytest.mark.parametrize("seq2seq", [False, True])
def test_each_example_pays_what_the_model_says_alone(seq2seq):
    model, data = BUILD[seq2seq](), ragged(seq2seq)
    losses = example_losses(model, data, max_tokens=40)
    for i in range(len(data)):
        batch = data.batch(torch.tensor([i]))
        alone = model(input_ids=batch["input_ids"], labels=batch["labels"]).loss
        assert losses.nll[i].item() / losses.tokens[i].item() == pytest.approx(alone.item(), 1e-5)


@pytest.mark.parametrize("seq2seq", [False, True])
def test_the_size_of_batches_does_not_matter(seq2seq):
    model, data = BUILD[seq2seq](), ragged(seq2seq)
    one, many = (example_losses(model, data, max_tokens=n) for n in (1, 10_000))
    torch.testing.assert_close(one.nll, many.nll, rtol=1e-5, atol=0)
    whole = mean_loss(model, data.batch(torch.arange(len(data))))
    assert one.mean == pytest.approx(whole.item(), 1e-5)


def test_unscored_tokens_cost_nothing():
    model = opt()
    data = pad([[1, 2, 3, 4]], [[IGNORED, IGNORED, 3, 4]], False)
    losses = example_losses(model, data, 100)
    logits = model(torch.tensor([[1, 2, 3, 4]])).logits.log_softmax(-1)
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


@pytest.mark.parametrize("name", ["evaluation", "micro_batch"])
def test_a_size_of_batches_below_one_is_refused(name):
    with pytest.raises(ValueError, match=rf"^loss\.{name}=0 must be at least 1, or null"):
        Averaging(**{name: 0})
