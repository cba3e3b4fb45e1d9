"""The page in a browser: it fits, runs without errors, and answers who clicks."""

import re
import time

import pytest

from tests.report.browser import CHROMIUM, Browser
from tests.report.conftest import fabricate
from untrac_exp.report.collect import collect
from untrac_exp.report.figures import draw_all
from untrac_exp.report.page import write_page


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; install the package chromium")
    started = Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The page of 30 corpora, 13 subsets and 9 methods."""
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
