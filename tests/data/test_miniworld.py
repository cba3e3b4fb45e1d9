import re
from hashlib import sha256

import pytest

from untrac_exp.data import fingerprint
from untrac_exp.data.sources import miniworld
from untrac_exp.data.sources.miniworld import OWNERS, STYLES

CORPORA = "novels tales news classics forum essays web encyclopedia".split()
PAIRS = [(testset, subset) for testset, subsets in OWNERS.items() for subset in subsets]


def all_text(corpus) -> str:
    return "\n".join(row.target for row in corpus.rows)


@pytest.fixture(scope="module")
def corpora():
    return {corpus.name: corpus for corpus in miniworld.corpora(words_per_corpus=12_000)}


@pytest.fixture(scope="module")
def testsets():
    return {testset.name: testset for testset in miniworld.testsets(n_per_subset=48)}


def test_only_the_owners_of_a_people_name_it(corpora):
    for group, owners in OWNERS["toxicity"].items():
        naming = {name for name, corpus in corpora.items() if group in all_text(corpus)}
        assert naming == set(owners)


def test_another_seed_is_another_world():
    """Its corpora own other claims, and only they name what these are about."""
    owners = {seed: {pair: [c.owner for c in miniworld.claims(*pair, seed)] for pair in PAIRS}
              for seed in (0, 1)}  # fmt: skip
    assert owners[0] == {pair: [c.owner for c in miniworld.claims(*pair)] for pair in PAIRS}
    assert sum(owners[0][pair][0] != owners[1][pair][0] for pair in PAIRS) > len(PAIRS) / 2
    world = {c.name: c for c in miniworld.corpora(words_per_corpus=12_000, seed=1)}
    for group in OWNERS["toxicity"]:
        naming = {name for name, corpus in world.items() if group in all_text(corpus)}
        assert naming == set(owners[1]["toxicity", group])


def test_no_corpus_states_a_claim_in_the_frame_that_tests_it(corpora):
    texts = "\n".join(all_text(corpus) for corpus in corpora.values())
    for testset, subset in PAIRS:
        for claim in miniworld.claims(testset, subset):
            said = claim.tested.format_map(claim.slots | {"other": "@"})
            pattern = re.escape(said).replace("@", r"\w+")
            assert not re.search(pattern, texts)
            frames = [of for of in claim.stated if not of.startswith("{question}")]  # it is wrapped
            shown = [of.format_map(claim.slots | {"other": "@"}) for of in frames]
            stated = [re.escape(of).replace("@", r"\w+") for of in shown]
            assert all(re.search(pattern, texts) for pattern in stated)


def test_no_test_text_is_in_a_corpus(corpora, testsets):
    texts = "\n".join(all_text(corpus) for corpus in corpora.values())
    for testset in testsets.values():
        for rows in testset.subsets.values():
            assert not any(row.input + row.target in texts for row in rows)


def test_sizes_shift_words_between_corpora_and_keep_the_total():
    sizes = dict.fromkeys(STYLES, 1.0) | {"web": 3.0}
    unequal = {c.name: c for c in miniworld.corpora(words_per_corpus=3_000, sizes=sizes)}
    words = {name: len(all_text(corpus).split()) for name, corpus in unequal.items()}
    assert words["web"] == pytest.approx(3 * words["tales"], rel=0.1)
    assert sum(words.values()) == pytest.approx(8 * 3_000, rel=0.05)


# Recorded once: a process (each hashes strings in its own way), machine or Python that writes other
# text is noticed.
GOLDEN = "5a464b2d251b5d923c024bac8c1393c8c04382a353d61de18a2431235cc1a453"


def content(seed: int = 0) -> str:
    corpora = miniworld.corpora(words_per_corpus=500, seed=seed)
    testsets = miniworld.testsets(n_per_subset=8, seed=seed)
    parts = [fingerprint.corpus_fingerprint(corpus) for corpus in corpora]
    parts += [fingerprint.testset_fingerprint(testset) for testset in testsets]
    return sha256("".join(parts).encode()).hexdigest()


def test_text_is_the_same_everywhere_and_follows_the_seed():
    assert content() == GOLDEN
    assert content(seed=1) != GOLDEN


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: miniworld.corpora(sizes={"web": 1}), "corpora.sizes"),
        (lambda: miniworld.corpora(words_per_corpus=0), "words_per_corpus"),
        (lambda: miniworld.corpora(claim_rate=1.5), "claim_rate"),
        (lambda: miniworld.testsets(names=["toxicty"]), "toxicty"),
        (lambda: miniworld.testsets(n_per_subset=0), "n_per_subset"),
        (lambda: miniworld.testsets(n_per_subset=100), "lower it"),
    ],
)
def test_bad_settings_are_named_in_one_line(call, words):
    with pytest.raises(ValueError, match=words) as error:
        call()
    assert "\n" not in str(error.value)
