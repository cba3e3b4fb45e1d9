"""Sweeps that are killed, run twice, run side by side, or find a damaged store."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.command import JOB, ends_well, overrides, write_texts

SWEEP = {
    **JOB,
    "truth": "leave_dataset_out", "truth.train_seeds": "[0]",
    "parallel": "local", "parallel.workers": "2",
    "pretraining.steps": "60", "pretraining.checkpoint_every": "5",
    "method": "untrac,graddot", "hydra.mode": "MULTIRUN",
}  # fmt: skip
CALM = {"parallel.workers": "1"}
"""Without processes of its own; how many there are makes no difference to the results."""

MODELS = 3
"""Trained by the sweep: θ0 and one without each of the two corpora."""


def start(folder, **changes):
    """The sweep as users start it, in a process group of its own."""
    with (folder / ".log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "untrac_exp", *overrides({**SWEEP, **changes})],
            cwd=folder, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def run(folder, **changes):
    return ends_well(folder, {**SWEEP, **changes})


def results(folder):
    """What a sweep leaves for good, without what it cost."""
    found = {
        (path.relative_to(folder).parts[3], path.name): path.read_bytes()
        for path in (folder / "outputs" / "default").rglob("*.csv")
        if path.name != "summary.csv"
    }
    assert len(found) == 6, sorted(found)  # scores and truth of two methods; UnTrac's two more
    return found


def mtimes(folder):
    store = folder / "outputs" / "store"
    return {path: path.stat().st_mtime_ns for path in store.rglob("manifest.json")}


def models(folder):
    return sorted((folder / "outputs" / "store" / "model").glob("*/manifest.json"))


def wait_for(condition, seconds=240):
    """What the condition says once it says something."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return found


def workers_of(pid):
    """Processes that this one has started, and that they have, as far as the system has them."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:
            continue
        if f"\nPPid:\t{pid}\n" in text and "State:\tZ" not in text:
            child = int(status.parent.name)
            found += [child, *workers_of(child)]
    return found


def alive(pid):
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    write_texts(folder)
    run(folder, **CALM)
    return folder


def some(folder, pattern):
    return lambda: any((folder / "outputs").glob(pattern))


MOMENTS = {
    "before anything is stored": "default/mini/multirun.yaml",
    "while models train": "store/model/*.partial/last.ckpt",
    "when a model is there": "store/model/*/manifest.json",
    "while a method runs": "store/part/*",
    "between two jobs": "default/mini/*/**/metrics.json",
}


@pytest.mark.slow
def test_killed_at_five_moments_it_ends_as_if_undisturbed(folder, undisturbed):
    for moment, sign in MOMENTS.items():
        process = start(folder)
        wait_for(some(folder, sign))
        workers = workers_of(process.pid)
        os.kill(process.pid, signal.SIGKILL)  # it alone: its workers have to see to themselves
        assert process.wait() == -signal.SIGKILL, f"over before it was killed {moment}"
        wait_for(lambda workers=workers: not any(map(alive, workers)), 60)
    run(folder)
    assert results(folder) == results(undisturbed)
    assert not list((folder / "outputs" / "store").glob("*/*.partial"))


@pytest.mark.slow
def test_interrupted_by_ctrl_c_it_ends_at_once_with_a_line_and_goes_on(folder, undisturbed):
    process = start(folder)
    wait_for(some(folder, MOMENTS["while models train"]))
    workers = workers_of(process.pid)
    assert len(workers) >= 2
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait(30) == 130
    wait_for(lambda: not any(map(alive, workers)), 10)
    log = (folder / ".log").read_text()
    assert log.splitlines()[-1] == "stopped; the same command goes on from here"
    assert "Traceback" not in log
    run(folder)
    assert results(folder) == results(undisturbed)


@pytest.mark.slow
def test_interrupted_while_unlearning_it_says_the_same(folder):
    """There the trainer is the first to hear of it."""
    long = {"method": "untrac", "method.stopping.steps": "100000"}
    process = start(folder, **CALM, **long)
    wait_for(lambda: len(models(folder)) == MODELS)
    time.sleep(5)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 130
    assert (folder / ".log").read_text().endswith("stopped; the same command goes on from here\n")


@pytest.mark.slow
def test_two_at_once_share_the_work(folder, undisturbed):
    both = [start(folder), start(folder)]
    assert [process.wait(300) for process in both] == [0, 0]
    assert len(models(folder)) == MODELS
    assert results(folder) == results(undisturbed)
    assert "damaged" not in (folder / ".log").read_text()


def test_again_it_trains_nothing_and_says_the_same(undisturbed):
    """The same sweep in the same place, after its end."""
    summary = undisturbed / "outputs/default/mini/summary.csv"
    before, built = summary.read_bytes(), mtimes(undisturbed)
    ended = run(undisturbed, **CALM)
    assert ended.out.count("the results are already there") == 2
    assert summary.read_bytes() == before
    assert mtimes(undisturbed) == built


@pytest.mark.slow
def test_the_same_seed_in_a_fresh_store_gives_the_same_bits(folder, undisturbed):
    run(folder)
    assert results(folder) == results(undisturbed)
