"""The page: right answers first, names harmless, nothing fetched, no error in a browser."""

import re
import time
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tests.report.browser import CHROMIUM, Browser
from tests.report.conftest import fabricate
from untrac_exp.report import result_files as files
from untrac_exp.report.collect import collect
from untrac_exp.report.figures import draw_all
from untrac_exp.report.page import ranking_columns, render, settings, write_page


class Reader(HTMLParser):
    """Collects tags, what they refer to, and text outside of scripts and styles."""

    def __init__(self):
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []
        self._inside: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self._inside.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "action", "srcset", "data"):
                self.links.append(value)

    def handle_endtag(self, tag):
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data):
        if not self._inside or self._inside[-1] not in ("script", "style"):
            self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


def test_the_answer_names_what_the_truth_and_the_methods_put_first(sweep_dir):
    sweep = collect(sweep_dir)
    table = sweep.rankings["bias"].query("rank == 1").set_index("label")["corpus"]
    columns = ranking_columns(sweep, "bias")
    assert {column["label"]: column["first"] for column in columns} == {
        label: [corpus] for label, corpus in table.items()
    }
    assert columns[0]["is_truth"]
    text = " ".join(" ".join(read(render(sweep, [])).text).split())
    for label in ("graddot", "untrac", "untrac_inv"):
        assert f"{label} ranks {table[label]} first" in text


def test_without_a_truth_the_page_says_so(made_up):
    page = render(collect(made_up(train_seeds=0)), [])
    text = " ".join(read(page).text)
    assert "no ground truth" in text
    assert "Agreement with the truth" not in text


def test_names_are_text_and_warnings_are_prominent(drawn):
    sweep, found = drawn
    warning = "</li><script>alert('warning')</script>"
    page = render(replace(sweep, warnings=[warning]), found)
    reader = read(page)
    assert reader.tags.count("script") == 1
    assert "<script>alert" not in page
    text = "".join(reader.text)
    assert "<script>alert(1)</script>" in text
    assert warning in text
    assert text.index("1 warning") < text.index("Influence of each corpus")


def test_the_page_needs_no_network_and_is_small(drawn):
    page = render(*drawn)
    assert len(page) < 5_000_000
    for link in read(page).links:
        assert link.startswith(("data:", "#")), link
    # What is left of addresses are the names of XML namespaces.
    assert set(re.findall(r"https?://[\w.]+", page)) <= {"http://www.w3.org"}
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_agreement_lists_the_best_method_of_each_test_set_first(sweep_dir):
    rows = collect(sweep_dir).best_first.query("testset == 'toxicity'")
    assert list(rows["label"]) == ["untrac", "untrac_inv", "graddot"]


