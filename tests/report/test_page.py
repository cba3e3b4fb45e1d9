"""The page: right answers first, names harmless, nothing fetched, no error in a browser."""

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from untrac_exp.report import files
from untrac_exp.report.collect import collect
from untrac_exp.report.page import agreement_table, answer, render, settings
from untrac_exp.report.tables import ranking, truths


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
    said = answer(sweep, "bias")
    table = ranking(sweep, "bias").set_index("label")
    first = table[table["rank"] == 1]["corpus"]
    (truth,) = said["truth"]
    assert truth["corpus"] == first["truth"]
    assert (truth["seeds_agreeing"], truth["seeds"]) == (2, 2)
    named = {method: corpus for corpus, methods, _ in said["named"] for method in methods}
    assert named == {label: first[label] for label in ("graddot", "untrac", "untrac_inv")}
    assert all(right == (corpus == first["truth"]) for corpus, _, right in said["named"])


def test_the_answer_counts_the_train_seeds_that_agree(sweep_dir):
    for path in sweep_dir.glob("*/seed*/truth.csv"):
        truth = files.read_table(path, files.TRUTH)
        truth.loc[(truth["train_seed"] == 1) & (truth["corpus"] == "wiki"), "influence"] = 0.7
        files.write_truth(path.parent, truth)
    sweep = collect(sweep_dir)
    bias = truths(sweep).query("testset == 'bias'")
    tops = bias.groupby(["train_seed", "corpus"])["influence"].mean().unstack().idxmax(axis=1)
    said = answer(sweep, "bias")["truth"][0]
    assert tops[1] == "wiki"
    assert said["seeds_agreeing"] == sum(tops == said["corpus"]) == 1


def test_without_a_truth_the_page_says_so(made_up):
    page = render(collect(made_up(train_seeds=0)), [])
    text = " ".join(read(page).text)
    assert "no ground truth" in text
    assert "How far to believe" not in text


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
    rows = [row for row in agreement_table(collect(sweep_dir)) if row["testset"] == "toxicity"]
    assert [row["label"] for row in rows] == ["untrac", "untrac_inv", "graddot"]


def test_settings_tell_what_is_shared_from_what_is_not(sweep_dir):
    outdir = sweep_dir / "graddot" / "seed0"
    config = {"method": {"normalise": True}, "scale": "mini"}
    for path in sweep_dir.glob("*/seed*"):
        metrics = files.read_metrics(path)
        own = config if path.parent.name == outdir.parent.name else metrics["config"]
        files.write_metrics(path, {**metrics, "config": {"name": "x", **own}})
    shared, own = settings(collect(sweep_dir))
    assert shared == [("name", "x")]
    assert own["graddot"] == [("method.normalise", "True"), ("scale", "mini")]
    assert own["untrac"] == [("method.lr", "0.0002"), ("method.steps", "200")]


CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


def browse(page: Path, profile: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={profile}", "--enable-logging=stderr", "--virtual-time-budget=2000",
        *options, page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs a browser")
def test_the_page_runs_in_a_browser_without_errors(drawn, tmp_path):
    # A probe that uses the page as a reader would, and writes down what it saw.
    probe = """<script>
      const seen = {};
      const table = document.querySelector('table.ranking');
      const column = () => [...table.tBodies[0].rows].map((row) => row.cells[1].dataset.value * 1);
      table.tHead.querySelectorAll('button')[1].click();
      seen.down = column().every((x, i, all) => i === 0 || x <= all[i - 1]);
      table.tHead.querySelectorAll('button')[1].click();
      seen.up = column().every((x, i, all) => i === 0 || x >= all[i - 1]);
      document.querySelectorAll('#chooser button')[1].click();
      seen.sections = [...document.querySelectorAll('section[data-testset]')]
        .map((part) => part.offsetHeight > 0).join();
      seen.wide = document.documentElement.scrollWidth > window.innerWidth;
      document.body.dataset.seen = JSON.stringify(seen);
    </script></body>"""
    page = tmp_path / "probed.html"
    page.write_text(render(*drawn).replace("</body>", probe), "utf-8")
    for width in (1280, 500):
        done = browse(
            page, tmp_path / f"profile{width}", f"--window-size={width},900", "--dump-dom"
        )
        assert "CONSOLE" not in done.stderr, done.stderr
        seen = re.search(r'data-seen="([^"]+)"', done.stdout)
        assert seen, done.stderr
        assert seen[1].replace("&quot;", '"') == (
            '{"down":true,"up":true,"sections":"false,true","wide":false}'
        )
