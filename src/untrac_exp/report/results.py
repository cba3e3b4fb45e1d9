"""The results of a sweep, read once: what terminal, page, figures and W&B show."""

import inspect
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.utils import get_method

from untrac_exp.report.result_files import TRUTH
from untrac_exp.report.tables import (
    TRUTH_LABEL,
    is_truth,
    labelled,
    means,
    ranked,
    strict_mean,
    varied,
)
from untrac_exp.statistics.agreement import INTERVAL, STATISTICS, noise_key

JOB = ["method", "variant", "train_seed", "seed"]
COSTS = ("wall_s", "forward_tokens", "backward_tokens", "peak_rss_bytes", "peak_device_bytes")
KINDS = ("ceiling", "attainable")
SUMMARY = ["method", "variant", "testset", "pearson_mean", "pearson_std", "pearson_low"]
SUMMARY += ["pearson_high", "spearman_mean", "spearman_std", "ceiling", "attainable", "relative"]
SUMMARY += ["wall_s", "backward_tokens", "n_seeds", "varied"]
_SUBSETS = 3
"""Number of subsets listed per corpus, most influential first."""


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
        if not any(_is_generated((job.get("config") or {}).get("corpora")) for job in self.metrics):
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
    def trajectory(self) -> pd.DataFrame:
        """Influences along the unlearning: columns of trajectory.csv, label and `JOB`."""
        return self.tables["trajectory"]

    @property
    def testsets(self) -> list[str]:
        """Test sets in the order of the jobs' scores."""
        return list(self.scores["testset"].unique())

    @property
    def labels(self) -> list[str]:
        """Methods (with their variant) in table order."""
        return list(dict.fromkeys(job["label"] for job in self.metrics))

    @cached_property
    def statistics(self) -> list[str]:
        """Agreement statistics of any job; those of `STATISTICS` first."""
        values = [of or {} for job in self.metrics for of in (job.get("agreement") or {}).values()]
        names = dict.fromkeys(
            [*STATISTICS, *(name for of_testset in values for name in of_testset)]
        )
        return [name for name in names if name not in (*INTERVAL, "n_corpora")]

    @cached_property
    def jobs(self) -> pd.DataFrame:
        """One row per job: `JOB`, label, and the costs (NaN if not measured)."""
        rows = [{name: job[name] for name in (*JOB, "label")} | job["cost"] for job in self.metrics]
        table = pd.DataFrame(rows, columns=[*JOB, "label", *COSTS])
        return table.astype(dict.fromkeys(COSTS, "float64"))

    @cached_property
    def agreement(self) -> pd.DataFrame:
        """One row per job and test set.

        Columns `JOB`, label, the costs of the job, testset, the statistics, pearson_low,
        pearson_high, n_corpora, and ``ceiling_<statistic>`` and ``attainable_<statistic>``.
        """
        noise = {f"{kind}_{name}": (kind, name) for kind in KINDS for name in self.statistics}
        values = [
            {"job": i, "testset": testset}
            | ((job.get("agreement") or {}).get(testset) or {})
            | {
                column: (job.get(noise_key(*key)) or {}).get(testset)
                for column, key in noise.items()
            }
            for i, job in enumerate(self.metrics)
            for testset in self.scores.loc[self.scores["job"] == i, "testset"].unique()
        ]
        numbers = [*self.statistics, *INTERVAL, "n_corpora", *noise]
        table = pd.DataFrame(values, columns=["job", "testset", *numbers])
        table = table.astype(dict.fromkeys(numbers, "float64"))
        return self.jobs.merge(table, left_index=True, right_on="job").drop(columns="job")

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
            first, values = runs.iloc[0], runs[[*self.statistics, *INTERVAL]]
            mean, std = values.mean(skipna=False), values.std(ddof=1, skipna=False)
            row = {
                **first[["method", "variant"]],
                "testset": testset,
                **{f"{name}_mean": mean[name] for name in self.statistics},
                **{f"{name}_std": std[name] for name in self.statistics},
                **mean[list(INTERVAL)],
                **{kind: first[f"{kind}_pearson"] for kind in KINDS},
                **runs[["wall_s", "backward_tokens"]].mean(),
            }
            attainable = row["attainable"]
            row["relative"] = row["pearson_mean"] / attainable if attainable > 0 else math.nan
            rows.append(row | {"n_seeds": len(runs), "varied": varied(runs), "label": label})
        more = [f"{name}_{end}" for name in self.statistics for end in ("mean", "std")]
        columns = dict.fromkeys([*SUMMARY, *more, "label"])
        return pd.DataFrame(rows, columns=list(columns))

    @property
    def best_first(self) -> pd.DataFrame:
        """The rows of `summary` by test set, the methods by decreasing Pearson."""
        places = {testset: i for i, testset in enumerate(self.testsets)}
        table = self.summary.assign(place=self.summary["testset"].map(places))
        by = ["place", "pearson_mean", "label"]
        return table.sort_values(by, ascending=[True, False, True]).drop(columns="place")

    @cached_property
    def truth(self) -> pd.DataFrame:
        """One truth per variant: variant, and the columns of truth.csv."""
        table = self.tables["truth"]
        first = table.drop_duplicates("variant")["job"]
        return table.loc[table["job"].isin(first), ["variant", *TRUTH]].reset_index(drop=True)

    @cached_property
    def truths(self) -> pd.DataFrame:
        """Distinct truths: columns label and those of truth.csv.

        The label is ``truth``, or ``truth · <variant>`` if variants have different truths.
        """
        tables = {
            str(variant): table[TRUTH].reset_index(drop=True)
            for variant, table in self.truth.groupby("variant", sort=False)
        }
        if not tables:
            return pd.DataFrame(columns=["label", *TRUTH])
        first, *others = tables.values()
        if all(table.equals(first) for table in others):
            return first.assign(label=TRUTH_LABEL)
        named = (table.assign(label=labelled(TRUTH_LABEL, name)) for name, table in tables.items())
        return pd.concat(named, ignore_index=True)

    @cached_property
    def influences(self) -> pd.DataFrame:
        """Influence of every corpus on every subset, for the truth and every method.

        Columns label, corpus, testset, subset, influence (mean over runs); the truths come first.
        """
        rows = pd.concat([self.truths, self.scores], ignore_index=True)
        by = ["label", "corpus", "testset", "subset"]
        return rows.groupby(by, sort=False)["influence"].agg(strict_mean).reset_index()

    @cached_property
    def rankings(self) -> dict[str, pd.DataFrame]:
        """Ranking of the corpora on each test set, for the truth and every method.

        Columns label, corpus, influence, ci_low, ci_high, lead_low, rank (1 = helps the test text
        most). Influence is the mean over subsets and seeds. Interval ends are those of ranking.csv
        if the method has one, else means over the subsets' ends: at least as wide as the interval
        of the mean, however subsets are correlated. lead_low > 0: the corpus is told apart from the
        next rank; NaN if unknown. Rows are sorted by the truth's rank, or by the first method's.
        """
        rows = pd.concat([self.truths, self.scores], ignore_index=True)
        pooled = means(rows, ["influence", "ci_low", "ci_high"])
        own = means(self.tables["ranking"], ["ci_low", "ci_high", "lead_low"])
        own["lead_low"] = own["lead_low"].where(own["runs"] == 1)  # ranks differ between runs
        index = ["testset", "label", "corpus"]
        table = (
            own.set_index(index)
            .combine_first(pooled.set_index(index))
            .reindex(pd.MultiIndex.from_frame(pooled[index]))
        )
        return {
            str(testset): ranked(of_testset.reset_index())
            for testset, of_testset in table.groupby("testset", sort=False)
        }

    def corpora(self, testset: str) -> list[str]:
        """Return the corpora in the order of the ranking."""
        return list(self.rankings[testset]["corpus"].unique())

    def first_ranked(self, testset: str) -> dict[str, dict[str, bool | None]]:
        """Return the methods that rank each corpus first, and whether it is told apart.

        Returns:
            {corpus: {label: told}}, the corpus of most methods first. told: whether the corpus
            helps and is told apart from the next rank; None if the method does not say.
        """
        table = self.rankings[testset]
        first = table[(table["rank"] == 1) & ~table["label"].map(is_truth)]
        named: dict[str, dict[str, bool | None]] = {}
        for row in first.drop_duplicates("label").to_dict("records"):
            told = bool(row["ci_low"] > 0 and row["lead_low"] > 0)
            is_known = pd.notna(row["lead_low"])
            named.setdefault(row["corpus"], {})[row["label"]] = told if is_known else None
        return dict(sorted(named.items(), key=lambda item: -len(item[1])))

    def similarities(self, testset: str) -> Iterator[tuple[str, str, float]]:
        """Yield two methods and the Spearman correlation of their influences over corpora.

        Only for the methods of one variant that have a ranking.csv, and for three corpora or more.
        """
        table = self.rankings[testset].pivot(index="corpus", columns="label", values="influence")
        files = self.tables["ranking"].drop_duplicates("label")
        for _, labels in files.groupby("variant", sort=False)["label"]:
            for a, b in combinations(labels, 2):
                rho = table[a].corr(table[b], method="spearman")
                if len(table) > 2 and math.isfinite(rho):
                    yield a, b, float(rho)

    def top_subsets(self, testset: str) -> pd.DataFrame:
        """Return the subsets on which the first method finds each corpus most influential.

        Columns as in `influences`; empty for a single subset.
        """
        table = self.influences[self.influences["testset"] == testset]
        table = table[(table["label"] == self.labels[0]) & (table["subset"].nunique() > 1)]
        places = {corpus: i for i, corpus in enumerate(self.corpora(testset))}
        table = table.sort_values("influence", ascending=False).groupby("corpus").head(_SUBSETS)
        return table.sort_values("corpus", key=lambda names: names.map(places), kind="stable")


def _is_generated(corpora: Any) -> bool:
    """Return whether the source of a `corpora` node is a module marked as `GENERATED`."""
    try:
        source = get_method(corpora["_target_"])
    except Exception:  # no such node, or its code is not there any more
        return False
    return getattr(inspect.getmodule(source), "GENERATED", False)
