"""Worlds: draws of 8 of 32 English corpora and 4 of 16 out-of-domain test sets, embedded.

A world is a number. Four worlds share out the 32 corpora, so that a corpus is in 1 of the 4
development worlds and in 2 of the 8 sealed ones. A test set whose source is a source of one of the
world's corpora is not drawn for it; the others are drawn about equally often.
``experiments/worlds/build.py`` made the texts.
"""

from collections.abc import Sequence
from random import Random

from untrac_exp.data.base import Corpus, TestSet
from untrac_exp.data.sources.embedded import chosen, read

DEVELOPMENT = range(4)
"""Worlds to choose methods and settings on."""
SEALED = range(4, 12)
"""Worlds to compare the chosen methods on, once."""
N_CORPORA, N_TESTSETS = 8, 4
"""Corpora and test sets of a world."""


def corpora(world: int) -> list[Corpus]:
    """Return the corpora of a world."""
    rows = read("worlds").corpora
    return [Corpus(name, rows[name]) for name in _corpora(world)]


def testsets(world: int, names: Sequence[str] | None = None) -> list[TestSet]:
    """Return the test sets of a world. names: test sets to return, in this order; None for all."""
    texts = read("worlds")
    times = dict.fromkeys(sorted(texts.testsets), 0)
    for number in range(world + 1):
        sources = {texts.sources[name] for name in _corpora(number)}
        fitting = [name for name in times if texts.sources[name] not in sources]
        Random(f"testsets of world {number}").shuffle(fitting)
        drawn = sorted(fitting, key=times.__getitem__)[:N_TESTSETS]
        times |= {name: times[name] + 1 for name in drawn}
    return [
        TestSet(name, texts.testsets[name])
        for name in chosen("testset.names", names, sorted(drawn))
    ]


def _corpora(world: int) -> list[str]:
    """Cut the shuffled corpora into worlds; shuffle again when they are used up."""
    names = sorted(read("worlds").corpora)
    if world not in (*DEVELOPMENT, *SEALED):
        raise ValueError(f"corpora.world is {world}; there are worlds 0 to {SEALED[-1]}")
    shuffle, place = divmod(world, len(names) // N_CORPORA)
    Random(f"corpora of worlds {shuffle}").shuffle(names)
    return sorted(names[place * N_CORPORA :][:N_CORPORA])
