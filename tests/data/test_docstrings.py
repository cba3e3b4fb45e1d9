import ast
import sys
from importlib import import_module
from inspect import getdoc
from pathlib import Path

import networkx
import pytest

from untrac_exp.data.sources import docstrings

LINES = "says something about the number {} and goes on for long enough to be kept as a text here"


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Makes importable packages of 60 modules, each with four docstrings; importing them fails."""

    def make(name: str) -> str:
        for i in range(60):
            text = [f"{name} {i} {kind} " + LINES.format(i) for kind in ("m", "c", "f", "g")]
            module = tmp_path / name / f"part{i % 7}" / f"m{i}.py"
            module.parent.mkdir(parents=True, exist_ok=True)
            module.write_text(
                f'"""{text[0]}"""\nraise ImportError\n'
                f'class C:\n    """{text[1]}"""\n    def f(self):\n        """{text[2]}"""\n'
                f'async def g():\n    """{text[3]}\n\n        - indented\n    """\n'
                f'def copied():\n    """shared: {LINES}"""\ndef short():\n    """Too short."""\n'
            )
        (tmp_path / name / "broken.py").write_text("def (:\n")
        (tmp_path / name / "tests").mkdir()
        (tmp_path / name / "tests" / "t.py").write_text(f'"""only in tests: {LINES}"""\n')
        return name

    monkeypatch.syspath_prepend(tmp_path)
    docstrings._split.cache_clear()
    return make


def test_every_docstring_is_read_once_and_no_library_imported(library, monkeypatch):
    names = [library("lib_one"), library("lib_two")]
    monkeypatch.setattr(docstrings, "HELD_OUT_CHARS", 1000)
    corpora = docstrings.corpora(names)
    (testset,) = docstrings.testsets(names)
    assert [c.name for c in corpora] == list(testset.subsets) == names
    assert testset.name == "docstrings"
    texts = [row.target for corpus in corpora for row in corpus.rows]
    held = [row.target for rows in testset.subsets.values() for row in rows]
    assert len(set(texts + held)) == len(texts + held)  # none twice, none both sides
    assert sum("shared" in text for text in texts + held) == 1
    assert not any("tests" in text or "Too short" in text for text in texts + held)
    assert all("\n\n- indented" in text for text in texts if " g " in text)
    kept = {text for text in texts if text.startswith("lib_one")}
    by_file = {text.split()[1] for text in kept} & {
        text.split()[1] for text in held if text.startswith("lib_one")
    }
    assert not by_file  # the split is by file
    assert not set(names) & set(sys.modules)


def test_the_amount_of_text_is_capped(library, monkeypatch):
    monkeypatch.setattr(docstrings, "CHARS", 2_000)
    (corpus,) = docstrings.corpora([library("lib_three")])
    assert 2_000 <= sum(len(row.target) for row in corpus.rows) < 2_000 + docstrings.MAX_CHARS


def test_real_docstrings_are_those_that_inspect_gives():
    # networkx' functions are plain: what inspect reads from the imported module is the same text.
    root = Path(networkx.__file__).parent
    path = root / "algorithms" / "dag.py"
    found = list(docstrings._docstrings(path))
    module = import_module("networkx.algorithms.dag")
    names = [n.name for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)]
    expected = {getdoc(getattr(module, name)) for name in names} - {None}
    assert expected <= set(found)
    assert len(expected) > 10


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"libraries": ["numpy", "nunpy"]}, "'nunpy'.*pip install nunpy"),
        ({"libraries": ["../etc"]}, "not an installed package"),
        ({"libraries": ["lib_bare"]}, "'lib_bare' has too few docstrings"),
    ],
)
def test_bad_settings_are_named_in_one_line(tmp_path, monkeypatch, settings, words):
    (tmp_path / "lib_bare").mkdir()
    (tmp_path / "lib_bare" / "__init__.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    for source in (docstrings.corpora, docstrings.testsets):
        with pytest.raises(ValueError, match=words) as error:
            source(**settings)
        assert "\n" not in str(error.value)
