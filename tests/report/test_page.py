"""The page: right answers first, names harmless, nothing fetched."""

import re
from dataclasses import replace
from html import unescape

from untrac_exp.report import result_files as files
from untrac_exp.report.collect import collect
from untrac_exp.report.page import ranking_columns, render, settings


def text_of(page: str) -> str:
    """What a reader sees, without scripts, styles and tags."""
    shown = re.sub("<(script|style).*?</\\1>", "", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub("<[^>]*>", "", shown)).split())


def test_the_answer_names_what_the_truth_and_the_methods_put_first(sweep_dir):
    sweep = collect(sweep_dir)
    table = sweep.rankings["bias"].query("rank == 1").set_index("label")["corpus"]
    columns = ranking_columns(sweep, "bias")
    assert {column["label"]: column["first"] for column in columns} == {
        label: [corpus] for label, corpus in table.items()
    }
    assert columns[0]["is_truth"]
    text = text_of(render(sweep, []))
    for label in ("graddot", "untrac", "untrac_inv"):
        assert f"{label} ranks {table[label]} first" in text


def test_without_a_truth_the_page_says_so(made_up):
    text = text_of(render(collect(made_up(train_seeds=0)), []))
    assert "no ground truth" in text
    assert "Agreement with the truth" not in text


def test_names_are_text_and_warnings_are_prominent(drawn):
    sweep, found = drawn
    warning = "</li><script>alert('warning')</script>"
    page = render(replace(sweep, warnings=[warning]), found)
    assert page.count("<script") == 1
    text = text_of(page)
    assert "<script>alert(1)</script>" in text
    assert warning in text
    assert text.index("1 warning") < text.index("Influence of each corpus")


def test_the_page_needs_no_network_and_is_small(drawn):
    page = render(*drawn)
    assert len(page) < 5_000_000
    for link in re.findall(r'(?:src|href|action|srcset|data)="([^"]*)"', page):
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
