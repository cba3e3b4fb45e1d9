"""The results of a sweep, read once: what terminal, page, figures and W&B show."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from untrac_exp.report.result_files import TRUTH
from untrac_exp.statistics.agreement import INTERVAL, LEAST, STATISTICS, noise_key

JOB = ["method", "variant", "train_seed", "seed"]
COSTS = ("wall_s", "forward_tokens", "backward_tokens", "peak_rss_bytes", "peak_device_bytes")
KINDS = ("ceiling", "attainable")
SUMMARY = ["method", "variant", "testset", "pearson_mean", "pearson_std", "pearson_low"]
SUMMARY += ["pearson_high", "pearson_least", "spearman_mean", "spearman_std", "ceiling"]
SUMMARY += ["attainable", "relative", "wall_s", "backward_tokens", "n_seeds", "varied"]


@dataclass(frozen=True)
class Sweep:
    """All finished jobs below one directory.

    A job is one run of a method. Its label is the method, with the overrides that set it apart
    from the method's other jobs (`variant`); jobs of a label differ in their seeds. Jobs and labels
    are sorted by method and variant (numbers by value), then by train_seed (of θ0) and seed.

    Attributes:
        directory: of the sweep, or of a single job.
        metrics: ``metrics.json`` of each job, with its variant, label and name (label and seeds).
        tables: each of `result_files.TABLES` for all jobs: the file's columns, job (its index in
            `metrics`), label and `JOB`.
        warnings: of the jobs and of the files.
    """

    directory: Path
    metrics: list[dict[str, Any]]
    tables: Mapping[str, pd.DataFrame]
    warnings: list[str] = field(default_factory=list)

    @property
    def experiment(self) -> str:
        """Name of the experiment, for headings."""
        return str(self.metrics[0].get("experiment") or self.directory.parent.name)

    @property
    def scale(self) -> str:
        """Scale preset, for headings."""
        return str(self.metrics[0].get("scale") or self.directory.name)

    @property
    def over(self) -> str:
        """What the correlations are computed over, such as "corpora"."""
        return " or ".join(dict.fromkeys(job.get("over") or "corpora" for job in self.metrics))

    @property
    def invented(self) -> str | None:
        """A notice that the corpora are generated text; None if they are real."""
        if not any(job.get("generated") for job in self.metrics):
            return None
        return (
            "Corpora and test sets are invented text: a corpus named after a site or a book "
            "contains nothing from it."
        )

    @property
    def scores(self) -> pd.DataFrame:
        """Influences of every job: columns of scores.csv, label and `JOB`."""
        return self.tables["scores"]

    @property
    def testsets(self) -> list[str]:
        """Test sets in the order of the jobs' scores."""
        return list(self.scores["testset"].unique())

    @property
    def has_truth(self) -> bool:
        """Whether the jobs were compared with a truth."""
        return len(self.tables["truth"]) > 0

    def theta0_loss(self, testset: str) -> str | None:
        """Say what the loss of θ0 on a test set is, and that of a uniform guess; None if unknown.

        A range if jobs have other models or samples.
        """
        found = [
            of[testset] for job in self.metrics if testset in (of := job.get("theta0_loss") or {})
        ]
        if not found:
            return None
        lowest, highest = (f"{end(of['loss'] for of in found):.2f}" for end in (min, max))
        loss = lowest if lowest == highest else f"{lowest} to {highest}"
        return f"loss of θ0: {loss} nats per token (a uniform guess: {found[0]['uniform']:.2f})"

    @cached_property
    def statistics(self) -> list[str]:
        """Agreement statistics of any job; those of `STATISTICS` first."""
        values = [of or {} for job in self.metrics for of in (job.get("agreement") or {}).values()]
        names = dict.fromkeys([*STATISTICS, *(name for of in values for name in of)])
        return [name for name in names if name not in (*INTERVAL, LEAST, "n_corpora")]

    @cached_property
    def agreement(self) -> pd.DataFrame:
        """One row per job and test set.

        Columns job, `JOB`, label, `COSTS` (NaN if not measured), testset, the statistics,
        pearson_low, pearson_high, pearson_least, n_corpora, and ``ceiling_<statistic>`` and
        ``attainable_<statistic>``.
        """
        noise = {f"{kind}_{name}": (kind, name) for kind in KINDS for name in self.statistics}
        numbers = [*COSTS, *self.statistics, *INTERVAL, LEAST, "n_corpora", *noise]
        rows = [
            {"job": i, "testset": testset}
            | {name: job[name] for name in (*JOB, "label")}
            | job["cost"]
            | ((job.get("agreement") or {}).get(testset) or {})
            | {name: (job.get(noise_key(*key)) or {}).get(testset) for name, key in noise.items()}
            for i, job in enumerate(self.metrics)
            for testset in self.scores.loc[self.scores["job"] == i, "testset"].unique()
        ]
        table = pd.DataFrame(rows, columns=["job", *JOB, "label", "testset", *numbers])
        return table.astype(dict.fromkeys(numbers, "float64"))

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row per method, variant and test set.

        Mean and standard deviation (ddof 1; NaN for one run) are over runs, i.e. sampling seeds and
        train seeds of θ0. If a correlation is undefined for one run, the mean is undefined too:
        dropping the run would bias the mean upwards.

        Columns of ``SUMMARY``, then ``<statistic>_mean`` and ``_std`` of further statistics, and
        the label. pearson_low and pearson_high are means over runs of the interval ends, at least
        as wide as the interval of the mean. ceiling is the correlation of truths of single train
        seeds, attainable the ceiling for their mean, with which methods are compared, and relative
        is pearson_mean / attainable (NaN if that is 0). wall_s and backward_tokens are means over
        runs of a whole job with all its test sets. n_seeds is the number of runs, varied what
        differs between them.
        """
        rows = []
        for (label, testset), runs in self.agreement.groupby(["label", "testset"], sort=False):
            first, values = runs.iloc[0], runs[[*self.statistics, *INTERVAL, LEAST]]
            mean, std = values.mean(skipna=False), values.std(ddof=1, skipna=False)
            row = {
                **first[["method", "variant"]],
                "testset": testset,
                **{f"{name}_mean": mean[name] for name in self.statistics},
                **{f"{name}_std": std[name] for name in self.statistics},
                **mean[[*INTERVAL, LEAST]],
                **{kind: first[f"{kind}_pearson"] for kind in KINDS},
                **runs[["wall_s", "backward_tokens"]].mean(),
            }
            attainable = row["attainable"]
            row["relative"] = row["pearson_mean"] / attainable if attainable > 0 else math.nan
            rows.append(row | {"n_seeds": len(runs), "varied": _varied(runs), "label": label})
        more = [f"{name}_{end}" for name in self.statistics for end in ("mean", "std")]
        columns = dict.fromkeys([*SUMMARY, *more, "label"])
        return pd.DataFrame(rows, columns=list(columns))

    @property
    def relative(self) -> float | None:
        """Pearson's correlation as a share of the attainable ceiling, mean over test sets.

        None if it is undefined for one of them, or without a truth.
        """
        mean = self.summary["relative"].mean(skipna=False)
        return None if math.isnan(mean) else float(mean)

    @property
    def best_first(self) -> pd.DataFrame:
        """The rows of `summary` by test set, the methods by decreasing Pearson."""
        testset = pd.Categorical(self.summary["testset"], self.testsets)
        table = self.summary.assign(place=testset.codes)
        by = ["place", "pearson_mean", "label"]
        return table.sort_values(by, ascending=[True, False, True]).drop(columns="place")

    @cached_property
    def truth(self) -> pd.DataFrame:
        """One truth per variant: columns variant, label and those of truth.csv.

        The label is ``truth``, or ``truth · <variant>`` if variants have different truths.
        """
        table = self.tables["truth"]
        table = table[table["job"].isin(table.drop_duplicates("variant")["job"])]
        numbers = [rows[TRUTH].reset_index(drop=True) for _, rows in table.groupby("variant")]
        is_same = all(rows.equals(numbers[0]) for rows in numbers)
        label = "truth" if is_same else table["variant"].map(lambda name: labelled("truth", name))
        return table[["variant", *TRUTH]].assign(label=label).reset_index(drop=True)

    @cached_property
    def _influences(self) -> pd.DataFrame:
        """The influences of the distinct truths, then those of every job."""
        truth = self.truth
        truths = truth[truth["variant"].isin(truth.drop_duplicates("label")["variant"])]
        return pd.concat([truths, self.scores], ignore_index=True)

    @cached_property
    def influences(self) -> pd.DataFrame:
        """Influence of every corpus on every subset, for the truth and every method.

        Columns label, corpus, testset, subset, influence (mean over runs); the truths come first.
        """
        return means(self._influences, ["label", "corpus", "testset", "subset"], ["influence"])

    @cached_property
    def rankings(self) -> dict[str, pd.DataFrame]:
        """Ranking of the corpora on each test set, for the truth and every method.

        Columns label, corpus, influence, ci_low, ci_high, lead_low, rank (1 = helps the test text
        most). Influence is the mean over subsets and seeds. Interval ends are those of ranking.csv
        if the method has one, else means over the subsets' ends: at least as wide as the interval
        of the mean, however subsets are correlated. lead_low > 0: the corpus is told apart from the
        next rank; NaN if unknown. Rows are sorted by the truth's rank, or by the first method's.
        """
        by, ends = ["testset", "label", "corpus"], ["ci_low", "ci_high"]
        pooled = means(self._influences, by, ["influence", *ends]).set_index(by)
        file = self.tables["ranking"]
        own = means(file, by, [*ends, "lead_low"]).set_index(by)
        own.loc[file.groupby(by).size().reindex(own.index) > 1, "lead_low"] = math.nan
        table = own.combine_first(pooled).reindex(pooled.index).reset_index()
        return {str(name): _ranked(rows) for name, rows in table.groupby("testset", sort=False)}

    def corpora(self, testset: str) -> list[str]:
        """Return the corpora in the order of the ranking."""
        return list(self.rankings[testset]["corpus"].unique())


def labelled(name: str, variant: str) -> str:
    """Join the name of a method (or the truth) and its variant."""
    return f"{name} · {variant.replace(',', ', ')}" if variant else name


def is_truth(label: str) -> bool:
    """Return whether a label of `Sweep.rankings` is a truth's."""
    return label == "truth" or label.startswith("truth · ")


