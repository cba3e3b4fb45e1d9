"""The retain set: what an objective holds on to, apart from all that the method reads.

A sequence that is held keeps its loss, and reading that loss would understate the influence. So no
sequence that is read is in the retain set, nor is a copy of one.
"""

from collections.abc import Container, Mapping
from typing import NamedTuple

import torch

from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import Subject


class Apart(NamedTuple):
    """Corpora in two: read, whose losses are read, and retain, which an objective may hold.

    Of the corpora in retain every one has a sequence at least. warnings: a sentence each.
    """

    read: Mapping[str, Encoded]
    retain: Mapping[str, Encoded]
    warnings: list[str]


def retain_of_forgotten(subject: Subject, examples: int) -> Apart:
    """Where corpora are unlearned and test subsets read: their samples are held, nothing is shrunk.

    examples: sequences an objective wants of each corpus; with 0 the retain set is empty.
    """
    if not examples:
        return Apart(subject.corpora, {}, [])
    return Apart(subject.corpora, *_unread(subject, subject.corpora, subject.corpora, own=False))


def retain_of_read(subject: Subject, examples: int) -> Apart:
    """Where the corpora themselves are read: sequences beyond their samples are held.

    Of a corpus that has fewer than `examples` of these, `examples` sequences are held, at most half
    of all, and of the rest at most as many are read as the sample has.
    """
    if not examples:
        return Apart(subject.corpora, {}, [])
    further = subject.further()
    read: dict[str, Encoded] = {}
    retain: dict[str, Encoded] = {}
    shrunk = []
    for name, sample in subject.corpora.items():
        rest = without(further.get(name), set(rows(sample)))
        if rest is not None and len(rest) >= examples:
            read[name], retain[name] = sample, rest
            continue
        read[name], held = _halves(sample, rest, examples, subject.seed)
        if held is not None:
            retain[name] = held
        if len(read[name]) < len(sample):
            shrunk.append(f"'{name}' ({len(read[name])} instead of {len(sample)})")
    warnings = []
    if shrunk:
        warnings.append(
            f"too few sequences to hold {examples} that are not read: fewer are read of "
            f"{', '.join(shrunk)}; add text, or lower objective.examples"
        )
    kept, nothing = _unread(subject, read, retain, own=True)
    return Apart(read, kept, warnings + nothing)


def rows(data: Encoded) -> list[bytes]:
    """Of each sequence its tokens without padding; of a seq2seq model both sides."""
    found = []
    for i, length in enumerate(data.lengths.tolist()):
        row = data.input_ids[i, :length].numpy().tobytes()
        if data.seq2seq:
            labels = data.labels[i]
            row += b"/" + labels[labels >= 0].numpy().tobytes()
        found.append(row)
    return found


def without(data: Encoded | None, banned: Container[bytes]) -> Encoded | None:
    """The sequences whose rows are not among `banned`; None if none is left."""
    if data is None:
        return None
    kept = [i for i, row in enumerate(rows(data)) if row not in banned]
    if len(kept) == len(data):
        return data
    return data.select(torch.tensor(kept)) if kept else None


def _halves(
    sample: Encoded, rest: Encoded | None, examples: int, seed: int
) -> tuple[Encoded, Encoded | None]:
    """Of all sequences as many to read as `sample` has, but for those to hold; equal ones together.

    To hold are `examples` sequences, or half of them if that is fewer.
    """
    whole = sample if rest is None else Encoded.concatenate([sample, rest])
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(seed))
    n = min(len(sample), len(whole) - min(examples, len(whole) // 2))
    read = whole.select(order[:n])
    held = whole.select(order[n:]) if n < len(whole) else None
    return read, without(held, set(rows(read)))


def _unread(
    subject: Subject, corpora: Mapping[str, Encoded], retain: Mapping[str, Encoded], own: bool
) -> tuple[dict[str, Encoded], list[str]]:
    """The retain set without copies of test texts and of other corpora's sequences, and warnings.

    corpora: their sequences that are unlearned or read; own: whether copies of a corpus' own ones
    are left out too.
    """
    tests = {row for data in subject.subsets.values() for row in rows(data)}
    found = {name: set(rows(data)) for name, data in corpora.items()}
    kept: dict[str, Encoded] = {}
    for name, data in retain.items():
        banned = tests.union(*(other for key, other in found.items() if own or key != name))
        if (left := without(data, banned)) is not None:
            kept[name] = left
    missing = [f"'{name}'" for name in corpora if name not in kept]
    if not missing:
        return kept, []
    return kept, [
        f"the retain set has nothing of {', '.join(missing)}: every sequence is read itself, or "
        "its copy is"
    ]
