"""`plan=true`: what a job or sweep trains and reads, what it costs, and what is there already.

Data on this machine are encoded as in the job, so steps, tokens and what the store has are exact.
Otherwise they are estimated from the configuration and marked with "~".
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from untrac_exp.methods.base import Subset
from untrac_exp.methods.common.sizes import Size, Sizes
from untrac_exp.models.rate import flops, planned_rate
from untrac_exp.models.source import ModelSource
from untrac_exp.report.result_files import write_text
from untrac_exp.stages.inputs import Inputs
from untrac_exp.stages.training import Budget, named

_ROW_TOKENS = 32
"""Estimated tokens of a test text, or of a row of an encoder-decoder."""
_SUBSETS = {"toxigen": 13, "winobias": 4, "truthfulqa": 9}
"""Subsets of the test sets that are downloaded, by the module that reads them."""


ARTIFACT = ("kind", "name", "id", "steps", "forward", "backward", "size", "there")
"""A model, its losses on the test sets, or the scores of a method. id: the same in jobs that share
it. steps: of the optimizer. forward, backward: tokens, counted as in `Meter`. size: bytes in the
store. there: whether it exists already; None if unknown."""


def plan_job(
    cfg: DictConfig, name: str, fetched: Mapping[str, str], inputs: Inputs | None, finished: bool
) -> dict[str, Any]:
    """Plan one job.

    Args:
        cfg: the job's configuration.
        name: of the job.
        fetched: as `downloads` returns them.
        inputs: the job's data; None if some must be downloaded.
        finished: whether its results are there.

    Returns:
        The job's entry of plan.json; parameters: of the model, None if unknown.
    """
    if inputs is None:
        source, vocab_size = instantiate(cfg.model), None
        sizes, sample = _estimate(cfg, source)
    else:
        source, vocab_size = inputs.training.source, len(inputs.training.tokenizer)
        sizes, sample = _count(cfg, inputs)
    settings, n = cfg.pretraining, sum(size.n for size in sizes.corpora.values())
    sample = replace(
        sample,
        checkpoints=settings.steps // settings.checkpoint_every,
        trained=settings.steps * min(settings.batch_size, n) * sizes.corpus_tokens // n,
    )
    parameters = source.parameters(vocab_size)
    rate, origin = cfg.plan_flops_per_s, "plan_flops_per_s"
    if rate is None:
        device = None
        with suppress(ValueError):  # it is not present
            device = instantiate(cfg.trainer).device
        rate, origin = planned_rate(source.skeleton(vocab_size), device)
    forward, backward = instantiate(cfg.method).tokens(sample)
    there = None if inputs is None else finished
    scores = ("scores", name, name, 0, forward, backward, 0, there)
    artifacts = [*_models(cfg, sizes, parameters, inputs), scores]
    return {
        "job": name,
        "exact": inputs is not None,
        "parameters": parameters,
        "flops_per_s": rate,
        "rate": origin,
        "downloads": dict(fetched),
        "artifacts": [dict(zip(ARTIFACT, values, strict=True)) for values in artifacts],
    }


def _count(cfg: DictConfig, inputs: Inputs) -> tuple[Sizes, Sizes]:
    """Return the sizes of what models are trained on and of what the method reads."""
    data, n, seed = inputs.training.data, cfg.n_per_corpus, cfg.seed
    corpora = {name: Size.of(tokens) for name, tokens in data.items()}
    sample = {name: Size.of(tokens.sample(n, seed)) for name, tokens in data.items()}
    tests = {name: Size.of(tokens) for name, tokens in inputs.subsets.items()}
    return Sizes(corpora, tests), Sizes(sample, tests)


def _estimate(cfg: DictConfig, source: ModelSource) -> tuple[Sizes, Sizes]:
    """Estimate what `_count` returns: full blocks, as many as the configuration allows."""
    length = _ROW_TOKENS if source.seq2seq else source.block_size
    rows = cfg.corpora.get("n_per_corpus") or cfg.n_per_corpus
    n, limits = rows or (cfg.n_tokens_per_corpus or length) // length, cfg.max_sequences or {}
    # the suites of tasks that are downloaded have four each
    names = limits or cfg.corpora.get("datasets") or cfg.corpora.get("paths") or range(1, 5)
    counts = {str(name): limits.get(name, n) for name in names}
    corpora = {name: Size(n, n * length) for name, n in counts.items()}
    fewer = {name: min(n, cfg.n_per_corpus or n) for name, n in counts.items()}
    sample = {name: Size(n, n * length) for name, n in fewer.items()}
    parts = [node for node in cfg.testset.values() if isinstance(node, DictConfig)]
    tests = {}
    for node in [node for node in parts if "_target_" in node] or [cfg.testset]:
        module, n = node._target_.split(".")[-2], node.get("n_per_subset", 256)
        for i in range(_SUBSETS.get(module, 1)):
            tests[Subset(module, str(i))] = Size(n, n * _ROW_TOKENS)
    return Sizes(corpora, tests), Sizes(sample, tests)


def _models(
    cfg: DictConfig, sizes: Sizes, parameters: int | None, inputs: Inputs | None
) -> Iterator[tuple[Any, ...]]:
    """Yield θ0 and the models of the truth, with the losses that it needs."""
    settings, n = cfg.pretraining, sum(size.n for size in sizes.corpora.values())
    truth = instantiate(cfg.truth) if cfg.truth else None  # truth=none is an empty node
    evaluated = {} if truth is None else dict.fromkeys(truth.models(list(sizes.corpora)))
    training = None if inputs is None else inputs.training
    if truth is not None and inputs is not None:
        jobs = truth.jobs(training, inputs.subsets)
        evaluated = {(job.seed, job.without): job.is_done for job in jobs}
    theta0 = {(cfg.train_seed, ()): None} if settings.steps else {}
    trained = {*theta0, *(evaluated if truth is not None and truth.trains else ())}
    for seed, without in {**theta0, **evaluated}:
        kept, steps = n - sum(sizes.corpora[corpus].n for corpus in without), settings.steps
        budget: Budget = "steps" if truth is None else truth.budget
        if without and budget == "epochs":
            steps = max(1, round(steps * kept / n))
        name = f"{named(without)}, train seed {seed}"
        id_, there = f"{name}, {steps} steps", None
        if training is not None and (seed, without) in trained:
            key, store = training.model_spec(seed, without, budget).key, training.store
            id_, there = store.path("model", key).name, store.find("model", key) is not None
        tokens = steps * min(settings.batch_size, kept) * sizes.corpus_tokens // n
        # float32 weights, and θ0's checkpoints
        size = 4 * (parameters or 0) * (1 if without else 1 + steps // settings.checkpoint_every)
        if (seed, without) in trained:
            yield "model", name, id_, steps, tokens, tokens, size, there
        if (seed, without) in evaluated:
            yield "losses", name, id_, 0, sizes.subset_tokens, 0, 0, evaluated[seed, without]


def sweep_dir(cfg: DictConfig) -> Path:
    """Return the folder that the sweep would have, as in conf/config.yaml."""
    return Path(cfg.outputs, cfg.name, cfg.scale)


def write_plan(cfg: DictConfig, plans: list[dict[str, Any]]) -> None:
    """Write ``plan.json``; print all artifacts once, the cost of those missing, and downloads."""
    write_text(sweep_dir(cfg) / "plan.json", json.dumps(plans, indent=1) + "\n")
    console = Console(highlight=False, markup=False, width=None if Console().is_terminal else 118)
    work = pd.json_normalize(plans, "artifacts", ["exact", "parameters", "flops_per_s"])
    work = work.drop_duplicates(["kind", "id"])
    work["flops"] = flops(work["forward"], work["backward"], work["parameters"].astype(float))
    work["hours"] = work["flops"] / work["flops_per_s"].astype(float) / 3600
    total = work[work["there"].ne(True)].sum(numeric_only=True, skipna=False)
    title = f"plan of {cfg.name} at {cfg.scale} scale: nothing is run, built or fetched"
    table = Table(title=title, title_justify="left")
    for heading in ("what", "name"):
        table.add_column(heading, overflow="fold")
    for heading in ("steps", "tokens read", "with gradient", "FLOPs", "hours", "disk", "there"):
        table.add_column(heading, justify="right")
    for row in work.to_dict("records"):
        there = {True: "yes", False: "no"}.get(row["there"], "?")
        table.add_row(row["kind"], row["name"], *_cells(row, "" if row["exact"] else "~"), there)
    table.add_section()
    table.add_row("total", "of what is not there", *_cells(total))
    console.print(table)
    last = plans[-1]
    rate = f"{last['flops_per_s']:.2g} FLOP/s ({last['rate']})"
    console.print(f"model of {last['parameters'] or '?'} parameters; hours of a device at {rate}")
    fetched = {key: what for plan in plans for key, what in plan["downloads"].items()}
    if fetched:
        console.print("~ estimated; exact once these are downloaded (unless a cache has them):")
    for key, what in fetched.items():
        console.print(f"  {key}: {what}", soft_wrap=True)


def _cells(row: Any, about: str = "") -> list[str]:
    """Format steps, tokens, FLOPs, hours and disk; "?" if unknown."""
    costs = [f"{row['forward']:,.0f}", f"{row['backward']:,.0f}"]
    costs += [f"{row[name]:.2g}".replace("nan", "?") for name in ("flops", "hours")]
    return [f"{row['steps']:,.0f}", *(about + cost for cost in costs), decimal(int(row["size"]))]
