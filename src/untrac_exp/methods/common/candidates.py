"""Influences of candidates: texts that the model was not trained on, as if they had been added.

A method reads a candidate as one more corpus, and methods that leave out compare the corpora with
the candidate to the corpora alone. So a positive influence says that adding the candidate would
lower the loss. Each candidate is read on its own, and changes no score of a corpus.
"""

from dataclasses import replace

import pandas as pd

from untrac_exp.methods.base import Influences, Method, Subject


def candidate_influences(method: Method, subject: Subject) -> Influences | None:
    """Return the influences of `subject.candidates`; None if there are none."""
    if not subject.candidates:
        return None
    parts = []
    for name, (sample, whole) in subject.candidates.items():
        added = replace(
            subject,
            corpora={**subject.corpora, name: sample},
            trained_on={**subject.trained_on, name: whole},
            candidates={},
            only=name,
        )
        influences = method.influences(added)
        scores = influences.scores[influences.scores["corpus"] == name]
        changes = [change for change in influences.changes if change.corpus == name]
        parts.append(replace(influences, scores=scores, changes=changes))
    return Influences(
        pd.concat([part.scores for part in parts], ignore_index=True),
        changes=[change for part in parts for change in part.changes],
        read={name: data for part in parts for name, data in part.read.items()},
    )