def number_format(values: pd.Series) -> str:
    """Return a format for a column: three significant digits of the largest, aligned decimals.

    Units differ between methods, so each column has its own format.
    """
    largest = values[np.isfinite(values)].abs().max()
    if not largest > 0:
        return "+.3f"
    magnitude = math.floor(math.log10(largest))
    return f"+.{2 - min(magnitude, 2)}f" if -4 <= magnitude <= 5 else "+.2e"


def means(rows: pd.DataFrame, by: list[str], values: list[str]) -> pd.DataFrame:
    """Average values; the mean is NaN if a value is."""
    return rows.groupby(by, sort=False)[values].agg(_strict_mean).reset_index()


def _strict_mean(values: pd.Series) -> float:
    return float(values.mean(skipna=False))


def _ranked(table: pd.DataFrame) -> pd.DataFrame:
    """Add the ranks of one test set; sort by label, then by the first label's rank."""
    table["rank"] = table.groupby("label")["influence"].rank(ascending=False, method="min")
    label = pd.Categorical(table["label"], table["label"].unique())
    leading = table[label.codes == 0].sort_values("rank", kind="stable")["corpus"]
    corpus = pd.Categorical(table["corpus"], leading)
    places = pd.DataFrame({"label": label.codes, "corpus": corpus.codes}, table.index)
    return table.loc[places.sort_values(["label", "corpus"]).index].reset_index(drop=True)


def _varied(runs: pd.DataFrame) -> str:
    """Describe what differs between runs, as in "2 seeds × 2 train seeds"; "" for one run."""
    counts = {"seeds": runs["seed"].nunique(), "train seeds": runs["train_seed"].nunique()}
    return " × ".join(f"{n} {name}" for name, n in counts.items() if n > 1)
