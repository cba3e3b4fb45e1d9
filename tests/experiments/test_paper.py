"""The paper's tables and figures, drawn from made-up outputs: their layout, formats and READMEs."""

import importlib
import re
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from experiments import published, tables
from experiments.gpu_check.check import matrix_rate, measure
from experiments.published import marks
from experiments.readme import tables as pages
from tests.claims import numbers, reported
from tests.conftest import opt
from tests.report.test_figures import check_layout, shown_texts
from untrac_exp.report.collect import collect
from untrac_exp.report.style import figure_style
from untrac_exp.stages.trainer import TrainerSettings

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
TABLES = sorted(path.parent.name for path in EXPERIMENTS.glob("*/table.py"))
FIGURES = ["figure2", "figure3", "figure4", "cost", "objectives", "scaling"]
KEYS = {
    "table2": ["tasks", "method"],
    "table3": ["sizes", "method", "testset"],
    "table4": ["factor", "value", "method"],
    "table5": ["sizes", "method", "testset"],
}
SPOT_CHECKS = [  # name, number of rows, a row, its numbers
    ("table2", 16, "tasks == 'B' and method == 'untrac_inv'",
     {"SimSame": 1.056, "DisDiff": -1.245}),
    ("table3", 42, "sizes == 'unequal' and method == 'hif_lissa' and testset == 'winobias'",
     {"pearson_mean": -0.092, "pearson_std": 0.042}),
    ("table4", 20, "factor == 'lr' and value == '1e-4' and method == 'untrac_inv'",
     {"pearson_mean": 0.137, "pearson_std": 0.019}),
    ("table5", 42, "sizes == 'equal' and method == 'untrac' and testset == 'winobias'",
     {"spearman_mean": 0.814, "spearman_std": 0.060}),
]  # fmt: skip


def module(name: str):
    kind = "table" if name.startswith("table") else "figure"
    return importlib.import_module(f"experiments.{name}.{kind}")


def place(outputs: Path, name: str) -> published.Place:
    return published.Place(outputs, "mini", EXPERIMENTS / name)


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"value": str})


@pytest.mark.parametrize("name", TABLES)
def test_ours_has_the_rows_and_columns_of_the_published_table(name, outputs):
    text = module(name).publish(place(outputs, name))
    theirs = read(EXPERIMENTS / name / "published.csv")
    ours = read(outputs / "paper" / "mini" / f"{name}.csv")
    assert list(ours.columns) == list(theirs.columns)
    pd.testing.assert_frame_equal(ours[KEYS[name]], theirs[KEYS[name]])
    assert not ours[theirs.columns[len(KEYS[name])]].isna().any()
    tables = [part for part in text.split("\n\n") if part.startswith("|")]
    rows = [[line.split("|")[1] for line in table.splitlines()] for table in tables]
    assert len(rows) == 2
    assert rows[1][: len(rows[0])] == rows[0]
    latex = (outputs / "paper" / "mini" / f"{name}.tex").read_text()
    assert latex.count(r"\\") >= len(rows[0]) - 1
    assert "toprule" in latex
    assert (outputs / "paper" / "mini" / f"{name}.md").read_text().count("\n|") == len(rows[1])


@pytest.mark.parametrize(("name", "rows", "where", "numbers"), SPOT_CHECKS)
def test_the_published_numbers_are_the_papers(name, rows, where, numbers):
    table = read(EXPERIMENTS / name / "published.csv")
    [chosen] = table.query(where)[list(numbers)].to_dict("records")
    assert chosen == numbers
    assert len(table) == rows


def test_the_standardisation_is_that_of_the_published_rows(outputs):
    module("table2").publish(place(outputs, "table2"))
    for path in (outputs / "paper" / "mini" / "table2.csv", EXPERIMENTS / "table2/published.csv"):
        numbers = pd.read_csv(path).iloc[:, 2:].to_numpy()
        np.testing.assert_allclose(numbers.sum(axis=1), 0, atol=2e-3)
        np.testing.assert_allclose((numbers**2).sum(axis=1), 4, atol=2e-2)


