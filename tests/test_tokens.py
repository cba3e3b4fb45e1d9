"""Influences on tokens: they sum to the influence, and find a phrase that one corpus alone has."""

import dataclasses
import random
from functools import partial

import numpy as np
import pytest
import torch

from tests.command import JOB, command, overrides
from tests.conftest import make_subject, t5
from untrac_exp.data.encoding import pad
from untrac_exp.methods.base import Change, Subset
from untrac_exp.methods.finetune import FineTune
from untrac_exp.methods.ngram import NGram
from untrac_exp.methods.untrac import UnTrac
from untrac_exp.models.loss import Averaging, Losses, example_losses
from untrac_exp.objectives.ascent import Ascent
from untrac_exp.report.result_files import read_table
from untrac_exp.stages.unlearning import Stopping
from untrac_exp.statistics.tokens import TOKENS, _pieces, token_influences

ADAM = partial(torch.optim.Adam, lr=1e-2)
METHODS = {
    "untrac": UnTrac(ADAM, Ascent(), Stopping(steps=4, epochs=None), 2),
    "finetune": FineTune(ADAM, 4, 1.0),
    "ngram": NGram(2),
}


def spelled(ids):
    return "".join(f"<{i}>" for i in ids)


@pytest.mark.parametrize("loss", [Averaging(), Averaging(evaluation=3)])
@pytest.mark.parametrize("name", METHODS)
def test_they_sum_to_the_influence(fresh_subject, name, loss):
    plain, subject = fresh_subject(), fresh_subject(by_token=True)
    for each in (plain, subject):
        each.trainer = dataclasses.replace(each.trainer, loss=loss)
    influences = METHODS[name].influences(subject)
    without = METHODS[name].influences(plain)
    assert np.allclose(influences.scores["influence"], without.scores["influence"], atol=1e-12)
    assert token_influences(without, {}, spelled, 999).empty
    table = token_influences(influences, {}, spelled, 999)
    sums = table.groupby(["corpus", "testset", "subset"])["influence"].sum()
    weights = {of.subset: int(of.before.tokens.sum()) for of in influences.changes}
    for row in influences.scores.itertuples():
        total = sums[row.corpus, row.testset, row.subset] / weights[row.testset, row.subset]
        assert total == pytest.approx(row.influence, abs=1e-5)
    texts = table.groupby(["corpus", "testset", "subset", "index"])
    change = {(of.corpus, *of.subset): of for of in influences.changes}
    for (corpus, testset, subset, index), rows in texts:
        of, data = change[corpus, testset, subset], subject.subsets[testset, subset]
        expected = of.nats[index]
        assert rows["influence"].sum() == pytest.approx(float(expected), abs=1e-5)
        labels = data.labels[index]
        assert "".join(rows["token"]) == spelled(labels[labels != -100].tolist())
        assert list(rows["position"]) == list(range(len(rows)))


def test_of_an_encoder_decoder_they_are_those_of_the_target(tmp_path):
    subject = make_subject(t5(torch.float64), tmp_path, seq2seq=True, by_token=True)
    table = token_influences(METHODS["finetune"].influences(subject), {}, spelled, 999)
    assert table["influence"].notna().all()


def test_a_loss_of_a_token_is_that_of_its_own_label(trained, fresh_subject):
    """Of texts of several lengths, in batches of several sizes."""
    subject = fresh_subject()
    for data in subject.subsets.values():
        for max_tokens in (1, 20, 999):
            losses = example_losses(subject.model, data, max_tokens, by_token=True)
            by_hand = []
            for ids, labels, n in zip(data.input_ids, data.labels, data.lengths, strict=True):
                logits = subject.model(input_ids=ids[None, :n].long()).logits[0]
                nll = -logits.log_softmax(-1)
                by_hand += [
                    float(nll[t - 1, labels[t]]) for t in range(1, int(n)) if labels[t] != -100
                ]
            assert losses.token_nll.tolist() == pytest.approx(by_hand, abs=1e-9)


