"""The embedded natural text: complete, disjoint where it must be, small enough for a wheel."""

from itertools import chain
from pathlib import Path

import pytest

from untrac_exp.data.sources import natural

WORLDS = ("natural", "tuning")


def _texts(world: str) -> tuple[dict[str, list[str]], dict[tuple[str, str], list[str]]]:
    corpora = {
        corpus.name: [row.target for row in corpus.rows] for corpus in natural.corpora(world)
    }
    names = [*(testset.name for testset in natural.testsets(world)), natural.HELD_OUT]
    tests = {
        (testset.name, subset): [row.target for row in rows]
        for testset in natural.testsets(world, names)
        for subset, rows in testset.subsets.items()
    }
    return corpora, tests


@pytest.mark.parametrize("world", WORLDS)
def test_no_test_text_occurs_in_a_corpus(world):
    corpora, tests = _texts(world)
    everything = "\n".join(chain.from_iterable(corpora.values()))
    for texts in tests.values():
        assert not [text for text in texts if len(text) > 40 and text in everything]


def test_the_worlds_share_no_text():
    (a, tests_a), (b, tests_b) = map(_texts, WORLDS)
    assert not set(a) & set(b)
    assert not set(chain(*a.values(), *tests_a.values())) & set(
        chain(*b.values(), *tests_b.values())
    )


def test_every_text_has_a_source():
    folder = Path(natural.__file__).parent / "texts"
    sources = (folder / "README.md").read_text()
    for world in WORLDS:
        corpora, tests = _texts(world)
        for name in (*corpora, *(testset for testset, _ in tests)):
            assert f"| {name} |" in sources


def test_names_choose_and_order():
    assert [c.name for c in natural.corpora(names=["law", "bible"])] == ["law", "bible"]
    assert [t.name for t in natural.testsets(names=["held_out"])] == ["held_out"]
    with pytest.raises(ValueError, match=r"corpora\.names: there is no 'koran'; choose from bible"):
        natural.corpora(names=["koran"])
    with pytest.raises(ValueError, match=r"world='moon': .* natural or tuning"):
        natural.corpora("moon")
