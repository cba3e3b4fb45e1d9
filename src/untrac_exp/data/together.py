"""Several test sets at once: what the configuration nests by name is put in one list."""

from collections.abc import Sequence

from untrac_exp.data.base import TestSet


def testsets(**parts: Sequence[TestSet]) -> list[TestSet]:
    """The test sets of all parts, one after another."""
    return [testset for part in parts.values() for testset in part]
