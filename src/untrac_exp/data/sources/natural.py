"""Natural English text, embedded: corpora of different kinds, and test sets unlike all of them.

There are two worlds that share no text. ``natural`` is the one that methods are reported on,
``tuning`` the one that their settings are chosen on. Each has corpora of at most 400,000
characters, test sets of 256 short texts from other sources than any corpus (toxic sentences, false
statements, stereotypes), and the test set ``held_out`` with 48 texts of every corpus, which the
corpora do not contain. ``experiments/natural/build.py`` made them.
"""

from collections.abc import Sequence

from untrac_exp.data.base import Corpus, TestSet
from untrac_exp.data.sources.embedded import Texts, chosen, read

WORLDS = ("natural", "tuning")
HELD_OUT = "held_out"


def corpora(world: str = "natural", names: Sequence[str] | None = None) -> list[Corpus]:
    """Return the corpora of a world. names: corpora to return, in this order; None for all."""
    rows = _texts(world).corpora
    return [Corpus(name, rows[name]) for name in chosen("corpora.names", names, rows)]


def testsets(world: str = "natural", names: Sequence[str] | None = None) -> list[TestSet]:
    """Return the test sets of a world. names: test sets; None for all except ``held_out``."""
    subsets = _texts(world).testsets
    if names is None:
        names = [name for name in subsets if name != HELD_OUT]
    return [TestSet(name, subsets[name]) for name in chosen("testset.names", names, subsets)]


def _texts(world: str) -> Texts:
    if world not in WORLDS:
        raise ValueError(f"world='{world}': there is no such text; use {' or '.join(WORLDS)}")
    return read(world)