def test_table_3_holds_the_numbers_of_the_summary(outputs):
    module("table3").publish(place(outputs, "table3"))
    ours = read(outputs / "paper" / "mini" / "table3.csv").set_index(KEYS["table3"])
    summary = pd.read_csv(outputs / "harms" / "mini" / "summary.csv").set_index(
        ["method", "testset"]
    )
    expected = summary.loc[("tracin", "bias"), "pearson_mean"]
    assert ours.loc[("equal", "tracin", "winobias"), "pearson_mean"] == expected


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_embedded_fonts_and_no_label_is_cut(name, outputs, monkeypatch):
    drawn = []
    save = module(name).save
    monkeypatch.setattr(module(name), "save", lambda *args: drawn.append(args[1]) or save(*args))
    with figure_style():
        assert "| --- |" in module(name).publish(place(outputs, name))
        (figure,) = drawn
        check_layout(figure)
    assert not [text for text in shown_texts(figure) if "$" in text.get_text()]
    pdf = (outputs / "paper" / "mini" / f"{name}.pdf").read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert (outputs / "paper" / "mini" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_figure_3_starts_after_the_first_step_and_tells_batches_apart(outputs):
    table = module("figure3").curves(place(outputs, "figure3"))
    assert set(table["batch"]) == {"1", "256"}
    untrac = table[table["method"] == "untrac"]
    # 20 steps: of one among a hundred sequences, or of all hundred of them.
    assert untrac[untrac["batch"] == "1"]["epochs"].min() == pytest.approx(0.2)
    assert untrac[untrac["batch"] == "256"]["epochs"].min() == 20


def test_the_cost_of_a_truth_is_that_of_its_models(outputs):
    here = place(outputs, "scaling")
    jobs = collect(outputs / "scaling_corpora" / "mini").metrics
    of_three = next(job for job in jobs if job["variant"].endswith("hash3"))
    assert published.truth_cost(here, of_three) == {
        "wall_s": 40.0, "forward_tokens": 4000, "backward_tokens": 4000,
    }  # fmt: skip
    both_seeds = collect(outputs / "harms" / "mini").metrics[0]
    assert published.truth_cost(here, both_seeds)["wall_s"] == 2 * 9 * 8.0
    assert published.truth_cost(here, both_seeds, seeds=1)["wall_s"] == 9 * 8.0
    assert published.truth_cost(here, {**of_three, "theta0": None}) == {}
    assert published.truth_cost(here, {**of_three, "theta0": "store/model/gone"}) == {}


def test_scaling_counts_corpora_layers_and_passes(outputs):
    here = place(outputs, "scaling")
    table = module("scaling").points(here, "scaling_corpora")
    truth = table[table["way"] == "leave_dataset_out"].set_index("x")
    assert truth["wall_s"].to_dict() == {3: 40.0, 5: 60.0, 8: 90.0}
    assert truth["passes"].to_dict() == {3: 12000, 5: 18000, 8: 27000}
    table = module("scaling").points(here, "scaling_model")
    truth = table[table["way"] == "leave_dataset_out"].set_index("x")
    assert truth["wall_s"].to_dict() == {1: 45.0, 2: 90.0, 4: 180.0, 8: 360.0}
    text = module("scaling").publish(here)
    assert "8 corpora against 3: UnTrac " in text
    assert "Leave-dataset-out 2.25 times as many." in text  # 27000 / 12000
    assert "8 layers of the model against 1: UnTrac " in text


def test_differences_name_sign_order_and_leader():
    theirs = pd.DataFrame({"set": "t", "method": ["untrac", "tracin", "mine"], "r": [0.4, 0.2, -1]})
    ours = theirs.assign(r=[0.1, 0.3, 0.05])
    said = tables.differences(theirs, ours, ["set"], "method", "r")
    assert said == (
        "- t: 1 of 3 pairs in the other order; first is UnTrac in the paper, TracIn here; "
        "other sign for mine."
    )
    with pytest.raises(ValueError, match="rows and the published ones differ"):
        tables.differences(theirs, ours.iloc[:2], ["set"], "method", "r")


@pytest.mark.parametrize("name", [*TABLES, *FIGURES])
def test_the_result_that_a_readme_tells_is_that_of_its_numbers(name):
    text = (EXPERIMENTS / name / "README.md").read_text()
    told = text.split("**Result here.**")[1].split("\n\n")[0]
    assert numbers(told)
    assert numbers(told) - numbers(reported(text)) == set()


@pytest.mark.parametrize("name", [*TABLES, *FIGURES])
def test_without_outputs_one_line_names_the_command(name, tmp_path, capsys):
    script = str(EXPERIMENTS / name / "x.py")
    assert published.run(script, module(name).publish, ["--outputs", str(tmp_path)]) == 1
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert "python -m untrac_exp +experiment=" in error


# ----------------------------- The tables of methods in README.md and docs/, from made-up outputs
BEGIN, END = marks("harms")


@pytest.fixture
def root(tmp_path):
    """A repository with a page for the table of harms, and measured peaks."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("# nothing to fill\n")
    (tmp_path / "docs" / "results.md").write_text(f"before\n{BEGIN}\nwas here\n{END}\nafter\n")
    peaks = tmp_path / pages.PEAKS
    peaks.parent.mkdir(parents=True)
    peaks.write_text("stage,mib\npretraining,200\ntracin,250\n")
    return tmp_path


def cells(text):
    """First cell of a row -> its others."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {row[0]: [cell.strip(" |") for cell in row[1:]] for row in rows}


def test_the_page_with_the_marks_is_filled_with_the_sweeps_own_numbers(outputs, root, capsys):
    assert pages.main(["harms", "--outputs", str(outputs), "--readme"], root) == 0
    page = (root / "docs" / "results.md").read_text()
    assert page.startswith("before\n")
    assert page.endswith("\nafter\n")
    assert "was here" not in page
    assert capsys.readouterr().out.split("\nwrote")[0].strip() in page
    found = cells(page)
    summary = pd.read_csv(outputs / "harms" / "mini" / "summary.csv")
    for row in summary.to_dict("records"):
        column = ["toxicity", "bias", "truthfulness"].index(row["testset"])
        pearson, spearman = found[f"`{row['method']}`"][column].replace("−", "-").split(" / ")
        assert float(pearson.split(" ± ")[0]) == pytest.approx(row["pearson_mean"], abs=0.0051)
        assert float(spearman.split(" ± ")[0]) == pytest.approx(row["spearman_mean"], abs=0.0051)
    means = [
        sum(float(one.split(" ")[0].replace("−", "-")) for one in found[name][:3])
        for name in found
        if name.startswith("`")
    ]
    assert means == pytest.approx(sorted(means, reverse=True), abs=0.03)  # rounded
    assert found["`tracin`"][-1] == "1.25"
    commit = collect(outputs / "harms" / "mini").metrics[0]["git_commit"]
    assert f"Run at {commit[:7]}" in page


def test_what_is_missing_is_named_in_one_line(outputs, root, tmp_path, capsys):
    assert pages.main(["harms", "--outputs", str(tmp_path / "none")], root) == 1
    assert "+experiment=harms" in capsys.readouterr().err
    (root / "docs" / "results.md").write_text("no marks\n")
    assert pages.main(["harms", "--outputs", str(outputs), "--readme"], root) == 1
    assert BEGIN in capsys.readouterr().err


@pytest.mark.parametrize("name", pages.NAMES)
def test_the_repository_has_a_place_for_every_table(name):
    begin, end = marks(name)
    text = pages.page_of(name).read_text()
    assert text.index(begin) < text.index(end)


# ----------------------------------- What `make gpu-check` measures, on the CPU with a tiny model
def test_every_stage_is_measured():
    trainer = TrainerSettings("cpu", max_tokens=64)
    tiny = partial(opt, vocab_size=64, hidden=16, max_position_embeddings=32)
    lines = measure(tiny, trainer, width=16, steps=3, batch=8)
    assert [line.split(",")[0] for line in lines] == ["pretraining", "untrac", "untrac_inv"]
    for line in lines:
        assert re.search(r"32-true: -?[\d.]+ ms a step, .* of float32, .* of bfloat16", line)


def test_the_rate_is_that_of_a_product_of_matrices(monkeypatch):
    monkeypatch.setattr("time.perf_counter", count().__next__)  # a product takes a second
    assert matrix_rate(torch.device("cpu"), torch.float32, size=8) == 2 * 8**3
