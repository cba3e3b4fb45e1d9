"""The tables of methods in README.md and docs/, from made-up outputs."""

import pandas as pd
import pytest

from experiments.published import marks
from experiments.readme import tables
from untrac_exp.report.collect import collect

BEGIN, END = marks("harms")


@pytest.fixture
def root(tmp_path):
    """A repository with a page for the table of harms, and measured peaks."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("# nothing to fill\n")
    (tmp_path / "docs" / "results.md").write_text(f"before\n{BEGIN}\nwas here\n{END}\nafter\n")
    peaks = tmp_path / tables.PEAKS
    peaks.parent.mkdir(parents=True)
    peaks.write_text("stage,mib\npretraining,200\ntracin,250\n")
    return tmp_path


def cells(text):
    """First cell of a row -> its others."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {row[0]: [cell.strip(" |") for cell in row[1:]] for row in rows}


def test_the_page_with_the_marks_is_filled_with_the_sweeps_own_numbers(outputs, root, capsys):
    assert tables.main(["harms", "--outputs", str(outputs), "--readme"], root) == 0
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
    assert tables.main(["harms", "--outputs", str(tmp_path / "none")], root) == 1
    assert "+experiment=harms" in capsys.readouterr().err
    (root / "docs" / "results.md").write_text("no marks\n")
    assert tables.main(["harms", "--outputs", str(outputs), "--readme"], root) == 1
    assert BEGIN in capsys.readouterr().err


@pytest.mark.parametrize("name", tables.NAMES)
def test_the_repository_has_a_place_for_every_table(name):
    begin, end = marks(name)
    text = tables.page_of(name).read_text()
    assert text.index(begin) < text.index(end)
