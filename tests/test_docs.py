"""The documentation site: it builds without a warning, and tells of all that can be chosen."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    target = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", target],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert (built.returncode, built.stdout, built.stderr) == (0, "", "")
    return target


def test_every_option_and_experiment_is_in_the_configuration_reference(site):
    text = (site / "configuration" / "index.html").read_text()
    for path in CONF.glob("*/*.yaml"):
        group = path.parent.name
        if group != "hydra":
            assert f'id="{group}-{path.stem}"' in text, path
    shown = re.sub("<[^>]*>", " ", text)
    assert re.search(r"stopping\.probe\s+32", shown)
    assert re.search(r"batch_size\s+int\s+4", shown)
