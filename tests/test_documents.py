"""README and the documentation: commands and links that exist, examples that run, a whole site."""

import importlib.util
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from tests.test_config import composed

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("experiments/*/README.md")),
]  # fmt: skip
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:\.venv/bin/)?python (?:-m )?[^`…<]+|make [^`…<]+)`")
KNOWN: dict[str, set[str] | None] = {"pip": {"install"}, ".venv/bin/pre-commit": {"install"}}
KNOWN |= dict.fromkeys(("cd", "source", "for", "done"))


def commands(page):
    text = page.read_text()
    for block in BLOCK.findall(text):
        # a command's quoted lines, and those that end in a backslash, are one
        for line in re.sub(r",\n +", ", ", block).replace("\\\n", " ").splitlines():
            if words := shlex.split(" ".join(line.split()), comments=True):
                yield words
    yield from (shlex.split(" ".join(found.split())) for found in INLINE.findall(text))


WRITTEN = [(page, words) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize(("page", "command"), WRITTEN, ids=lambda of: str(of)[-70:])
def test_a_command_is_one_that_exists(page, command):
    """Its target, module or file, or its configuration."""
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
    """Every job of a command has a configuration."""
    mine = page.name == "extending.md" or "mine" in " ".join(arguments)  # of a file not there
    if {"--help", "--cfg"} & set(arguments) or mine:
        return
    parsed = OverridesParser.create().parse_overrides([*arguments])
    axes = [
        [f"{one.input_line.split('=')[0]}={value}" for value in one.sweep_string_iterator()]
        if one.is_sweep_override() else [str(one.input_line)]
        for one in parsed
    ]  # fmt: skip
    for job in itertools.product(*axes):
        composed(*job)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if not link.startswith(("http", "#")):
            assert (page.parent / link.split("#")[0]).exists(), link


def test_every_option_and_experiment_is_in_the_configuration_reference(tmp_path):
    """Of the site, which is built without a warning."""
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert (built.returncode, built.stdout, built.stderr) == (0, "", "")
    text = (tmp_path / "configuration" / "index.html").read_text()
    for path in (ROOT / "conf").glob("*/*.yaml"):
        if path.parent.name != "hydra":
            assert f'id="{path.parent.name}-{path.stem}"' in text, path
    shown = re.sub("<[^>]*>", " ", text)
    assert re.search(r"stopping\.probe\s+32", shown)
    assert re.search(r"batch_size\s+int\s+4", shown)


# ------------------------------------------------------------------------------ docs/extending.md
TEXT = (ROOT / "docs" / "extending.md").read_text()
FILES = dict(re.findall(r"^`([\w/.]+)`:\n\n```\w+\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))
EXAMPLES = re.findall(r"^```sh\npython -m untrac_exp (.*?)\n```", TEXT, re.MULTILINE)
TINY = (
    "pretraining.steps=3 pretraining.checkpoint_every=2 pretraining.batch_size=2 n_per_corpus=4 "
    "logger=none threads=1"
)


@pytest.mark.slow
@pytest.mark.parametrize("given", EXAMPLES)
def test_the_example_runs(given, tmp_path):
    assert len(FILES) == 11
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    done = subprocess.run(
        f"{sys.executable} -m untrac_exp {given} {TINY}",
        shell=True, cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    finished = [
        json.loads(path.read_text()) for path in tmp_path.glob("outputs/*/mini/**/metrics.json")
    ]
    assert len(finished) == (4 if "+experiment" in given else 1)
    for job in finished:
        assert f"method={job['method']}" in given or "+experiment" in given
    assert "forecast" in done.stdout or "weather" not in given
    if "statistics.first" in given:
        for job in finished:
            assert all(0 <= one["first"] <= 1 for one in job["agreement"].values())
            assert set(job["ceiling_first"]) == set(job["agreement"])
        assert "first" in done.stdout.split("Agreement with the truth")[1].split()
