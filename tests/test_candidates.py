"""Candidates: read as a corpus is, without a change to the corpora, and searched in their texts."""

import json
from functools import partial

import numpy as np
import pytest
import torch

from tests.command import JOB, ends_well
from untrac_exp.methods.base import Candidate
from untrac_exp.methods.common.candidates import candidate_influences
from untrac_exp.methods.finetune import FineTune
from untrac_exp.methods.gradcos import GradCos
from untrac_exp.methods.graddot import GradDot
from untrac_exp.methods.ngram import NGram
from untrac_exp.methods.untrac import UnTrac
from untrac_exp.methods.untrac_inv import UnTracInv
from untrac_exp.objectives.ascent import Ascent
from untrac_exp.report.result_files import SCORES, read_table
from untrac_exp.stages.unlearning import Stopping

ADAM = partial(torch.optim.Adam, lr=1e-2)
UNLEARNING = ADAM, Ascent(), Stopping(steps=3, epochs=None), 4
SAME = {
    "untrac": UnTrac(*UNLEARNING), "untrac_inv": UnTracInv(*UNLEARNING), "graddot": GradDot(),
    "gradcos": GradCos(),
}  # fmt: skip
SMALL = FineTune(partial(torch.optim.SGD, lr=1e-6), 10**6, 1.0)
"""One step of gradient descent on everything."""
LEAVES_OUT = {"finetune": SMALL, "ngram": NGram(2)}
"""A copy is added to a corpus where the corpus itself is left out, so they are alike in sign."""


@pytest.mark.parametrize("name", [*SAME, *LEAVES_OUT])
def test_a_copy_of_a_corpus_has_its_influence(fresh_subject, name):
    method, subject = {**SAME, **LEAVES_OUT}[name], fresh_subject()
    threes = subject.corpora["threes"]
    subject.candidates = {"copy": Candidate(threes, threes)}
    found = candidate_influences(method, subject)
    scores = method.influences(subject).scores
    ours = scores[scores["corpus"] == "threes"]["influence"].to_numpy()
    assert set(found.scores["corpus"]) == {"copy"}
    assert {change.corpus for change in found.changes} <= {"copy"}
    copied = found.scores["influence"].to_numpy()
    if name in SAME:
        assert copied == pytest.approx(ours, rel=1e-6, abs=1e-12)
    else:
        clear = np.abs(ours) > 0.2 * np.abs(ours).max()
        assert (np.sign(copied) == np.sign(ours))[clear].all()
        assert np.argmax(copied) == np.argmax(ours)
    if name == "finetune":  # (threes - all) / 4, where the corpus has (threes - all) / 2
        assert copied == pytest.approx(ours / 2, rel=1e-2, abs=1e-2 * np.abs(ours).max())


def test_a_candidate_that_is_there_already_is_named(folder):
    (folder / "new.txt").write_text("nothing of this is in any of the corpora so far\n\n" * 12)
    (folder / "copy.txt").write_text((folder / "a.txt").read_text())
    ended = ends_well(folder, {**JOB, "candidates.paths": "{copy: copy.txt, new: new.txt}"})
    [job] = [path.parent for path in folder.rglob("metrics.json")]
    scores, candidates = (
        read_table(job / f"{name}.csv", SCORES) for name in ("scores", "candidates")
    )
    assert list(scores["corpus"]) == ["a", "b"]
    influence = scores.set_index("corpus")["influence"]
    added = candidates.set_index("corpus")["influence"]
    assert list(added.index) == ["copy", "new"]
    assert added["copy"] == pytest.approx(influence["a"], rel=1e-5)
    metrics = json.loads((job / "metrics.json").read_text())
    printed = ended.out.split("What would adding a candidate do to t?")[1].split("positive:")[0]
    shown = [line.split() for line in printed.splitlines() if "+" in line]
    found = {name: float(value) for name, value in shown}
    assert found == pytest.approx(added.to_dict(), rel=5e-3)
    assert metrics["candidates_already_there"] == {"copy": {"a": 1.0}, "new": {}}
    [warning] = [text for text in metrics["warnings"] if "candidate" in text]
    assert "'copy': 100% of its texts can be read in the sample of corpus 'a'" in warning
