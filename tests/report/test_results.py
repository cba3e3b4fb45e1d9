"""Reading a sweep and its tables, against numbers computed from the made-up files."""

import shutil

import numpy as np
import pandas as pd
import pytest

from untrac_exp.report import result_files as files
from untrac_exp.report.collect import collect, variants
from untrac_exp.report.results import SUMMARY


def edit_metrics(outdir, **changes):
    metrics = files.read_metrics(outdir)
    files.write_metrics(outdir, {**metrics, **changes})


def test_summary_is_mean_and_std_over_seeds(sweep_dir):
    summary = collect(sweep_dir).summary
    pooled = ["pearson_pooled_mean", "pearson_pooled_std"]
    assert list(summary.columns) == [*SUMMARY, *pooled, "label"]
    testsets = ["toxicity", "bias", "truthfulness"]
    keys = [(m, t) for m in ("graddot", "untrac", "untrac_inv") for t in testsets]
    assert list(zip(summary["method"], summary["testset"], strict=True)) == keys
    jobs = [files.read_metrics(sweep_dir / "untrac_inv" / f"seed{k}") for k in range(2)]
    row = summary.set_index(["method", "testset"]).loc[("untrac_inv", "bias")]
    for name in ("pearson", "spearman"):
        a, b = (job["agreement"]["bias"][name] for job in jobs)
        assert row[f"{name}_mean"] == pytest.approx((a + b) / 2)
        assert row[f"{name}_std"] == pytest.approx(abs(a - b) / 2**0.5)
    r = row["ceiling"]
    assert r == jobs[0]["ceiling"]["bias"]
    assert row["attainable"] == pytest.approx((2 * r / (1 + r)) ** 0.5)
    assert row["relative"] == pytest.approx(row["pearson_mean"] / row["attainable"])
    assert row["wall_s"] == pytest.approx(np.mean([job["cost"]["wall_s"] for job in jobs]))
    assert row["n_seeds"] == 2
    assert row["varied"] == "2 seeds"


def test_runs_of_another_train_seed_are_repetitions_and_no_variant(sweep_dir, made_up):
    """A run of θ0 with another train seed is as one more seed."""
    truth = (sweep_dir / "untrac" / "seed0" / "truth.csv").read_bytes()
    other = made_up(overrides={"train_seed": "1"}, train_seed=1)
    for outdir in other.glob("*/*/seed*"):
        (outdir / "truth.csv").write_bytes(truth)
        edit_metrics(outdir)
        shutil.copytree(outdir, sweep_dir / outdir.relative_to(other))
    sweep = collect(sweep_dir)
    assert {job["label"] for job in sweep.metrics} == {"graddot", "untrac", "untrac_inv"}
    assert set(sweep.agreement["variant"]) == {""}
    assert not any("different truths" in warning for warning in sweep.warnings)
    row = sweep.summary.set_index(["method", "testset"]).loc[("untrac_inv", "bias")]
    paths = sweep_dir.glob("untrac_inv/**/metrics.json")
    found = [files.read_metrics(path.parent)["agreement"]["bias"]["pearson"] for path in paths]
    assert row["n_seeds"] == len(found) == 4
    assert row["varied"] == "2 seeds × 2 train seeds"
    assert row["pearson_mean"] == pytest.approx(np.mean(found))
    assert row["pearson_std"] == pytest.approx(np.std(found, ddof=1))


def test_the_agreement_of_a_job_for_sweepers_is_its_share_of_the_attainable(sweep_dir, made_up):
    outdir = sweep_dir / "untrac" / "seed1"
    metrics = files.read_metrics(outdir)
    shares = [
        values["pearson"] / metrics["attainable"][testset]
        for testset, values in metrics["agreement"].items()
    ]
    assert collect(outdir).relative == pytest.approx(np.mean(shares))
    edit_metrics(outdir, attainable={**metrics["attainable"], "bias": None})
    assert collect(outdir).relative is None
    assert collect(made_up(train_seeds=0)).relative is None


def test_an_undefined_seed_is_not_averaged_away(sweep_dir):
    outdir = sweep_dir / "untrac" / "seed1"
    agreement = files.read_metrics(outdir)["agreement"]
    agreement["bias"]["pearson"] = None
    edit_metrics(outdir, agreement=agreement, warnings=["bias: correlation undefined"])
    sweep = collect(sweep_dir)
    mean = sweep.summary.set_index(["method", "testset"])["pearson_mean"]
    assert np.isnan(mean["untrac", "bias"])
    assert mean["untrac", "toxicity"] > 0.9
    assert "untrac, seed 1: bias: correlation undefined" in sweep.warnings


def test_what_all_jobs_warn_of_is_said_once(sweep_dir):
    for outdir in sweep_dir.glob("*/seed*"):
        edit_metrics(outdir, warnings=["the truth is noisy", f"own {outdir.parent.name}"])
    assert collect(sweep_dir).warnings[:2] == ["the truth is noisy", "graddot, seed 0: own graddot"]
    assert collect(sweep_dir).warnings.count("the truth is noisy") == 1


def test_without_a_truth_there_are_influences_and_no_agreement(made_up):
    sweep = collect(made_up(train_seeds=0))
    assert not sweep.has_truth
    summary = sweep.summary
    assert len(summary) == 9
    assert summary[["pearson_mean", "ceiling", "attainable", "relative"]].isna().all(axis=None)
    assert set(sweep.influences["label"]) == {"untrac", "untrac_inv", "graddot"}


