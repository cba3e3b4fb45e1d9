"""A cluster on this machine: processes that make one truth together, as the jobs of a sweep do.

Store, locks and the truth's jobs are real. Training is replaced by a sleep, which leaves no model,
and so the losses of a model by zeros: for those of tiny models two cores need as long again.
More than once: python -m tests.test_cluster 20
"""

import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

from tests.truth.conftest import make_world
from untrac_exp import store
from untrac_exp.stages import training
from untrac_exp.stages.trainer import quiet
from untrac_exp.store import artifact
from untrac_exp.truth import models
from untrac_exp.truth.leave_dataset_out import LeaveDatasetOut

fork = multiprocessing.get_context("fork")
WORDS = "sea wood town hill field river night winter".split()


class Zero:
    mean = 0.0


def cluster(folder, processes, corpora, seconds, kills=0, seed=0):
    """Wall time, how often each model was begun, and how often it was completed.

    A model is completed when its folder has its name; a process that is killed right then leaves
    no line in the log about it.
    """
    texts = {word: f"the {word} and an old {word} " for word in WORDS[:corpora]}
    made, subsets = make_world(folder / "store", texts=texts)
    truth, log = LeaveDatasetOut([0, 1]), folder / "log"
    assert len(truth.jobs(made, subsets)[0].artifacts) == 1  # the code's hash is known from here on
    log.touch()

    def sleep(out):
        name = out.name.partition(".")[0]
        with log.open("a") as file:
            file.write(f"begun {name} {os.getpid()}\n")
        time.sleep(seconds)
        (out / "model").touch()

    def artifacts(model_spec):
        return [store.Artifact("model", model_spec.key, sleep)]

    def trust(path):
        artifact.trust(path)
        if path.parent.name == "model":
            with log.open("a") as file:
                file.write(f"completed {path.name} {os.getpid()}\n")

    def load(model_spec, attention):
        (model_spec.folder() / "model").read_bytes()
        return torch.nn.Identity()

    ready = fork.Barrier(processes + 1)

    def work():
        torch.set_num_threads(1)
        training.ModelSpec.artifacts = artifacts
        training.ModelSpec.load = load
        store.trust = trust  # called once an artifact has its name
        models.evaluate = lambda _, datasets, *__: [Zero for _ in datasets]
        ready.wait()
        found = truth.changes(made, subsets)
        assert len(found) == 2 * corpora * corpora

    workers = [fork.Process(target=work) for _ in range(processes)]
    for worker in workers:
        worker.start()
    ready.wait()
    start = time.monotonic()
    draw = random.Random(seed)
    victims = draw.sample(workers, kills)
    moments = sorted(draw.uniform(0, 2 * seconds) for _ in victims)
    for when, victim in zip(moments, victims, strict=True):
        time.sleep(max(0.0, start + when - time.monotonic()))
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
    for worker in workers:
        worker.join(120)
    took = time.monotonic() - start
    assert all(worker.exitcode == 0 for worker in workers if worker not in victims)
    lines = [line.split() for line in log.read_text().splitlines()]
    begun = Counter(model for what, model, _ in lines if what == "begun")
    completed = Counter(model for what, model, _ in lines if what == "completed")
    lost = {(model, pid) for what, model, pid in lines if what == "begun"}
    lost -= {(model, pid) for what, model, pid in lines if what == "completed"}
    assert len(begun) == 2 * (1 + corpora)
    # each beginning that came to nothing was a killed process's, and its only one
    assert Counter(pid for _, pid in lost) <= Counter(str(victim.pid) for victim in victims)
    assert begun.total() == completed.total() + len(lost)
    assert not list(made.store.root.rglob("*.partial"))
    return took, begun, completed


def test_four_processes_train_each_of_six_models_once(tmp_path):
    _, begun, completed = cluster(tmp_path, processes=4, corpora=2, seconds=0.3)
    assert set(begun.values()) == {1}
    assert completed == begun


@pytest.mark.slow
def test_sixteen_processes_train_eighteen_models_in_little_more_than_two_rounds(tmp_path):
    took, begun, _ = cluster(tmp_path, processes=16, corpora=8, seconds=2)
    assert set(begun.values()) == {1}
    assert took <= 1.3 * 2 * 2


@pytest.mark.slow
def test_with_five_of_sixteen_killed_the_rest_train_every_model(tmp_path):
    _, begun, completed = cluster(tmp_path, processes=16, corpora=8, seconds=2, kills=5, seed=0)
    assert set(completed.values()) == {1}
    assert begun.total() <= 18 + 5


def main(times):
    quiet()
    twice, often = 0, Counter()
    for seed in range(times):
        for kills in (0, 5):
            with tempfile.TemporaryDirectory() as folder:
                took, begun, completed = cluster(Path(folder), 16, 8, 2, kills, seed)
            print(
                f"seed {seed}, {kills} killed: {took:.2f} s, {took / 4:.2f} of two rounds; begun "
                f"{begun.total()} times for {len(begun)} models, {max(begun.values())} at most; "
                f"completed {max(completed.values())} times at most",
                flush=True,
            )
            if kills:
                twice += sum(count > 1 for count in completed.values())
                often.update(begun.values())
    more = sum(models for count, models in often.items() if count > 2)
    print(
        f"with 5 of 16 processes killed, {times} times: of {often.total()} models {twice} were "
        f"completed more than once; {often[2]} were begun twice and {more} more often, which "
        "happens when the process that goes on with a killed one's model is killed too"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
