"""The result of a sweep without a truth: corpus rankings and the evidence for them.

Writes `answer.json` next to `summary.csv`, and prints tables. A question is a variant of the sweep
(a model, corpora and test sets); its jobs differ in method and seed.
"""

import json
import math
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from scipy import stats

from untrac_exp.report.collect import JOB, Sweep
from untrac_exp.report.result_files import TABLES, plain, read_table, write_text

_SUBSETS = 3
"""Number of subsets listed per corpus, most influential first."""
_EXAMPLES = 5
"""Number of texts shown in the terminal."""
_WIDE = 70


def answer(sweep: Sweep) -> dict[str, Any] | None:
    """Build the contents of `answer.json`.

    Returns:
        None if the sweep has a truth or no job with a ranking. Otherwise `complete`: whether every
        job is included (gradient methods have no ranking with intervals), and `questions`: a list
        of {variant, testsets, warnings, said}; said: the same warnings as worded in
        `sweep.warnings`. Each of its test sets is {testset, verdict, methods, agreement, subsets,
        examples, shared}:

        - methods: {label: [{corpus, rank, influence, ci_low, ci_high, lead, lead_low, lead_high,
          apart}]} by rank, in nats per token; apart: whether the corpus is told apart from the one
          ranked next, None for the last.
        - agreement: [{methods: [a, b], spearman}] over corpora; None if undefined.
        - subsets: {corpus: [{subset, influence}]}, of the first method; empty for a single subset.
        - examples: {label: [{subset, corpus, read, index, change, text}]}.
        - shared: [{corpus, subset, test_index, share, excerpt}].
    """
    if len(sweep.truth):
        return None
    questions: dict[str, list[dict[str, Any]]] = {}
    complete = True
    for job in sweep.metrics:
        tables: dict[str, Any] = {
            name: read_table(Path(job["folder"], f"{name}.csv"), TABLES[name])
            for name in ("ranking", "examples", "duplicates")
        }
        if any(table is None for table in tables.values()):
            complete = False
            continue
        own = (sweep.scores[JOB] == [job[name] for name in JOB]).all(axis=1)
        tables |= {"scores": sweep.scores[own], "warnings": job.get("warnings") or []}
        questions.setdefault(job["variant"], []).append(job | tables)
    if not questions:
        return None
    found = [_question(name, jobs, sweep.warnings) for name, jobs in questions.items()]
    return {"complete": complete, "questions": found}


def write_answer(sweep: Sweep) -> dict[str, Any] | None:
    """Write ``answer.json`` to the sweep's directory if there is an answer, and return it."""
    found = answer(sweep)
    if found is not None:
        text = json.dumps(plain(found), indent=1, ensure_ascii=False, allow_nan=False)
        write_text(sweep.directory / "answer.json", text + "\n")
    return found


def print_answer(found: dict[str, Any], out: Console) -> None:
    """Print rankings, agreement between methods, top subsets and texts, and every warning."""
    for question in found["questions"]:
        if len(found["questions"]) > 1:
            out.print(f"\n[bold underline]{escape(question['variant'] or 'this question')}[/]")
        for one in question["testsets"]:
            _print_testset(one, out)
        for warning in question["warnings"]:
            out.print(f"[yellow]warning:[/] {escape(warning)}", soft_wrap=True)
        if question["warnings"]:
            out.print()


def _question(variant: str, jobs: list[dict[str, Any]], of_sweep: list[str]) -> dict[str, Any]:
    several = len({job["run"] for job in jobs}) > 1
    named = {f"{job['method']}, {job['run']}" if several else job["method"]: job for job in jobs}
    testsets = list(dict.fromkeys(name for job in jobs for name in job["ranking"]["testset"]))
    found = [_testset(testset, named) for testset in testsets]
    warnings: dict[str, list[str]] = {}
    for label, job in named.items():
        for text in job["warnings"]:
            warnings.setdefault(text, []).append(label)
    said = [
        text if len(labels) == len(named) else f"{' and '.join(labels)}: {text}"
        for text, labels in warnings.items()
    ]
    said += [text for one in found for text in _disagreement(one)]
    # the sweep lists a warning once if all jobs have it, else per job with the job's name
    heads = {f"{job['name']}: {text}" for job in jobs for text in job["warnings"]}
    there = [text for text in of_sweep if text in heads | warnings.keys()]
    return {"variant": variant, "testsets": found, "warnings": said, "said": there}


