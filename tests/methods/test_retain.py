"""What an objective holds is nothing that is read, in every case in which corpora are drawn."""

from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch

from tests.conftest import corpora, make_subject, sequences
from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import Subject, Subset
from untrac_exp.methods.common.unlearn import UnlearningMethod
from untrac_exp.methods.untrac import UnTrac
from untrac_exp.methods.untrac_inv import UnTracInv
from untrac_exp.objectives.kl import KL
from untrac_exp.stages.unlearning import Stopping

METHODS = pytest.mark.parametrize("kind", [UnTrac, UnTracInv])


def tokens(data):
    """Rows of tokens, and of labels for a seq2seq model."""
    ids = [tuple(row[:n]) for row, n in zip(data.input_ids.tolist(), data.lengths, strict=True)]
    if not data.seq2seq:
        return ids
    return [
        (i, tuple(x for x in y if x >= 0)) for i, y in zip(ids, data.labels.tolist(), strict=True)
    ]


def run(kind, subject, monkeypatch):
    """Rows read before and during all unlearning runs, rows of each corpus held, the answer.

    No run holds what it reads, or what is read before.
    """
    held, read, now = {}, [], {}
    losses, run_part = Subject.example_losses, UnlearningMethod._part

    def spy(self, data):
        read.append(tokens(data))
        return losses(self, data)

    def spied_part(*args):
        part = run_part(*args)

        def compute():
            now.clear()
            before = len(read)
            seen = part.compute()
            rows = {row for rows in now.values() for row in rows}
            assert rows
            assert not rows & {row for one in [read[0], *read[before:]] for row in one}
            held.update(now)
            return seen

        return part._replace(compute=compute)

    @dataclass(frozen=True)
    class Spying(KL):
        def prepare(self, inputs):
            now.update({name: tokens(data) for name, data in inputs.retain_set.items()})
            return super().prepare(inputs)

    monkeypatch.setattr(Subject, "example_losses", spy)
    monkeypatch.setattr(UnlearningMethod, "_part", spied_part)
    method = kind(
        partial(torch.optim.SGD, lr=1e-3), Spying(weight=1.0, examples=4),
        Stopping(steps=1, evaluations=1), 4,
    )  # fmt: skip
    answer = method.influences(subject)
    monkeypatch.undo()
    return {row for rows in read for row in rows}, held, answer


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
def test_what_is_held_is_not_read(kind, trained, tmp_path, monkeypatch):
    subject = plain(trained, tmp_path)
    read, by_corpus, answer = run(kind, subject, monkeypatch)
    assert by_corpus.keys() == subject.corpora.keys()
    assert all(len(rows) >= 4 for rows in by_corpus.values())
    if kind is UnTracInv:
        assert all(row in read for data in subject.corpora.values() for row in tokens(data))
    assert not [line for line in answer.warnings if "retain set" in line or "too few" in line]


@METHODS
def test_samples_that_are_the_corpora(kind, trained, tmp_path, monkeypatch):
    """Nothing is left of what is evaluated; a test subset is a copy of one corpus."""
    subject = make_subject(trained[0], tmp_path / "store")
    if kind is UnTracInv:
        with pytest.raises(ValueError, match="needs a retain set"):
            run(kind, subject, monkeypatch)
        return
    _, by_corpus, answer = run(kind, subject, monkeypatch)
    assert {name: len(set(rows)) for name, rows in by_corpus.items()} == {"ones": 8, "fives": 8}
    assert answer.warnings == [
        "the retain set has no sequence of 'threes': all are evaluated, or copies of evaluated ones"
    ]


def test_the_draw_is_set_by_its_seed(trained, tmp_path, monkeypatch):
    def rows(seed, folder):
        subject = plain(trained, tmp_path / folder, seed)
        return run(UnTracInv, subject, monkeypatch)[1]

    assert rows(0, "a") == rows(0, "b") != rows(1, "c")


# ---------------------------------------------------------------------- as a job makes its subject
