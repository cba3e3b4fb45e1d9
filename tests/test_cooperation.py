"""Processes that build one list of artifacts together, as jobs that run at once do."""

import multiprocessing
import os
import signal
import time
from functools import partial

import pytest

from untrac_exp.store import Artifact, Store
from untrac_exp.store.artifact import is_locked

fork = multiprocessing.get_context("fork")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def write(out, log=None, seconds=0.0):
    if log is not None:
        with log.open("a") as file:
            file.write(f"{out.name.partition('.')[0]} {os.getpid()}\n")
    time.sleep(seconds)
    (out / "x").write_text("x")


def artifacts_of(n, **options):
    return [Artifact("model", {"n": i}, partial(write, **options)) for i in range(n)]


def built(log):
    """Who has built which."""
    return [line.split() for line in log.read_text().splitlines()]


def start(function, *args):
    process = fork.Process(target=function, args=args)
    process.start()
    return process


def all_of(store, artifacts):
    assert len(list(Store(store.root).get_all(artifacts))) == len(artifacts)


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_three_processes_build_a_list_once_and_each_gets_all_of_it(store, tmp_path):
    log = tmp_path / "log"
    artifacts = artifacts_of(9, log=log, seconds=0.2)
    workers = [start(all_of, store, artifacts) for _ in range(3)]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    pids = dict(built(log))
    names = [store.path("model", {"n": i}).name for i in range(9)]
    assert sorted(name for name, _ in built(log)) == sorted(names)
    assert set(pids.values()) == {str(worker.pid) for worker in workers}
    assert not list(store.root.rglob("*.partial"))
    assert not any(is_locked(store.root / "model" / name) for name in names)


def test_what_another_builds_is_left_to_it_and_waited_for(store, tmp_path, caplog):
    artifacts = artifacts_of(3)
    slow = [artifacts[0]._replace(build=partial(write, log=tmp_path / "log", seconds=1))]
    other = start(all_of, store, slow)
    wait_for((tmp_path / "log").exists)
    caplog.set_level("INFO")
    order = [i for i, _ in store.get_all(artifacts)]
    other.join()
    assert order == [1, 2, 0]
    [line] = [r.message for r in caplog.records if "waiting" in r.message]
    name = store.path("model", {"n": 0}).name
    assert line == f"waiting for model/{name}, being built by another process"


def test_an_error_of_a_build_is_raised_and_frees_its_lock(store):
    def fails(out):
        raise RuntimeError("diverged")

    artifacts = [*artifacts_of(2), Artifact("model", {"n": 2}, fails), *artifacts_of(4)[3:]]
    with pytest.raises(RuntimeError, match="diverged"):
        list(store.get_all(artifacts))
    assert not is_locked(store.path("model", {"n": 2}))


def test_a_stopped_process_keeps_its_lock_and_a_killed_one_does_not(store, tmp_path):
    [artifact] = artifacts_of(1, log=tmp_path / "log", seconds=60)
    path = store.path("model", {"n": 0})
    holder = start(all_of, store, [artifact])
    wait_for((tmp_path / "log").exists)
    os.kill(holder.pid, signal.SIGSTOP)
    time.sleep(0.3)
    assert is_locked(path)
    holder.kill()
    holder.join()
    assert not is_locked(path)
