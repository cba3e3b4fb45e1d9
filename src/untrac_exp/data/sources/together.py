"""Combine several test sets of a configuration into one list."""

from collections.abc import Sequence

from untrac_exp.data.base import TestSet


def testsets(**parts: Sequence[TestSet]) -> list[TestSet]:
    """Return the test sets of all parts in order."""
    return [testset for part in parts.values() for testset in part]
