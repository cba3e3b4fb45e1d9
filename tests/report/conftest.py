"""A made-up sweep: the right files with random numbers, to test how they are reported."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from untrac_exp.report import result_files as files
from untrac_exp.report.collect import collect
from untrac_exp.report.figures import draw_all
from untrac_exp.statistics.agreement import agreement, ceilings, truth_mean

CORPORA = ["books", "stories", "news", "gutenberg", "hackernews", "webtext", "crawl", "wiki"]
TESTSETS = {"toxicity": 13, "bias": 4, "truthfulness": 9}
STATISTICS = ("pearson", "spearman", "pearson_pooled")
NOISE = {"untrac": 0.1, "untrac_inv": 0.3, "graddot": 0.9}


def fabricate(
    root: Path,
    methods: dict[str, float] | None = None,
    corpora: list[str] | None = None,
    testsets: dict[str, int] | None = None,
    seeds: int = 2,
    train_seeds: int = 2,
    overrides: dict[str, str] | None = None,
    train_seed: int = 0,
    config: dict | None = None,
) -> Path:
    """Write the files of a sweep with invented numbers; train_seeds=0 leaves out the truth."""
    rng = np.random.default_rng(train_seed)
    corpora, testsets = corpora or CORPORA, testsets or TESTSETS
    cells = [(c, t, f"group {i}") for c in corpora for t, n in testsets.items() for i in range(n)]
    index = pd.DataFrame(cells, columns=["corpus", "testset", "subset"])
    signal = rng.normal(0.2, 0.3, (len(corpora), 1, len(testsets)))
    columns = [
        np.repeat(signal[:, :, i], n, axis=1) + rng.normal(0, 0.1, (len(corpora), n))
        for i, n in enumerate(testsets.values())
    ]
    true = np.concatenate(columns, axis=1).ravel()
    truths = [
        index.assign(train_seed=k, influence=true + rng.normal(0, 0.04, len(true)))
        for k in range(train_seeds)
    ]
    truth = pd.concat(truths or [pd.DataFrame(columns=[*files.TRUTH])])
    undefined = dict.fromkeys(STATISTICS, None)
    shared = {
        "experiment": "fabricated", "overrides": overrides or {}, "train_seed": train_seed,
        "scale": "mini", "fingerprint": "0123456789abcdef", "warnings": [],
        "versions": {"python": "3.11", "torch": "2.13"}, "git_commit": "0" * 40,
        "finished": "2026-01-01T00:00:00+0000", **ceilings(truth),
        "agreement": {t: {**undefined, "n_corpora": len(corpora)} for t in testsets},
    }  # fmt: skip
    named = ",".join(f"{key}={value}" for key, value in (overrides or {}).items())
    for position, (method, noise) in enumerate((methods or NOISE).items()):
        for seed in range(seeds):
            influence = true + rng.normal(0, noise, len(true))
            scores = index.assign(influence=influence, ci_low=np.nan, ci_high=np.nan)
            outdir = root / method / named.replace("/", "_") / f"seed{seed}"
            if method.startswith("untrac"):
                scores = scores.assign(ci_low=influence - 0.05, ci_high=influence + 0.06)
                write_curves(outdir, scores, method)
            files.write(outdir, "scores", scores)
            cost = {
                "wall_s": 4.0 * 3**position + seed, "forward_tokens": 1_000_000 * (position + 1),
                "backward_tokens": 100_000 * 5**position, "peak_rss_bytes": 700_000_000,
                "peak_device_bytes": None,
            }  # fmt: skip
            own = {"method": {"lr": 2e-4, "steps": 200}, "seed": seed} | (config or {})
            metrics = {**shared, "method": method, "seed": seed, "cost": cost, "config": own}
            if train_seeds:
                files.write(outdir, "truth", truth)
                metrics["agreement"] = agreement(scores, truth_mean(truth))
            files.write_metrics(outdir, metrics)
    return root


def write_curves(outdir: Path, scores: pd.DataFrame, method: str) -> None:
    """Write the trajectory of unlearning and the loss of what is unlearned."""
    steps = [0, 20, 50, 100, 150, 200] if method == "untrac" else [0, 1, 2, 3, 5]
    index = scores[["corpus", "testset", "subset"]]
    curves = [
        index.assign(step=s, influence=scores["influence"] * (s / steps[-1]) ** 1.5) for s in steps
    ]
    files.write(outdir, "trajectory", pd.concat(curves))
    losses = [(c, s, 3 + s / 100) for c in scores["corpus"].unique() for s in steps]
    files.write(outdir, "own_loss", pd.DataFrame(losses, columns=["unlearned", "step", "loss"]))


@pytest.fixture
def sweep_dir(tmp_path: Path) -> Path:
    return fabricate(tmp_path / "outputs" / "fabricated" / "mini")


@pytest.fixture
def made_up(tmp_path: Path):
    """As ``sweep_dir``, with a say in what is made up; repeated calls add to one sweep."""

    def make(**wanted) -> Path:
        return fabricate(tmp_path / "outputs" / "made_up" / "mini", **wanted)

    return make


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """A small sweep with awkward names and its drawings, to look at and leave as they are."""
    sweep = collect(
        fabricate(
            tmp_path_factory.mktemp("drawn"),
            methods={"untrac": 0.1, "graddot": 0.8},
            corpora=["a$b$_{", "_hidden", "<script>alert(1)</script>", "日本語"],
            testsets={"a/b: c": 2, "a b c": 1},
        )
    )
    return sweep, draw_all(sweep, sweep.directory / "figures")
