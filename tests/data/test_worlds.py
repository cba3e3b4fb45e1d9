"""The embedded texts: complete, disjoint where they must be, worlds drawn the same everywhere."""

import hashlib
from itertools import chain
from pathlib import Path

import pytest

from tests.test_config import composed
from untrac_exp.data.sources import natural, worlds
from untrac_exp.data.sources.embedded import TEXTS, read

NUMBERS = [*worlds.DEVELOPMENT, *worlds.SEALED]
DRAWS = "a296c15ee87788fa"


def drawn(number):
    return (
        [corpus.name for corpus in worlds.corpora(number)],
        [testset.name for testset in worlds.testsets(number)],
    )


@pytest.mark.parametrize("other", natural.WORLDS)
def test_no_text_is_in_natural_or_tuning(other):
    ours, theirs = read("worlds"), read(other)
    all_of = [
        {row.target for row in chain(*texts.corpora.values())}
        | {row.target for s in texts.testsets.values() for row in chain(*s.values())}
        for texts in (ours, theirs)
    ]
    assert not all_of[0] & all_of[1]


def test_every_text_has_a_source_and_a_licence():
    lines = (TEXTS / "README.md").read_text().split("## worlds", 1)[1].splitlines()
    listed = {cells[1].strip(): cells[2:] for line in lines if len(cells := line.split("|")) > 6}
    texts = read("worlds")
    for name in (*texts.corpora, *texts.testsets):
        assert all(cell.strip() for cell in listed[name][:5])
    for name, rows in texts.corpora.items():
        assert f" {sum(len(row.target) for row in rows):,} " in "|".join(listed[name])


def test_the_draws_are_those_of_the_protocol():
    found = repr([drawn(number) for number in NUMBERS])
    assert hashlib.sha256(found.encode()).hexdigest()[:16] == DRAWS


def test_one_key_chooses_the_world():
    cfg = composed("corpora=worlds", "testset=worlds", "corpora.world=5")
    assert cfg.testset.world == 5


def test_names_choose_the_test_sets_of_a_world():
    names = [testset.name for testset in worlds.testsets(4)]
    assert [testset.name for testset in worlds.testsets(4, names[:0:-1])] == names[:0:-1]
    with pytest.raises(ValueError, match=r"testset\.names: there is no 'moon'; choose from claims"):
        worlds.testsets(4, ["moon"])


def test_wrong_worlds_are_refused():
    with pytest.raises(ValueError, match=r"corpora\.world is 12; there are worlds 0 to 11"):
        worlds.corpora(12)
    with pytest.raises(ValueError, match="use natural or tuning"):
        natural.corpora("worlds")


def test_the_readme_has_the_hash_of_the_texts():
    found = hashlib.sha256((TEXTS / "worlds.jsonl.xz").read_bytes()).hexdigest()
    assert found in Path("experiments/worlds/README.md").read_text()


# ------- The embedded natural text: complete, disjoint where it must be, small enough for a wheel
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
