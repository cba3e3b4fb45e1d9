"""The leaderboard, from made-up outputs."""

import numpy as np
import pandas as pd
import pytest

from experiments.leaderboard import board
from experiments.published import Place
from tests.report.conftest import fabricate
from untrac_exp.report.collect import collect
from untrac_exp.report.sweep import write_summary


@pytest.fixture
def sweep(tmp_path):
    directory = tmp_path / "natural" / "mini"
    fabricate(
        directory, methods={"untrac": 0.1, "graddot": 0.9}, corpora=list("abcdef"),
        testsets={"toxicity": 2, "bias": 1}, seeds=1, train_seeds=2,
    )  # fmt: skip
    write_summary(collect(directory))
    return collect(directory)


def test_an_entry_is_the_mean_share_of_the_attainable_agreement(sweep):
    found = board.entries(sweep)
    table = sweep.agreement
    for method, entry in found.items():
        of = table[table["method"] == method]
        assert entry.share == pytest.approx((of["pearson"] / of["attainable_pearson"]).mean())
        assert entry.low <= entry.share <= entry.high + 1e-9


def test_the_weighted_correlation_is_numpys_of_repeated_corpora():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 5))
    counts = np.array([1, 2, 0, 1, 1])
    ours = board._correlations(x, y, counts[None] / 5)
    assert ours[0] == pytest.approx(np.corrcoef(np.repeat(x, counts), np.repeat(y, counts))[0, 1])


def test_all_corpora_once_is_the_agreement_itself(sweep, monkeypatch):
    """With the weights of no resampling, the interval's middle is the entry."""

    class Once:
        def multinomial(self, n, p, size):
            return np.ones((size, n), int)

    monkeypatch.setattr(np.random, "default_rng", lambda seed: Once())
    draws = board.resampled(sweep)
    for method, of in sweep.agreement.groupby("method"):
        assert draws[method][0] == pytest.approx((of["pearson"] / of["attainable_pearson"]).mean())


def test_the_board_orders_methods_by_the_headline_and_names_what_was_not_run(sweep, tmp_path):
    text = board.publish(Place(tmp_path, "mini", tmp_path / "leaderboard"))
    rows = [line.split(" | ")[0].strip("| `") for line in text.splitlines() if "| `" in line]
    found = board.entries(sweep)
    assert rows == sorted(found, key=lambda method: -found[method].share)
    assert "`+experiment=natural_subsets`" in text
    assert (tmp_path / "paper" / "mini" / "leaderboard.png").stat().st_size > 10_000
    written = pd.read_csv(tmp_path / "paper" / "mini" / "leaderboard.csv")
    assert list(written["method"].str.strip("`")) == rows


def test_the_picture_of_a_page_has_the_numbers_of_its_table(tmp_path):
    page = tmp_path / "results.md"
    page.write_text(
        "<!-- leaderboard: begin -->\n\n| method | natural | tasks B | seconds |\n"
        "| --- | --- | --- | --- |\n| `a` | 0.84 * (0.51 to 0.85) |  | 9 |\n"
        "| `b` | – | −0.59 (−0.90 to 0.17) |  |\n| `c` | 0.40 | 0.5 |  |\n\n"
        "<!-- leaderboard: end -->\n| no | row |\n"
    )
    boards, methods = board.written(page)
    assert methods == ["a", "b", "c"]
    numbers = {
        (name, method): (entry.share, entry.low, entry.high)
        for name, of in boards.items() for method, entry in of.items()
    }  # fmt: skip
    nan = pytest.approx(np.nan, nan_ok=True)
    assert numbers == {
        ("natural", "a"): (0.84, 0.51, 0.85), ("natural", "c"): (0.40, nan, nan),
        ("tasks B", "b"): (-0.59, -0.90, 0.17), ("tasks B", "c"): (0.5, nan, nan),
    }  # fmt: skip
    first, second = board.draw(boards, methods).axes
    points = [line.get_data() for line in first.lines if line.get_marker() == "o"]
    assert [(x[0], y[0]) for x, y in points] == [(0.84, 0), (0.40, 2)]
    assert second.get_title(loc="left") == "tasks B"


def test_nothing_to_read_is_one_line(tmp_path, capsys):
    assert board.main(["--outputs", str(tmp_path)]) == 1
    assert "make leaderboard" in capsys.readouterr().err
