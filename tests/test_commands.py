"""Every command of README and the documentation is one that exists."""

import importlib.util
import itertools
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from tests.test_config import composed

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("experiments/*/README.md")),
]  # fmt: skip
BLOCK = re.compile(r"(?:^<!-- needs: (.*) -->\n)?^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:\.venv/bin/)?python (?:-m )?[^`…]+|make [^`…]+)`")


@dataclass(frozen=True)
class Block:
    """Lines of shell on one page. needs: what a machine may lack, in words; "" for nothing."""

    page: Path
    needs: str
    text: str

    def __str__(self):
        return f"{self.page.relative_to(ROOT)}: {self.text.splitlines()[0][:50]}"

    def commands(self):
        return [
            words
            for line in self.text.replace("\\\n", " ").splitlines()
            if (words := shlex.split(" ".join(line.split()), comments=True))
        ]


def joined(text):
    """With a command's quoted lines as one."""
    return re.sub(r",\n +", ", ", text)


BLOCKS = [
    Block(page, needs, joined(text))
    for page in PAGES
    for needs, text in BLOCK.findall(page.read_text())
]
WRITTEN = [(block, command) for block in BLOCKS for command in block.commands()]
INLINES = [
    (page, " ".join(text.split())) for page in PAGES for text in INLINE.findall(page.read_text())
]
KNOWN = {"pip": {"install"}, "cd": None, "source": None, ".venv/bin/pre-commit": {"install"}}


def check(command, page):
    """That there is such a command: its target, module, file, or its configuration."""
    name, *rest = command
    if name == "make":
        words = [word for word in rest if not word.startswith("-")]
        done = subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    elif name == "untrac-exp":
        composes(rest, page)
    elif name.endswith("python") and rest[0] == "-m":
        assert importlib.util.find_spec(rest[1]), rest[1]
        if rest[1] == "untrac_exp":
            composes(rest[2:], page)
    elif name.endswith("python"):
        assert (ROOT / rest[0]).is_file(), rest[0]
    else:
        assert name in KNOWN, command
        assert KNOWN[name] is None or rest[0] in KNOWN[name], command


def composes(arguments, page):
    """Every job of a command has a configuration, of the page's own files where it has some."""
    if {"--help", "--cfg"} & set(arguments) or page.name == "extending.md":  # that has its own test
        return
    parsed = OverridesParser.create().parse_overrides([*arguments])
    axes = [
        [f"{one.input_line.split('=')[0]}={value}" for value in one.sweep_string_iterator()]
        if one.is_sweep_override() else [str(one.input_line)]
        for one in parsed
    ]  # fmt: skip
    for job in itertools.product(*axes):
        composed(*job)


@pytest.mark.parametrize(("block", "command"), WRITTEN, ids=lambda one: str(one)[:70])
def test_a_command_is_one_that_exists(block, command):
    check(command, block.page)


@pytest.mark.parametrize(("page", "text"), INLINES, ids=lambda one: str(one)[-70:])
def test_a_command_in_a_sentence_is_one_that_exists(page, text):
    if "mine" not in text and "<" not in text:
        check(shlex.split(text), page)


@pytest.mark.parametrize(
    "page", sorted({block.page for block in BLOCKS}), ids=lambda path: path.name
)
def test_a_page_says_which_shell_its_commands_need(page):
    names = {command[0] for block, command in WRITTEN if block.page == page}
    if "python" in names:
        assert re.search(r"`source \S*\.venv/bin/activate`", page.read_text())
