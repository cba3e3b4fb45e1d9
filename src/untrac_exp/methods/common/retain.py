"""The retain set of an objective.

An objective preserves the loss on the retain set, so evaluating the same sequences would
underestimate the influence. The retain set excludes evaluated sequences and copies of them.
"""

from collections.abc import Mapping

import torch

from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import Subject


def retain_of_forgotten(subject: Subject) -> tuple[Mapping[str, Encoded], list[str]]:
    """Return the retain set by corpus for unlearning corpora, and warnings: their samples.

    Copies of test texts and of other corpora's sequences are removed.
    """
    return _unread(subject, subject.corpora, own=False)


def retain_of_read(subject: Subject) -> tuple[Mapping[str, Encoded], list[str]]:
    """Return the retain set by corpus for evaluating corpora, and warnings.

    It is sequences outside their samples, up to as many, without copies of test texts and of
    sequences in samples.
    """
    outside = {
        name: subject.trained_on.get(name, sample).outside_sample(len(sample), subject.seed)
        for name, sample in subject.corpora.items()
    }
    there = {name: data for name, data in outside.items() if data is not None}
    return _unread(subject, there, own=True)


def rows(data: Encoded) -> list[bytes]:
    """Return the tokens of each sequence without padding, of seq2seq data input and target."""
    sequences = []
    for i, length in enumerate(data.lengths.tolist()):
        row = data.input_ids[i, :length].numpy().tobytes()
        if data.seq2seq:
            labels = data.labels[i]
            row += b"/" + labels[labels >= 0].numpy().tobytes()
        sequences.append(row)
    return sequences


def _unread(
    subject: Subject, retain: Mapping[str, Encoded], own: bool
) -> tuple[dict[str, Encoded], list[str]]:
    """Remove copies of test texts and of samples; return what is left by corpus, and warnings.

    own: also remove copies of the same corpus' sample.
    """
    tests = {row for data in subject.subsets.values() for row in rows(data)}
    samples = {name: set(rows(data)) for name, data in subject.corpora.items()}
    kept: dict[str, Encoded] = {}
    for name, data in retain.items():
        banned = tests.union(*(other for key, other in samples.items() if own or key != name))
        left = [i for i, row in enumerate(rows(data)) if row not in banned]
        if left:
            kept[name] = data.select(torch.tensor(left))
    missing = [f"'{name}'" for name in subject.corpora if name not in kept]
    if not missing:
        return kept, []
    return kept, [
        f"the retain set has no sequence of {', '.join(missing)}: all are evaluated, or "
        "copies of evaluated ones"
    ]
