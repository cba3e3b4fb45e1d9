"""Worlds: draws of 8 of 32 English corpora and 4 of 16 out-of-domain test sets, embedded.

A world is a number. Four worlds share out the 32 corpora, so that a corpus is in 1 of the 4
development worlds and in 2 of the 8 sealed ones. A test set whose source is a source of one of the
world's corpora is not times for it; the others are times about equally often.
``experiments/worlds/build.py`` made the texts.
"""

from random import Random

from untrac_exp.data.base import Corpus, TestSet
from untrac_exp.data.sources.embedded import read

DEVELOPMENT = range(4)
"""Worlds to choose methods and settings on."""
SEALED = range(4, 12)
"""Worlds to compare the chosen methods on, once."""


def corpora(world: int, n: int = 8) -> list[Corpus]:
    """Return the corpora of a world. n: number of corpora."""
    rows = read("worlds").corpora
    return [Corpus(name, rows[name]) for name in _corpora(world, n)]


def testsets(world: int, n: int = 4, n_corpora: int = 8) -> list[TestSet]:
    """Return the test sets of a world. n_corpora: its number of corpora."""
    texts = read("worlds")
    times = dict.fromkeys(sorted(texts.testsets), 0)
    for number in range(world + 1):
        sources = {texts.sources[name] for name in _corpora(number, n_corpora)}
        names = [name for name in times if texts.sources[name] not in sources]
        if n > len(names):
            raise ValueError(f"testset.n is {n}; world {world} has {len(names)} test sets")
        Random(f"testsets of world {number}").shuffle(names)
        names = sorted(names, key=times.__getitem__)[:n]
        times |= {name: times[name] + 1 for name in names}
    return [TestSet(name, texts.testsets[name]) for name in sorted(names)]


def _corpora(world: int, n: int) -> list[str]:
    """Cut the shuffled corpora into worlds of n; shuffle again when they are used up."""
    names = sorted(read("worlds").corpora)
    if world not in (*DEVELOPMENT, *SEALED):
        raise ValueError(f"corpora.world is {world}; there are worlds 0 to {SEALED[-1]}")
    if not 0 < n <= len(names):
        raise ValueError(f"corpora.n is {n}; choose 1 to {len(names)} corpora")
    shuffle, place = divmod(world, len(names) // n)
    Random(f"corpora of worlds {shuffle}").shuffle(names)
    return sorted(names[place * n : (place + 1) * n])
