"""Seeded samples that are the same on every machine and under every version of Python."""

import logging
from collections.abc import Sequence
from random import Random
from typing import TypeVar

log = logging.getLogger(__name__)

_T = TypeVar("_T")


def sample(items: Sequence[_T], n: int, seed: int, name: str) -> list[_T]:
    """`n` of `items`, drawn without replacement, in the order drawn; all of them if fewer.

    name: of what is sampled, so that two subsets are not drawn by the same numbers.
    """
    if len(items) < n:
        log.warning("%s: only %d of the %d texts asked for", name, len(items), n)
    random = Random(f"{name}/{seed}").random  # of all its numbers, Python guarantees these
    order = sorted((random(), i) for i in range(len(items)))
    return [items[i] for _, i in order[:n]]
