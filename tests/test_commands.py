"""Every command of README and the documentation: it is one that exists, and it runs as written."""

import importlib.util
import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from tests.test_config import composed
from tests.trace_checkpoints import BAD, TEXTS, save

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


def test_the_pages_have_commands():
    assert len(WRITTEN) > 20
    assert len(INLINES) > 40


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


SMALL = """
import sys

asked = sys.argv[1:] if sys.orig_argv[1:3] == ["-m", "untrac_exp"] else None
if sys.argv[0].endswith("untrac-exp"):
    asked = sys.argv[1:]
if asked and "--help" not in asked and "plan=true" not in asked:
    small = ["n_per_corpus=4", "threads=1", "logger=none"]
    if "+experiment=trace" in asked:
        small += ["trainer.accelerator=cpu"]
    else:
        small += ["pretraining.steps=3", "pretraining.checkpoint_every=2", "truth=none"]
        small += ["method=graddot", "seed=0", "train_seed=0"]
    given = {one.split("=")[0] for one in asked}
    sys.argv += [one for one in small if one.split("=")[0] not in given]
"""
"""Put in the environment's sitecustomize: what is written is run, at the smallest size."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A clone with an environment, and the files that README's examples name."""
    clone = tmp_path_factory.mktemp("clone") / "untrac_exp"
    copied = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, copied):
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, clone / name)
    venv.create(clone / ".venv", with_pip=True)
    [packages] = (clone / ".venv").glob("lib/*/site-packages")
    ours = Path(next(path for path in sys.path if path.endswith("site-packages")))
    (packages / "of_this_environment.pth").write_text(f"{clone / 'src'}\n{ours}\n")
    (packages / "sitecustomize.py").write_text(SMALL)
    for tool in ("ruff", "pre-commit", "wandb", "lint-imports"):
        (clone / ".venv" / "bin" / tool).symlink_to(Path(sys.executable).parent / tool)
    stub = clone / ".venv" / "bin" / "mypy"  # minutes without its cache; `make lint` is CI's own
    stub.write_text("#!/bin/sh\n")
    stub.chmod(0o755)
    (clone / ".venv" / ".ready").touch()
    subprocess.run(["git", "init", "-q", clone], check=True)
    save(clone / "my-checkpoint", "gpt2")
    (clone / "data" / "forum").mkdir(parents=True)
    rows = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS["forum"])
    (clone / "data" / "forum" / "a.jsonl").write_text(rows)
    (clone / "data" / "wiki.txt").write_text("\n\n".join(TEXTS["wiki"]))
    (clone / "bad_outputs.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in BAD))
    import pandas as pd

    pd.DataFrame({"text": TEXTS["support"]}).to_parquet(clone / "data" / "support.parquet")
    return clone


DRY = ("make paper", "make table", "make figure")
"""Targets whose recipes other tests run: what make would do is printed."""
RUN = [block for block in BLOCKS if not block.needs and block.page.name != "extending.md"]
RUN = [block for block in RUN if "experiments" not in block.page.parts]


@pytest.mark.slow
@pytest.mark.parametrize("block", RUN, ids=str)
def test_it_runs_as_written_in_a_fresh_shell(block, checkout):
    """In a fresh shell of a clone, after the one line that the page asks for."""
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(checkout.parent), "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1", "PYTEST_ADDOPTS": "--collect-only -n 0",
        "PIP_NO_BUILD_ISOLATION": "false", "PIP_NO_DEPS": "true", "PIP_NO_INDEX": "true",
    }  # fmt: skip
    if block.text.startswith(DRY):
        environment["MAKEFLAGS"] = "n"
    activate = "" if block.text.startswith("make ") else "source .venv/bin/activate\n"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", activate + block.text],
        cwd=checkout, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
