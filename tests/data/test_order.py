"""The order of a mixture."""

from itertools import islice

import torch

from untrac_exp.data.order import batches, epochs


def test_every_epoch_is_a_permutation_of_its_own():
    order = list(islice(epochs(20, seed=1), 40))
    assert sorted(order[:20]) == sorted(order[20:]) == list(range(20))
    assert order[:20] != order[20:]


def test_leaving_out_a_corpus_keeps_the_order_of_the_rest():
    keep = torch.ones(20, dtype=torch.bool)
    keep[5:10] = False
    full = list(islice(epochs(20, seed=1), 20))
    left = list(islice(epochs(20, seed=1, keep=keep), 15))
    assert left == [i for i in full if not 5 <= i < 10]


def test_skipping_is_as_if_the_batches_had_been_drawn():
    drawn = list(islice(batches(10, 3, seed=2), 9))
    resumed = list(islice(batches(10, 3, seed=2, skip=4), 5))
    assert all(torch.equal(a, b) for a, b in zip(drawn[4:], resumed, strict=True))


def test_a_batch_larger_than_the_data_is_all_of_it_once():
    batch = next(batches(7, 256, seed=0))
    assert sorted(batch.tolist()) == list(range(7))