def test_settings_tell_what_is_shared_from_what_is_not(sweep_dir):
    outdir = sweep_dir / "graddot" / "seed0"
    config = {"method": {"normalise": True}, "scale": "mini"}
    for path in sweep_dir.glob("*/seed*"):
        metrics = files.read_metrics(path)
        own = config if path.parent.name == outdir.parent.name else metrics["config"]
        files.write_metrics(path, {**metrics, "config": {"name": "x", **own}})
    shared, own = settings(collect(sweep_dir))
    assert shared == {"name": "x"}
    assert own["graddot"] == {"method.normalise": "True", "scale": "mini"}
    assert own["untrac"] == {"method.lr": "0.0002", "method.steps": "200"}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; install the package chromium")
    started = Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The report of 30 corpora x 13 subsets x 9 methods."""
    methods = {f"method_{i}": 0.1 * i for i in range(7)} | {"untrac": 0.1, "untrac_inv": 0.3}
    corpora = [f"a corpus with a name, number {i}" for i in range(30)]
    root = tmp_path_factory.mktemp("large")
    sweep = collect(fabricate(root, methods, corpora, {"toxicity": 13}, seeds=1))
    return write_page(sweep, draw_all(sweep, root / "figures"))


@pytest.fixture(scope="module")
def variants(tmp_path_factory):
    """Two test sets, and variants with long names."""
    root = tmp_path_factory.mktemp("variants")
    for optimizer in ("sgd_momentum", "adafactor"):
        overrides = {
            "model.config.num_hidden_layers": optimizer[:2],
            "method.lr": f"5e-{optimizer}",
        }
        overrides["optimizer"] = optimizer
        testsets = {"toxicity": 5, "bias": 2}
        fabricate(root, {"untrac": 0.1, "untrac_inv": 0.3}, None, testsets, 1, overrides=overrides)
    sweep = collect(root)
    return write_page(sweep, draw_all(sweep, root / "figures"))


CUT = """[...document.querySelectorAll("h1, h2, h3, p, li, button, label, select, th, td, output")]
  .filter((one) => one.offsetParent && !one.closest(".scroll, .answer table"))
  .filter((one) => {
    const box = one.getBoundingClientRect();
    return box.left < -1 || box.right > innerWidth + 1 || one.scrollWidth > one.clientWidth + 1
      && getComputedStyle(one).display !== "inline";
  }).map((one) => one.textContent.trim())"""


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("which", ["large", "variants"])
def test_the_page_fits_and_runs_without_errors(which, width, dark, browser, request):
    path = request.getfixturevalue(which)
    assert path.stat().st_size < 5_000_000
    started = time.monotonic()
    browser.open(path, width, dark)
    assert time.monotonic() - started < 10  # slack for a busy machine; two seconds is the aim
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value(CUT) == []
    ground = browser.value("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) < 300) == dark
    assert browser.errors == []


@pytest.mark.slow
def test_a_reader_sorts_and_chooses(variants, browser):
    browser.open(variants, 1280)
    column = """[...document.querySelectorAll("table.ranking tbody")[0].rows]
      .map((row) => Number(row.cells[1].dataset.value))"""
    click = "document.querySelectorAll('table.ranking thead')[0].querySelectorAll('button')[1]"
    browser.value(f"{click}.click()")
    down = browser.value(column)
    assert down == sorted(down, reverse=True)
    browser.value(f"{click}.click()")
    assert browser.value(column) == sorted(down)
    browser.value("document.querySelectorAll('#chooser button')[1].click()")
    seen = "[...document.querySelectorAll('section[data-testset]')].map((s) => s.offsetHeight > 0)"
    assert browser.value(seen) == [False, True]

    browser.value("document.getElementById('theme').click()")
    browser.value("document.getElementById('theme').click()")
    assert browser.value("document.documentElement.dataset.theme") == "dark"
    assert browser.errors == []


@pytest.mark.slow
def test_a_reader_picks_the_methods_shown(variants, browser):
    browser.open(variants, 400)
    shown = """[...document.querySelectorAll("table.ranking thead")[0].rows[0].cells]
      .filter((cell) => cell.offsetWidth > 0).map((cell) => cell.textContent)"""
    rows = """[...document.querySelectorAll("tr[data-method]")]
      .filter((row) => row.offsetHeight > 0).map((row) => row.dataset.method)"""
    every, agreeing = browser.value(shown), browser.value(rows)
    browser.value("document.querySelector('#columns').open = true")
    labels = "[...document.querySelectorAll('#columns label')].map((one) => one.innerText.trim())"
    methods = browser.value(labels)
    assert set(methods) == set(agreeing)
    assert methods == every[-len(methods) :]
    browser.value("document.querySelector('#columns input').click()")
    assert browser.value(shown) == [label for label in every if label != methods[0]]
    assert browser.value(rows) == [label for label in agreeing if label != methods[0]]
    cells = "document.querySelectorAll('table.ranking tbody tr')[0].cells[%d].offsetWidth"
    assert browser.value(cells % (len(every) - len(methods))) == 0
    browser.value("document.querySelector('#columns input').click()")
    assert browser.value(shown) == every
    assert browser.errors == []
