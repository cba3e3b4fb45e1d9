"""Build `src/untrac_exp/data/sources/texts/worlds.jsonl.xz`.

    python -m experiments.worlds.build FOLDER

FOLDER keeps the downloaded packages (packages.py; 0.7 GB). Needs `apt-get`, `dpkg`, `npm`, `pip`.
Nothing else in the project needs this script.
"""

import json
import lzma
import random
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from experiments.worlds import corpora, testsets
from experiments.worlds.packages import compressed, unpacked
from experiments.worlds.text import (
    LEAST,
    LONGEST,
    LONGEST_TEST,
    SHORTEST_TEST,
    english,
    line,
    shingles,
    words,
)

CHARS = 240_000
TEXTS = 256
SHARED = 0.2
"""Share of a document's sequences of eight words that earlier documents may have."""
EMBEDDED = ("natural", "tuning")
"""Worlds whose test texts are not used again."""
FOLDER = Path(__file__).parents[2] / "src" / "untrac_exp" / "data" / "sources" / "texts"

Record = dict[str, str]


def corpus_rows(root: corpora.Root, seen: set[int]) -> Iterator[Record]:
    """Documents of every corpus in a random order, without near-duplicates; fills `seen`."""
    for name, documents in corpora.CORPORA.items():
        source = corpora.SOURCES.get(name, name)
        found = [text for text in dict.fromkeys(documents(root)) if LEAST <= len(text) <= LONGEST]
        random.Random(name).shuffle(found)
        size = 0
        for text in filter(english, found):
            own = shingles(text)
            if size + len(text) <= CHARS and len(own & seen) <= SHARED * len(own):
                seen |= own
                size += len(text)
                yield {"corpus": name, "source": source, "text": text}


def testset_rows(root: corpora.Root, seen: set[int], known: set[str]) -> Iterator[Record]:
    """Texts of every test set that share no eight words with a corpus or with each other."""
    for name, subsets in testsets.TESTSETS.items():
        source = testsets.SOURCES.get(name, name)
        usable = {
            subset: list(_usable(name, texts, seen, known))
            for subset, texts in subsets(root).items()
        }
        share = TEXTS // len(usable)
        rest = sum(max(0, share - len(texts)) for texts in usable.values())
        for subset, texts in usable.items():
            kept = texts[: share + rest]
            rest -= max(0, len(kept) - share)
            for text in kept:
                yield {"testset": name, "subset": subset, "source": source, "text": text}


def _usable(name: str, texts: Iterable[str], seen: set[int], known: set[str]) -> Iterator[str]:
    ordered = list(dict.fromkeys(text if name == "sonnets" else line(text) for text in texts))
    random.Random(name).shuffle(ordered)
    for text in ordered:
        own, normal = shingles(text), " ".join(words(text))
        if SHORTEST_TEST <= len(text) <= LONGEST_TEST and not own & seen and normal not in known:
            known.add(normal)
            seen |= own
            yield text


def main(folder: str) -> None:
    """Write the file; print its size."""
    root = partial(unpacked, folder=Path(folder))
    seen: set[int] = set()
    rows = list(corpus_rows(root, seen))
    known = {" ".join(words(text)) for text in _elsewhere()}
    rows += testset_rows(root, seen, known)
    data = compressed("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    (FOLDER / "worlds.jsonl.xz").write_bytes(data)
    print(f"{len(rows)} texts, {len(data)} bytes")


def _elsewhere() -> Iterator[str]:
    for world in EMBEDDED:
        with lzma.open(FOLDER / f"{world}.jsonl.xz", "rt", encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                if "testset" in row:
                    yield row["text"]


if __name__ == "__main__":
    main(sys.argv[1])
