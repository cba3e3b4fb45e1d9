"""Split corpora into evaluated sequences and the retain set of an objective.

An objective preserves the loss on the retain set, so evaluating the same sequences would
underestimate the influence. The retain set excludes evaluated sequences and copies of them.
"""

from collections.abc import Container, Mapping
from typing import NamedTuple

import torch

from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import Subject


class RetainSplit(NamedTuple):
    """Disjoint sequences by corpus.

    Attributes:
        read: sequences that are unlearned or evaluated.
        retain: the retain set; no corpus in it is empty.
        warnings: one sentence each.
    """

    read: Mapping[str, Encoded]
    retain: Mapping[str, Encoded]
    warnings: list[str]


def retain_of_forgotten(subject: Subject, examples: int) -> RetainSplit:
    """Return the split for unlearning corpora: the retain set is the corpora's samples.

    examples: retain-set sequences per corpus that the objective needs; 0 for no retain set.
    """
    if not examples:
        return RetainSplit(subject.corpora, {}, [])
    return RetainSplit(
        subject.corpora, *_unread(subject, subject.corpora, subject.corpora, own=False)
    )


def retain_of_read(subject: Subject, examples: int) -> RetainSplit:
    """Return the split for evaluating corpora: the retain set is sequences outside their samples.

    If a corpus has fewer than `examples` of these, `examples` of all its sequences are retained, at
    most half, and its evaluated sample is drawn from the rest and can become smaller.
    """
    if not examples:
        return RetainSplit(subject.corpora, {}, [])
    read: dict[str, Encoded] = {}
    retain: dict[str, Encoded] = {}
    shrunk = []
    for name, sample in subject.corpora.items():
        everything = subject.trained_on.get(name, sample)
        outside = everything.outside_sample(len(sample), subject.seed)
        rest = without(outside, set(rows(sample)))
        if rest is not None and len(rest) >= examples:
            read[name], retain[name] = sample, rest
            continue
        read[name], retained = _halves(sample, rest, examples, subject.seed)
        if retained is not None:
            retain[name] = retained
        if len(read[name]) < len(sample):
            shrunk.append(f"'{name}' ({len(read[name])} instead of {len(sample)})")
    warnings = []
    if shrunk:
        warnings.append(
            f"too few sequences for a retain set of {examples}: fewer are evaluated of "
            f"{', '.join(shrunk)}; add text, or lower objective.examples"
        )
    kept, nothing = _unread(subject, read, retain, own=True)
    return RetainSplit(read, kept, warnings + nothing)


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


def without(data: Encoded | None, banned: Container[bytes]) -> Encoded | None:
    """Remove the sequences whose rows are in `banned`; return None if none is left."""
    if data is None:
        return None
    kept = [i for i, row in enumerate(rows(data)) if row not in banned]
    if len(kept) == len(data):
        return data
    return data.select(torch.tensor(kept)) if kept else None


def _halves(
    sample: Encoded, rest: Encoded | None, examples: int, seed: int
) -> tuple[Encoded, Encoded | None]:
    """Split all sequences of a corpus at random into evaluated and retained ones.

    `examples` sequences are retained, at most half, and at most as many evaluated as `sample` has.
    Copies of evaluated sequences are not retained.
    """
    whole = sample if rest is None else Encoded.concatenate([sample, rest])
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(seed))
    n = min(len(sample), len(whole) - min(examples, len(whole) // 2))
    read = whole.select(order[:n])
    retained = whole.select(order[n:]) if n < len(whole) else None
    return read, without(retained, set(rows(read)))


def _unread(
    subject: Subject, corpora: Mapping[str, Encoded], retain: Mapping[str, Encoded], own: bool
) -> tuple[dict[str, Encoded], list[str]]:
    """Remove copies of test texts and of other corpora's sequences; return what is left, warnings.

    corpora: sequences that are unlearned or evaluated. own: also remove copies of the same corpus'
    sequences.
    """
    tests = {row for data in subject.subsets.values() for row in rows(data)}
    sequences = {name: set(rows(data)) for name, data in corpora.items()}
    kept: dict[str, Encoded] = {}
    for name, data in retain.items():
        banned = tests.union(*(other for key, other in sequences.items() if own or key != name))
        if (left := without(data, banned)) is not None:
            kept[name] = left
    missing = [f"'{name}'" for name in corpora if name not in kept]
    if not missing:
        return kept, []
    return kept, [
        f"the retain set has no sequence of {', '.join(missing)}: all are evaluated, or "
        "copies of evaluated ones"
    ]
