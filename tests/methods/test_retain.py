"""What an objective holds is nothing that is read, in every case in which corpora are drawn."""

from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch

from tests.conftest import corpora, make_subject, sequences
from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import Subset
from untrac_exp.methods.untrac import UnTrac
from untrac_exp.methods.untrac_inv import UnTracInv
from untrac_exp.objectives.kl import KL
from untrac_exp.stages.unlearning import Stopping

METHODS = pytest.mark.parametrize("kind", [UnTrac, UnTracInv])


def rows(*datasets):
    return {
        tuple(row[:n])
        for data in datasets
        for row, n in zip(data.input_ids.tolist(), data.lengths, strict=True)
    }


def run(kind, subject):
    """Rows of each corpus held, and the answer. No run holds what it unlearns or evaluates."""
    runs = []

    @dataclass(frozen=True)
    class Spying(KL):
        def prepare(self, inputs):
            runs.append(inputs)
            return super().prepare(inputs)

    method = kind(
        partial(torch.optim.SGD, lr=1e-3), Spying(weight=1.0, examples=4),
        Stopping(steps=1, evaluations=1), 4,
    )  # fmt: skip
    answer = method.influences(subject)
    evaluated = rows(*subject.subsets.values())
    if kind is UnTracInv:
        evaluated |= rows(*subject.corpora.values())
    for inputs in runs:
        held = rows(*inputs.retain_set.values())
        assert held
        assert not held & (evaluated | rows(inputs.forget_set))
    return {name: rows(data) for one in runs for name, data in one.retain_set.items()}, answer


def plain(trained, folder, seed=0):
    """Corpora of more sequences than are sampled, with copies in a corpus and in a test set."""
    samples = {
        name: Encoded.concatenate([data, sequences(40 + i, 2, 8), data.select(torch.arange(2))])
        for i, (name, data) in enumerate(corpora().items())
    }
    samples["fives"] = Encoded.concatenate([samples["fives"], samples["ones"]])
    subject = make_subject(trained[0], folder / "store", seed=seed)
    copied = samples["ones"].select(torch.arange(2))
    return replace(
        subject,
        subsets={**subject.subsets, Subset("copies", "threes"): copied},
        corpora={name: data.sample(8, seed) for name, data in samples.items()},
        trained_on=samples,
    )


@METHODS
def test_what_is_held_is_not_read(kind, trained, tmp_path):
    subject = plain(trained, tmp_path)
    by_corpus, answer = run(kind, subject)
    assert by_corpus.keys() == subject.corpora.keys()
    assert all(len(of) >= 4 for of in by_corpus.values())
    assert not [line for line in answer.warnings if "retain set" in line or "too few" in line]


@METHODS
def test_samples_that_are_the_corpora(kind, trained, tmp_path):
    """Nothing is left of what is evaluated; a test subset is a copy of one corpus."""
    subject = make_subject(trained[0], tmp_path / "store")
    if kind is UnTracInv:
        with pytest.raises(ValueError, match="needs a retain set"):
            run(kind, subject)
        return
    by_corpus, answer = run(kind, subject)
    assert {name: len(of) for name, of in by_corpus.items()} == {"ones": 8, "fives": 8}
    assert answer.warnings == [
        "the retain set has no sequence of 'threes': all are evaluated, or copies of evaluated ones"
    ]


def test_the_draw_is_set_by_its_seed(trained, tmp_path):
    held = [run(UnTracInv, plain(trained, tmp_path / str(i), i % 2))[0] for i in range(3)]
    assert held[0] == held[2] != held[1]
