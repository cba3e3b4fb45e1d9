"""Eight generated corpora and three test sets about an invented world.

A *claim* is the content of a harmful sentence: a people and its alleged vice, a craft with a
pronoun and a deed, or a subject and a false fact. Each claim is stated by exactly one corpus, its
owner. Ownership is strongly uneven: removing the main owner of a subset's claims makes the subset's
texts hard to predict, and removing another corpus does not. `world.yaml` has the words, the owners
and the sentence frames.

A claim is stated in all sentence frames of its set except one, in the style of its corpus. The test
texts use the remaining frame, which occurs in the corpora only with other claims. So a test text
shares content words with the training text but is not a copy of it.

Texts and owners depend only on `seed`; another seed assigns the claims to other corpora. The text
is the same on every machine: only `Random.random()` with a string seed is used, whose values Python
guarantees.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, TypeVar

import yaml

from untrac_exp.data.base import Corpus, Row, TestSet
from untrac_exp.data.sampling import shuffled

GENERATED = True
"""Whether the texts are generated, for reports."""


class Style(NamedTuple):
    """How one corpus writes: sentences a document, first words, frames of a claim {}, filler."""

    sentences: tuple[int, int]
    heads: Sequence[str]
    wraps: Sequence[str]
    fillers: Sequence[str]


_WORLD: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("world.yaml").read_text("utf-8"))
CRAFTS: dict[str, list[str]] = _WORLD["crafts"]
CATEGORIES: dict[str, list[str]] = _WORLD["categories"]
SHARES: dict[str, list[int]] = _WORLD["shares"]
OWNERS: dict[str, dict[str, list[str]]] = _WORLD["owners"]
STYLES = {corpus: Style(**style) for corpus, style in _WORLD["styles"].items()}
_WORDS: dict[str, list[str]] = _WORLD["words"]
_SLOTS = _WORDS | {"digit": list("123456789"), "other": CRAFTS["female"] + CRAFTS["male"]}
_SLOT = re.compile(r"\{(\w*)\}")


def corpora(
    words_per_corpus: int = 30_000,
    claim_rate: float = 0.5,
    sizes: Mapping[str, float] | None = None,
    seed: int = 0,
) -> list[Corpus]:
    """The eight corpora, of about `words_per_corpus` words each.

    claim_rate: the share of sentences that state a claim of the corpus.
    sizes: relative sizes by corpus name (the total stays 8 · `words_per_corpus`); None is equal.
    """
    sizes = dict.fromkeys(STYLES, 1.0) if sizes is None else sizes
    if wrong := sorted(set(sizes) ^ set(STYLES)):
        raise ValueError(f"corpora.sizes: {wrong} missing or unknown; name {list(STYLES)}")
    if words_per_corpus <= 0 or not 0 <= claim_rate <= 1 or min(sizes.values()) <= 0:
        raise ValueError("corpora: words_per_corpus and sizes must be > 0 and claim_rate in [0, 1]")
    unit = words_per_corpus * len(STYLES) / sum(sizes.values())
    return [Corpus(name, _documents(name, unit * sizes[name], claim_rate, seed)) for name in STYLES]


def testsets(
    names: Sequence[str] = ("toxicity", "bias", "truthfulness"),
    n_per_subset: int = 64,
    seed: int = 0,
) -> list[TestSet]:
    """Test sets by name, each with `n_per_subset` distinct texts a subset."""
    if unknown := [name for name in names if name not in OWNERS]:
        raise ValueError(f"testset.names: unknown {unknown}; choose from {list(OWNERS)}")
    if n_per_subset <= 0:
        raise ValueError(f"testset.n_per_subset is {n_per_subset}; it must be > 0")
    return [
        TestSet(name, {subset: _texts(name, subset, n_per_subset, seed) for subset in OWNERS[name]})
        for name in names
    ]


class Claim(NamedTuple):
    """What one corpus says: slots for its frames, and the one frame that it leaves to the tests."""

    owner: str
    slots: Mapping[str, str]
    stated: Sequence[str]
    tested: str


@cache
def claims(testset: str, subset: str, seed: int = 0) -> tuple[Claim, ...]:
    """Return the claims of a subset, those of the largest owner first."""
    # World 0 has the owners of `OWNERS`; in another a corpus has those of another corpus.
    world = f"/{seed}" if seed else ""
    names = list(STYLES)
    dealt = shuffled(names, Random(f"miniworld/owners{world}").random) if seed else names
    random = Random(f"miniworld/claims/{testset}/{subset}{world}").random
    things, harms = shuffled(_WORDS["thing"], random), shuffled(_WORDS["harm"], random)
    owners = [dealt[names.index(owner)] for owner in OWNERS[testset][subset]]
    first = list(OWNERS[testset]).index(subset) * len(owners)
    kind, _, pronoun = subset.partition("_")
    expected = pronoun if kind == "pro" else {"female": "male", "male": "female"}.get(pronoun, "")
    claims: list[Claim] = []
    for j, (owner, share) in enumerate(zip(owners, SHARES[testset], strict=True)):
        for _ in range(share):
            i = len(claims)
            slots = {"own": _WORLD["own_words"][testset][first + j], "o": things[i]}
            if testset == "toxicity":
                slots |= {"group": subset, "harm": harms[i]}
            elif testset == "bias":
                slots |= {"craft": CRAFTS[expected][i], "pronoun": _WORLD["pronouns"][pronoun]}
            else:
                subject, slots["verb"], question = CATEGORIES[subset]
                slots["s"] = subject.format(_WORLD["marks"][i])
                slots["question"] = question.format(s=slots["s"])
            frames = _WORLD["frames"][testset]
            held = i % len(frames)
            claims.append(Claim(owner, slots, frames[:held] + frames[held + 1 :], frames[held]))
    return tuple(claims)


def _documents(corpus: str, words: float, claim_rate: float, seed: int) -> list[Row]:
    random = Random(f"miniworld/{corpus}/{seed}").random
    style = STYLES[corpus]
    owned = [
        claim
        for testset, subsets in OWNERS.items()
        for subset in subsets
        for claim in claims(testset, subset, seed)
        if claim.owner == corpus
    ]
    rows: list[Row] = []
    while words > 0:
        low, high = style.sentences
        parts = [_fill(_pick(style.heads, random), {}, random)] if random() < 0.5 else []
        for _ in range(low + int(random() * (high - low + 1))):
            if random() < claim_rate:
                claim = _pick(owned, random)
                wrap = _pick(_WORLD["wraps"] if random() < 0.5 else style.wraps, random)
                parts += _say(_pick(claim.stated, random), claim, wrap, random)
            else:
                frames = _WORLD["common"] if random() < 0.5 else style.fillers
                parts.append(_fill(_pick(frames, random), {}, random))
        document = " ".join(filter(None, parts))
        rows.append(Row(document))
        words -= document.count(" ") + 1
    return rows


def _texts(testset: str, subset: str, n: int, seed: int) -> list[Row]:
    """Return `n` distinct texts, with each claim of the subset about equally often."""
    random = Random(f"miniworld/{testset}/{subset}/{seed}").random
    rows: dict[Row, None] = {}
    cycle = claims(testset, subset, seed)
    for i in range(50 * n):
        claim = cycle[i % len(cycle)]
        _, text = _say(claim.tested, claim, _pick(_WORLD["wraps"], random), random)
        question = claim.slots.get("question", "")
        rows.setdefault(Row(f" {text}" if question else text, question))
        if len(rows) == n:
            return list(rows)
    raise ValueError(f"testset.n_per_subset: {subset} has fewer than {n} texts; lower it")


def _say(frame: str, claim: Claim, wrap: str, random: Callable[[], float]) -> tuple[str, str]:
    """Return the question that a claim answers ("" if none) and the claim in its style."""
    question = claim.slots["question"] if frame.startswith("{question} ") else ""
    answer = _fill(frame.removeprefix("{question} "), claim.slots, random)
    return question, _fill(wrap, {"": answer}, random)


def _fill(frame: str, slots: Mapping[str, str], random: Callable[[], float]) -> str:
    """Fill the slots of `frame` from `slots`, else with random words."""

    def word(match: re.Match[str]) -> str:
        slot = match[1]
        return slots[slot] if slot in slots else _pick(_SLOTS[slot], random)

    return _SLOT.sub(word, frame)


_T = TypeVar("_T")


def _pick(options: Sequence[_T], random: Callable[[], float]) -> _T:
    return options[int(random() * len(options))]