def test_unfinished_damaged_and_changed_jobs_are_left_out_and_named(sweep_dir):
    (sweep_dir / "untrac" / "seed0" / "metrics.json").unlink()
    (sweep_dir / "graddot" / "seed0" / "scores.csv").write_text("corpus,tests")
    (sweep_dir / "graddot" / "seed1" / "metrics.json").write_text('{"method": ')
    table = sweep_dir / "untrac" / "seed1" / "scores.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    (sweep_dir / "untrac_inv" / "seed1" / "truth.csv").unlink()
    sweep = collect(sweep_dir)
    assert [(job["method"], job["seed"]) for job in sweep.metrics] == [("untrac_inv", 0)]
    for name in ("untrac/seed0", "graddot/seed0", "graddot/seed1",
                 "untrac/seed1: scores.csv is missing or not the job's",
                 "untrac_inv/seed1: truth.csv is missing or not the job's"):  # fmt: skip
        assert any(name in warning for warning in sweep.warnings)


def test_jobs_with_different_truths_are_reported(sweep_dir):
    path = sweep_dir / "graddot" / "seed0" / "truth.csv"
    truth = files.read_table(path, files.TRUTH)
    files.write(path.parent, "truth", truth.assign(influence=truth["influence"] + 1))
    edit_metrics(path.parent)
    assert any("different truths" in warning for warning in collect(sweep_dir).warnings)


def test_variants_have_labels_and_truths_of_their_own(sweep_dir, made_up):
    assert set(collect(sweep_dir).truth["label"]) == {"truth"}
    # The same corpora under a variant: one truth. Other numbers: one truth each.
    root = made_up(methods={"untrac": 0.1}, overrides={"optimizer": "sgd"})
    sweep = collect(root)
    # an override that all jobs share sets none apart
    assert {job["label"] for job in sweep.metrics} == {"untrac"}
    assert set(sweep.truth["label"]) == {"truth"}
    assert set(sweep.summary["variant"]) == {""}
    made_up(methods={"untrac": 0.1}, overrides={"corpora": "unequal"}, corpora=["x", "y", "z"])
    sweep = collect(root)
    names = ["corpora=unequal", "optimizer=sgd"]
    labels = [*dict.fromkeys(job["label"] for job in sweep.metrics)]
    assert labels == [f"untrac · {name}" for name in names]
    assert set(sweep.truth["label"]) == {f"truth · {name}" for name in names}
    assert list(sweep.summary["variant"].unique()) == names


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (
            [{"model.size": "2", "optimizer": "sgd"}, {"model.size": "2", "optimizer": "adam"},
             {"model.size": "2"}],
            ["optimizer=sgd", "optimizer=adam", ""],
        ),
        ([{"a.lr": "1", "b.lr": "2"}, {"a.lr": "2", "b.lr": "2"}], ["lr=1", "lr=2"]),
        ([{"a.lr": "1", "b.lr": "2"}, {"a.lr": "2"}], ["a.lr=1,b.lr=2", "a.lr=2"]),
        ([{"x.data": "[a, b]"}, {}], ["data=[a, b]", ""]),
        ([{"seed": "1", "train_seed": "0"}, {"seed": "2", "train_seed": "1"}], ["", ""]),
        ([{"alone": "1"}], [""]),
    ],
)  # fmt: skip
def test_a_variant_is_the_overrides_that_differ_with_short_keys(overrides, names):
    assert variants(overrides) == names


def test_variants_come_in_the_order_of_their_numbers(sweep_dir):
    found = sorted(sweep_dir.glob("untrac/seed*"))
    for outdir, rate in zip(found, ("0.0005", "5e-06"), strict=True):
        edit_metrics(outdir, overrides={"optimizer.lr": rate}, seed=0)
    labels = [label for label in collect(sweep_dir).summary["label"].unique() if "lr=" in label]
    assert [label.split("=")[-1] for label in labels] == ["5e-06", "0.0005"]


def test_without_a_truth_a_ranking_has_the_intervals_and_leads_of_its_file(made_up):
    root = made_up(methods={"untrac": 0.1, "ngram": 0.1}, seeds=1, train_seeds=0,
                   testsets={"bias": 2})  # fmt: skip
    corpora = collect(root).corpora("bias")
    for method, order in (("untrac", corpora), ("ngram", corpora[::-1])):
        outdir = root / method / "seed0"
        scores = pd.read_csv(outdir / "scores.csv")
        lead = pd.DataFrame(
            {"corpus": order, "testset": "bias", "rank": range(1, 9), "ci_low": 0.25,
             "ci_high": 0.75, "lead": 0.5, "lead_low": [0.1, *[-0.1] * 6, np.nan], "behind": 0}
        )  # fmt: skip
        means = scores.groupby("corpus")["influence"].mean()
        files.write(outdir, "ranking", lead.assign(influence=means[order].to_numpy()))
    sweep = collect(root)
    rows = sweep.rankings["bias"].set_index(["label", "corpus"]).loc["untrac"]
    assert set(rows["ci_low"]) == {0.25}
    assert rows.loc[corpora[0], "lead_low"] == 0.1


def test_ranking_follows_the_truth_and_means_are_over_subsets_and_seeds(sweep_dir):
    sweep = collect(sweep_dir)
    table = sweep.rankings["bias"]
    truth = table[table["label"] == "truth"]
    assert truth["rank"].tolist() == list(range(1, 9))
    assert truth["influence"].is_monotonic_decreasing
    raw = pd.concat(pd.read_csv(p) for p in sweep_dir.glob("untrac/seed*/scores.csv"))
    raw = raw[(raw["testset"] == "bias") & (raw["corpus"] == "news")]
    ours = table.set_index(["label", "corpus"]).loc[("untrac", "news")]
    for name in ("influence", "ci_low", "ci_high"):
        assert ours[name] == pytest.approx(raw[name].mean())
