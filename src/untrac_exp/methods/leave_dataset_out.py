r"""Leave-dataset-out, the ground truth: train again without each corpus.

.. math:: I(Z', Z) = L(Z'; \theta_{-Z}) - L(Z'; \theta_0)

`budget` says how long a counterfactual model trains: as many *steps* as θ0, drawn from the other
corpora (the paper's choice: does the kind of data matter?), or as many *epochs* (the classical one,
which overstates large corpora). Several train seeds show the truth's own noise; both models of a
difference share a seed, hence their first weights and the order of the data they share.

Source: Isonuma and Titov, ACL 2024, sections 2 and 4.
"""

import json
import logging
import multiprocessing
import os
import pickle
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from untrac_exp import processes, workers
from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import Subset
from untrac_exp.progress import Progress
from untrac_exp.stages.evaluation import evaluate
from untrac_exp.stages.trainer import quiet
from untrac_exp.store.code import code_fingerprint
from untrac_exp.training import Budget, Training


@dataclass(frozen=True)
class LeaveDatasetOut:
    """The truth over `train_seeds`; `workers` models are trained at a time, a process each."""

    train_seeds: Sequence[int]
    budget: Budget = "steps"
    workers: int = 1

    def __post_init__(self) -> None:
        if self.budget not in ("steps", "epochs"):
            raise ValueError(f"truth.budget='{self.budget}' is unknown; use steps or epochs")
        if not self.train_seeds:
            raise ValueError("truth.train_seeds is empty; give at least one seed")
        if self.workers < 1:
            raise ValueError(f"truth.workers={self.workers} must be at least 1")

    def influences(self, training: Training, subsets: Mapping[Subset, Encoded]) -> pd.DataFrame:
        """Columns train_seed, corpus, testset, subset, influence (nats per token)."""
        jobs = self.jobs(training, subsets)
        progress = Progress("truth: models", len(jobs))
        losses: dict[tuple[int, str | None], dict[Subset, float]] = {}
        for job, means in self._run(jobs):
            losses[job.seed, job.without] = means
            progress(len(losses))
        rows = [
            {
                "train_seed": seed, "corpus": corpus, "testset": subset.testset,
                "subset": subset.subset,
                "influence": losses[seed, corpus][subset] - losses[seed, None][subset],
            }
            for seed in self.train_seeds
            for corpus in training.corpora
            for subset in subsets
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def jobs(self, training: Training, subsets: Mapping[Subset, Encoded]) -> list["_Job"]:
        """Every model that is trained and evaluated, θ0 of each train seed first."""
        code = code_fingerprint([evaluate.__module__])
        return [
            _Job(training, dict(subsets), seed, without, self.budget, code)
            for seed, without in product(self.train_seeds, [None, *training.corpora])
        ]

    def _run(self, jobs: list["_Job"]) -> Iterator[tuple["_Job", dict[Subset, float]]]:
        if self.workers == 1 or processes.together() or all(job.is_done for job in jobs):
            for job in jobs:
                yield job, job.losses()
            return
        context = workers.context(__name__)
        threads = torch.get_num_threads()
        with ProcessPoolExecutor(self.workers, context, _start_worker, (threads,)) as pool:
            try:
                with workers.deaf_to_interrupts():
                    # Not the jobs themselves: torch would pass their tensors as open files, which
                    # ends in a traceback where a worker is terminated before it has them.
                    futures = {pool.submit(_losses, pickle.dumps(job)): job for job in jobs}
                for future in as_completed(futures):
                    yield futures[future], future.result()
            except BaseException:
                # What they were training is taken up from its last checkpoint another time.
                pool.shutdown(wait=False, cancel_futures=True)
                for worker in multiprocessing.active_children():
                    worker.terminate()
                raise


@dataclass(frozen=True)
class _Job:
    """One model to train and evaluate, in whatever process. code: of the evaluation, its hash."""

    training: Training
    subsets: dict[Subset, Encoded]
    seed: int
    without: str | None
    budget: Budget
    code: str

    @cached_property
    def _keys(self) -> dict[str, dict[str, Any]]:
        """What each test set's losses depend on."""
        model = self.training.recipe(self.seed, self.without, self.budget).id
        keys: dict[str, dict[str, Any]] = {}
        for (testset, _), data in self.subsets.items():
            key = keys.setdefault(testset, {"model": model, "subsets": [], "code": self.code})
            key["subsets"].append(data.fingerprint)
        return keys

    @property
    def is_done(self) -> bool:
        return all(self.training.store.find("losses", key) for key in self._keys.values())

    def losses(self) -> dict[Subset, float]:
        """Nats per token on every subset; trains the model unless the store has its losses."""
        found: dict[Subset, float] = {}
        for testset, key in self._keys.items():
            names = [subset for subset in self.subsets if subset.testset == testset]
            path = self.training.store.get("losses", key, partial(self._evaluate, names))
            means = json.loads((path / "losses.json").read_text())
            found |= dict(zip(names, means, strict=True))
        return found

    def _evaluate(self, names: list[Subset], out: Path) -> None:
        training = self.training
        model = training.recipe(self.seed, self.without, self.budget).load("sdpa")
        losses = evaluate(
            model,
            {name: self.subsets[name] for name in names},
            training.trainer.max_tokens,
            training.trainer,
        )
        (out / "losses.json").write_text(json.dumps([losses[name].mean for name in names]))


def _losses(job: bytes) -> dict[Subset, float]:
    """The losses of a pickled `_Job`."""
    return pickle.loads(job).losses()


def _start_worker(threads: int) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    torch.set_num_threads(threads)
    quiet()


def _end_with_parent() -> None:
    """However the parent dies: a worker that outlived it would train on and hold its locks."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
