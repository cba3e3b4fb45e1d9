"""Every example of docs/extending.md, run as it stands there; links of the documents."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "extending.md").read_text()
FILES = dict(re.findall(r"^`([\w/.]+)`:\n\n```\w+\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))
COMMANDS = re.findall(r"^```sh\npython -m untrac_exp (.*?)\n```", TEXT, re.MULTILINE)
TINY = (
    "pretraining.steps=3 pretraining.checkpoint_every=2 pretraining.batch_size=2 n_per_corpus=4 "
    "logger=none threads=1"
)


@pytest.mark.slow
@pytest.mark.parametrize("given", COMMANDS)
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


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("experiments/*/README.md")],
    ids=lambda path: str(path.relative_to(ROOT)),
)  # fmt: skip
def test_links_lead_somewhere(page):
    text = page.read_text()
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if not link.startswith(("http", "#")):
            assert (page.parent / link.split("#")[0]).exists(), link
