"""Two suites of small tasks, each with one test set and four corpora that differ from it by design.

========  =====================================  ==============================
corpus    compared with the test set             is that of
========  =====================================  ==============================
sim_same  a similar task, answered likewise      its kind and its format
sim_diff  a similar task, answered otherwise     its kind
dis_same  another task, answered likewise        its format
dis_diff  another task, answered otherwise       neither
========  =====================================  ==============================

Suite a asks for the number after a number written in digits, suite b for the letter that is left of
five. The design is that of Isonuma and Titov, ACL 2024, section 4.1; the wording differs.
"""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Literal

import yaml

from untrac_exp.data.base import Corpus, Row, TestSet
from untrac_exp.data.sampling import sample, shuffled

GENERATED = True
"""Whether the texts are generated, for reports."""

Suite = Literal["a", "b"]

CORPORA = ("sim_same", "sim_diff", "dis_same", "dis_diff")
LARGEST = 998
"""Largest number in the questions of suite a."""

WORDS: dict[str, list[str]] = yaml.safe_load(
    Path(__file__).with_name("tasks.yaml").read_text("utf-8")
)
LETTERS, DIGITS = "abcdefghijklmnopqrstuvwxyz", "0123456789"

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()

Draw = Callable[[], float]
"""The next number in [0, 1), as `random.random`."""


def corpora(suite: Suite, n_per_corpus: int = 256, seed: int = 0) -> list[Corpus]:
    """Return the four corpora of a suite, in the order of `CORPORA`."""
    return [Corpus(name, _rows(suite, name, n_per_corpus, seed)) for name in CORPORA]


def testsets(suite: Suite, n_per_subset: int = 256, seed: int = 0) -> list[TestSet]:
    """Return the test set of a suite, `tasks_a` or `tasks_b`, with one subset `test`."""
    return [TestSet(f"tasks_{suite}", {"test": _rows(suite, "test", n_per_subset, seed)})]


def _rows(suite: Suite, name: str, n: int, seed: int) -> list[Row]:
    if suite not in ("a", "b"):
        raise ValueError(f"suite='{suite}' is unknown; use a or b")
    draw = Random(f"tasks_{suite}/{name}/{seed}").random
    examples = _suite_a(name) if suite == "a" else _suite_b(name, draw)
    if n > len(examples):
        raise ValueError(
            f"tasks_{suite}: {name} has {len(examples)} examples; lower n_per_corpus or "
            f"n_per_subset from {n}"
        )
    return sample(examples, n, seed, f"tasks_{suite}/{name}")


def _suite_a(name: str) -> list[Row]:
    """Every example of one task: numbers, or the lengths of words."""
    answer = str if name in ("test", "sim_same", "dis_same") else in_words
    if name.startswith("dis"):
        words = [word for group in WORDS.values() for word in group]
        return [Row(answer(len(word)), f"How many letters has the word {word}?") for word in words]
    ask = str if name == "test" else in_words
    return [
        Row(answer(number + 1), f"Which number comes right after {ask(number)}?")
        for number in range(1, LARGEST + 1)
    ]


def _suite_b(name: str, draw: Draw) -> list[Row]:
    """Examples of one task: what is left of five characters, or parts of speech."""
    if name.startswith("dis"):
        labels = "abcd" if name == "dis_same" else "1234"
        return [_part_of_speech(word, labels, draw) for words in WORDS.values() for word in words]
    return [_left_over(name, draw) for _ in range(2000)]


def _part_of_speech(word: str, labels: str, draw: Draw) -> Row:
    options = dict(zip(labels, shuffled(WORDS, draw), strict=True))
    [answer] = [label for label, option in options.items() if word in WORDS[option]]
    listed = ", ".join(f"{label}: {option}" for label, option in options.items())
    return Row(answer, f"What part of speech is {word}? {listed}")


def _left_over(name: str, draw: Draw) -> Row:
    kind = "digit" if name == "sim_diff" else "letter"
    others = LETTERS if name == "test" else DIGITS
    left = shuffled(LETTERS if kind == "letter" else DIGITS, draw)[0]
    removed = shuffled([character for character in others if character != left], draw)[:4]
    string = "".join(shuffled([left, *removed], draw))
    return Row(left, f"Take {', '.join(removed)} out of {string}. Which {kind} is left?")


def in_words(number: int) -> str:
    """Spell out a number from 0 to 999 in English: `one hundred and forty-two`."""
    hundreds, rest = divmod(number, 100)
    if rest < 20:
        small = _ONES[rest]
    else:
        tens, ones = divmod(rest, 10)
        small = _TENS[tens - 2] + (f"-{_ONES[ones]}" if ones else "")
    if not hundreds:
        return small
    return f"{_ONES[hundreds]} hundred" + (f" and {small}" if rest else "")
