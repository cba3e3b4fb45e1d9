"""The documentation site: it builds without a warning, and tells of all that can be chosen."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"


class Text(HTMLParser):
    """What a page shows, and its images, scripts and styles."""

    def __init__(self):
        super().__init__()
        self.text, self.loaded = "", []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag in ("img", "script"):
            self.loaded.append(found.get("src") or "")
        if tag == "link" and found.get("rel") == "stylesheet":
            self.loaded.append(found["href"])

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    target = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", target],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert (built.returncode, built.stdout, built.stderr) == (0, "", "")
    return target


def page(site, name):
    parsed = Text()
    parsed.feed((site / name / "index.html").read_text())
    return parsed


def test_every_option_and_experiment_is_in_the_configuration_reference(site):
    text = (site / "configuration" / "index.html").read_text()
    for path in CONF.glob("*/*.yaml"):
        group = path.parent.name
        if group != "hydra":
            assert f'id="{group}-{path.stem}"' in text, path
    shown = page(site, "configuration").text
    assert re.search(r"stopping\.probe\s+32", shown)
    assert re.search(r"batch_size\s+int\s+4", shown)


def test_every_method_and_objective_has_its_equation_cost_and_uses(site):
    html = (site / "methods" / "index.html").read_text()
    sections = dict(
        re.findall(r'<h[23] id="(\w+)">(.*?)(?=<h[23] id=|</article>)', html, re.DOTALL)
    )
    for path in [*CONF.glob("method/*.yaml"), *CONF.glob("objective/*.yaml")]:
        section = sections[path.stem]
        assert "<strong>Use it</strong>" in section, path
        assert "<strong>Do not</strong>" in section, path
        assert "<math" in section, path
        assert "<strong>Cost.</strong>" in section or path.parent.name == "objective", path
    assert ".. math" not in html
    assert ":math:" not in html
    assert "<!-- docstring" not in html


def test_no_page_needs_a_network(site):
    pages = [path.parent.relative_to(site) for path in site.rglob("index.html")]
    assert len(pages) > 20
    for name in pages:
        away = [one for one in page(site, name).loaded if one.startswith(("http", "//"))]
        assert not away, name
