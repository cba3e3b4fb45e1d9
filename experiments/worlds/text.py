"""Paragraphs and documents: what every source of corpora=worlds does with its text."""

import html
import re
from collections.abc import Iterable, Iterator

LEAST, LONGEST = 200, 2000
"""Characters of a document of a corpus."""
SHORTEST_TEST, LONGEST_TEST = 40, 400
"""Characters of a text of a test set."""
SHINGLE = 8
_COMMON = frozenset(
    "the of and to a in is that it for as with be on by are this not or was you i he have from at"
    " his we they an if but can will which your all no do"
    " thou thy thee unto shall me my him her what so their".split()
)


def line(text: str) -> str:
    """Return the text on one line, without repeated blanks and HTML's entities."""
    return re.sub(r"\s+", " ", html.unescape(text).replace("\u00a0", " ")).strip()


def plain(markup: str) -> str:
    """Return the text of HTML or XML on one line."""
    return line(re.sub(r"<[^>]*>", "", markup))


def paragraphs(text: str) -> list[str]:
    """Split at empty lines."""
    return [found for found in map(line, re.split(r"\n\s*\n", text)) if found]


def english(text: str) -> bool:
    """Say whether a text is English prose: common words, few other letters, no tables."""
    words = re.findall(r"[a-z']+", text.lower())
    common = sum(word in _COMMON for word in words)
    letters = sum(character.isalpha() or character == " " for character in text)
    foreign = sum(ord(character) > 0x24F for character in text if character.isalpha())
    return common > 0.2 * len(words) and letters > 0.85 * len(text) and foreign < 0.01 * len(text)


def documents(parts: Iterable[str], joint: str = "\n") -> Iterator[str]:
    """Join consecutive paragraphs to documents of 200 to 2,000 characters.

    A paragraph that is longer than that is split between sentences.
    """
    document = ""
    for part in parts:
        for piece in _pieces(part):
            if len(document) + len(joint) + len(piece) > LONGEST:
                if len(document) >= LEAST:
                    yield document
                document = ""
            document = f"{document}{joint}{piece}" if document else piece
            if len(document) >= 3 * LEAST:
                yield document
                document = ""
    if len(document) >= LEAST:
        yield document


def _pieces(part: str) -> Iterator[str]:
    piece = ""
    for sentence in re.split(r"(?<=[.?!;:]) ", part) if len(part) > LONGEST - LEAST else [part]:
        if piece and len(piece) + len(sentence) > LONGEST // 2:
            yield piece
            piece = ""
        piece = f"{piece} {sentence}" if piece else sentence
    if piece and len(piece) <= LONGEST - LEAST:
        yield piece


def verses(lines: Iterable[str], count: int) -> Iterator[str]:
    """Join a number of lines each time: verses, short reviews, speeches of a play."""
    kept: list[str] = []
    for text in lines:
        kept.append(text)
        if len(kept) == count:
            yield "\n".join(kept)
            kept = []


def words(text: str) -> list[str]:
    """Return the words in lower case."""
    return re.findall(r"\w+", text.lower())


def shingles(text: str) -> set[int]:
    """Return hashes of all sequences of eight words."""
    found = words(text)
    return {hash(tuple(found[i : i + SHINGLE])) for i in range(len(found) - SHINGLE + 1)}
