"""Docstrings of eight installed libraries: real text without a download.

Each library is a corpus, and its held-out docstrings are a subset of the test set `docstrings`. The
expected result is known: each library has the largest influence on its own held-out docstrings.

Files are parsed with `ast`; no library is imported. Training and held-out texts are split by file
and deduplicated, so no text is in both.
"""

import ast
from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from untrac_exp.data.base import Corpus, Row, TestSet

LIBRARIES = tuple("numpy scipy pandas matplotlib torch transformers networkx sympy".split())
MIN_CHARS, MAX_CHARS = 80, 1000
"""Shorter docstrings do not distinguish libraries; longer ones are truncated, for variety."""
CHARS = 120_000
"""Characters of a corpus, if its library has as many."""
HELD_OUT, HELD_OUT_TEXTS, HELD_OUT_CHARS = 0.1, 64, 160
"""Fraction of files that are held out; texts of a library in the test set, and their length."""
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def corpora(libraries: Sequence[str] = LIBRARIES) -> list[Corpus]:
    """Return one corpus per library."""
    texts = _split(tuple(libraries))
    return [Corpus(library, [Row(text) for text in train]) for library, (train, _) in texts.items()]


def testsets(
    libraries: Sequence[str] = LIBRARIES, n_per_subset: int = HELD_OUT_TEXTS
) -> list[TestSet]:
    """Return the test set `docstrings`, with up to `n_per_subset` texts per library."""
    subsets: dict[str, list[Row]] = {}
    for library, (_, held) in _split(tuple(libraries)).items():
        cut = dict.fromkeys(_shorten(text, HELD_OUT_CHARS) for text in held)
        subsets[library] = [Row(text) for text in list(cut)[:n_per_subset]]
    return [TestSet("docstrings", subsets)]


@cache
def _split(libraries: tuple[str, ...]) -> dict[str, tuple[list[str], list[str]]]:
    """(train, held-out) texts by library, without a text that is in both or in two libraries."""
    seen: set[str] = set()
    texts = {}
    for library in libraries:
        files = _files(library)
        held = list(islice(_texts((p for at, p in files if at < HELD_OUT), seen), HELD_OUT_TEXTS))
        train: list[str] = []
        for text in _texts((p for at, p in files if at >= HELD_OUT), seen):
            train.append(text)
            if sum(map(len, train)) >= CHARS:
                break
        if not held or not train:
            raise ValueError(
                f"libraries: '{library}' has too few docstrings to split; leave it out"
            )
        texts[library] = (train, held)
    return texts


def _files(library: str) -> list[tuple[float, Path]]:
    """Return (position, path) of the modules of an installed library, without its tests.

    The position, by which they are sorted, is the hash of the path inside the library as a number
    in [0, 1): independent of the content and the same on every machine.
    """
    spec = find_spec(library) if library.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            f"libraries: '{library}' is not an installed package; "
            f"run `pip install {library}` or leave it out"
        )
    root = Path(next(iter(spec.submodule_search_locations)))
    files = []
    for path in root.rglob("*.py"):
        name = path.relative_to(root)
        if not {"tests", "testing"} & set(name.parts):
            hashed = sha256(name.as_posix().encode()).hexdigest()
            files.append((int(hashed[:13], 16) / 16**13, path))
    return sorted(files)


def _texts(files: Iterator[Path], seen: set[str]) -> Iterator[str]:
    """The docstrings of `files`, in order, that are long enough and not in `seen`; adds them."""
    for path in files:
        for docstring in _docstrings(path):
            text = _shorten(docstring, MAX_CHARS)
            if len(text) >= MIN_CHARS and text not in seen:
                seen.add(text)
                yield text


def _docstrings(path: Path) -> Iterator[str]:
    """Docstrings of a module, its classes and their functions, from the top down."""
    try:
        nodes: list[_Documented] = [ast.parse(path.read_bytes())]
    except (SyntaxError, ValueError):  # templates and sources for other versions
        return
    for node in nodes:
        yield ast.get_docstring(node) or ""
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            nodes += [child for child in node.body if isinstance(child, _Documented)]


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit].rsplit(maxsplit=1)[0]