def test_only_the_texts_that_moved_most_are_kept(fresh_subject):
    influences = METHODS["finetune"].influences(fresh_subject(by_token=True))
    table = token_influences(influences, {}, spelled, 2)
    texts = table.groupby(["testset", "corpus"])[["subset", "index"]]
    assert (texts.apply(lambda rows: len(rows.drop_duplicates())) == 2).all()
    for (testset, corpus), rows in table.groupby(["testset", "corpus"]):
        changes = [
            abs(of.per_token)
            for of in influences.changes
            if (of.subset.testset, of.corpus) == (testset, corpus)
        ]
        expected = sorted(np.concatenate(changes))[::-1][:2]
        assert list(rows["change"].abs().unique()) == pytest.approx(expected)
    index = {of.of: torch.arange(100, 200) for of in influences.changes}
    assert (token_influences(influences, index, spelled, 2)["index"] >= 100).all()


def test_a_token_within_a_character_has_the_text_of_none():
    """As byte-level tokens do: the decoder shows a mark for half a character."""
    raw = "aé b".encode()
    decode = lambda ids: bytes(ids).decode(errors="replace")  # noqa: E731
    data = pad([list(raw)], [list(raw)], False)
    before, after = (
        Losses(torch.zeros(1), data.scored, nll)
        for nll in (torch.zeros(len(raw) - 1), torch.arange(1.0, len(raw)))
    )
    change = Change("c", Subset("t", "s"), Subset("t", "s"), before, after)
    pieces = _pieces(change, data, 0, decode)
    assert [text for text, _ in pieces] == ["a", "", "é", " ", "b"]
    assert np.isnan(pieces[0][1])
    assert [value for _, value in pieces[1:]] == [1, 2, 3, 4]


SYLLABLES = "ba de fi go ku la me ni po ru sa te vi wo zu".split()


def planted(folder, n=10):
    """Corpora of the same words in any order; each alone has a phrase, as has one test text."""
    rng = random.Random(0)
    words = ["".join(rng.sample(SYLLABLES, 2)) for _ in range(40)]
    phrases = [
        " ".join("x" + "".join(rng.sample(SYLLABLES, 2)) for _ in range(3)) for _ in range(n)
    ]

    def filler(k):
        return " ".join(rng.choice(words) for _ in range(k))

    paths = []
    for i, phrase in enumerate(phrases):
        texts = [f"{filler(4)} {phrase} {filler(4)}" for _ in range(40)]
        (folder / f"c{i}.txt").write_text("\n\n".join(texts))
        paths.append(f"c{i}: c{i}.txt")
    tests = [f"{filler(4)} {phrase} {filler(4)}" for phrase in phrases]
    (folder / "t.txt").write_text("\n".join(tests))
    return phrases, tests, f"{{{', '.join(paths)}}}"


@pytest.mark.slow
def test_a_planted_phrase_has_the_top_tokens(tmp_path):
    phrases, tests, paths = planted(tmp_path)
    job = JOB | {
        "corpora.paths": paths, "testset.paths": "{t: t.txt}", "tokens": "10", "n_per_corpus": "16",
        "model.block_size": "64", "model.vocab_size": "600", "pretraining.steps": "300",
        "pretraining.batch_size": "16", "pretraining.checkpoint_every": "300",
        "hydra.mode": "MULTIRUN", "method": "ngram,finetune,untrac", "threads": "2",
    }  # fmt: skip
    ended = command(overrides(job), tmp_path)
    assert ended.status == 0, ended.err
    files = {path.parents[1].name: path for path in tmp_path.rglob("tokens.csv")}
    for method, path in files.items():
        table = read_table(path, TOKENS)
        found = 0
        for i, (phrase, test) in enumerate(zip(phrases, tests, strict=True)):
            rows = table[(table["corpus"] == f"c{i}") & (table["index"] == i)]
            assert "".join(rows["token"]).strip() == test
            ends = rows["token"].str.len().cumsum()
            middles = ends - rows["token"].str.len() / 2
            start = test.index(phrase)
            inside = middles.between(start, start + len(phrase) + 1)
            top = rows["influence"].nlargest(3).index
            found += bool(inside[top].all())
        assert found >= 9, (method, found)