def _testset(testset: str, jobs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    def of(label: str, table: str) -> pd.DataFrame:
        rows = jobs[label][table]
        return rows[rows["testset"] == testset]

    methods: dict[str, pd.DataFrame] = {}
    for label in jobs:
        if len(rows := of(label, "ranking")):
            apart = [bool(low > 0) for low in rows["lead_low"][:-1]] + [None]
            methods[label] = rows.assign(apart=pd.Series(apart, index=rows.index, dtype=object))
    subsets = (_subsets(of(label, "scores")) for label in methods)
    shared = (_records(of(label, "duplicates")) for label in methods)
    return {
        "testset": testset,
        "verdict": _verdict(methods),
        "methods": {label: _records(rows) for label, rows in methods.items()},
        "agreement": [
            {"methods": [a, b], "spearman": _spearman(methods[a], methods[b])}
            for a, b in combinations(methods, 2)
        ],
        "subsets": next(filter(None, subsets), {}),
        "examples": {label: _records(of(label, "examples")) for label in methods},
        "shared": next(filter(None, shared), []),
    }


def _verdict(methods: dict[str, pd.DataFrame]) -> str:
    """Return one sentence that says which methods put which corpus first."""
    first: dict[str, list[tuple[str, bool]]] = {}
    for label, rows in methods.items():
        top = rows.iloc[0]
        sure = bool(top["ci_low"] > 0 and (top["apart"] or len(rows) == 1))
        first.setdefault(top["corpus"], []).append((label, sure))
    parts = []
    for corpus, labels in first.items():
        who = " and ".join(label for label, _ in labels)
        verb = "puts" if len(labels) == 1 else "put"
        doubts = [label for label, sure in labels if not sure]
        tail = ("not " if doubts else "") + "told apart from the next"
        if 0 < len(doubts) < len(labels):
            tail += f" by {' and '.join(doubts)}"
        parts.append(f"{who} {verb} '{corpus}' first, {tail}")
    return "; ".join(parts) + "."


def _disagreement(one: dict[str, Any]) -> list[str]:
    first = {label: rows[0]["corpus"] for label, rows in one["methods"].items()}
    if len(set(first.values())) < 2:
        return []
    named = ", ".join(f"{label} '{corpus}'" for label, corpus in first.items())
    return [f"test set '{one['testset']}': the methods name different corpora first ({named})"]


def _subsets(scores: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Return the subsets on which each corpus has the most influence; {} for a single subset."""
    if scores["subset"].nunique() < 2:
        return {}
    return {
        str(corpus): _records(rows.nlargest(_SUBSETS, "influence")[["subset", "influence"]])
        for corpus, rows in scores.groupby("corpus", sort=False)
    }


def _spearman(a: pd.DataFrame, b: pd.DataFrame) -> float | None:
    both = a.merge(b, on="corpus", suffixes=("_a", "_b"))
    if len(both) < 3:  # always 1 or -1 for two corpora
        return None
    value = float(stats.spearmanr(both["influence_a"], both["influence_b"]).statistic)
    return value if math.isfinite(value) else None


def _records(rows: pd.DataFrame) -> list[Any]:
    return rows.drop(columns="testset", errors="ignore").to_dict("records")


def _print_testset(one: dict[str, Any], out: Console) -> None:
    out.print(f"\n[bold]Which corpus made the model say {escape(one['testset'])}?[/]")
    out.print(escape(one["verdict"]), soft_wrap=True)
    for label, rows in one["methods"].items():
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
        table.add_column(escape(label), overflow="fold")
        for name in ("influence", "95 % interval", "told apart from the next"):
            table.add_column(name, justify="right")
        for row in rows:
            interval = _interval(row["ci_low"], row["ci_high"])
            told = {True: "yes", False: "[yellow]no[/]", None: ""}[row["apart"]]
            style = "bold green" if row["rank"] == 1 else ""
            table.add_row(
                escape(row["corpus"]), f"{row['influence']:+.4f}", interval, told, style=style
            )
        out.print(table)
    out.print("[dim]influence: nats per token, positive where the corpus lowers the loss[/]")
    for pair in one["agreement"]:
        if pair["spearman"] is not None:
            names = " and ".join(map(escape, pair["methods"]))
            out.print(f"Spearman over corpora of {names}: {pair['spearman']:.2f}")
    for corpus, subsets in one["subsets"].items():
        listed = ", ".join(f"{escape(s['subset'])} {s['influence']:+.4f}" for s in subsets)
        out.print(f"{escape(corpus)}: highest on {listed}", soft_wrap=True)
    for label, examples in one["examples"].items():
        if examples:
            title = f"Texts of the {examples[0]['read']} with the largest loss change"
            out.print(f"[bold]{title}[/] [dim]({escape(label)})[/]")
        for example in examples[:_EXAMPLES]:
            text = " ".join(example["text"].split())
            text = text if len(text) <= _WIDE else f"{text[:_WIDE]}…"
            line = f"  {example['change']:+.3f} {escape(example['corpus'])}: {escape(text)}"
            out.print(line, soft_wrap=True)
    out.print()


def _interval(low: float, high: float) -> str:
    return f"{low:+.4f} … {high:+.4f}" if math.isfinite(low) else "–"
