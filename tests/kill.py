"""Kills a tiny sweep of two processes at random moments, and looks at what is left in the end:

    python -m tests.kill --kills 100 --seed 0

Each kill -9 hits one of the processes alive at that moment, each as likely as the others: the first
("main"), a worker, or all of them. Its moment is anywhere in the length of
an undisturbed run of two processes, in CPU time, which other work on the machine does not change.
The same command follows a kill of the first, which the next kill may hit, until one completes; then
the outputs are emptied. The files of a completed sweep must be those of an undisturbed one of one
process, with no lock held, no partial folder or process left. Ends with status 1 where they
are not.
"""

import argparse
import logging
import math
import os
import random
import runpy
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

from filelock import FileLock, Timeout
from joblib.externals.loky.backend import fork_exec

from tests.command import _run, overrides, write_texts
from tests.test_resume import CALM, SWEEP, alive, results

LONG = {**SWEEP, "pretraining.steps": "200", "pretraining.checkpoint_every": "20"}
"""Trains for so long that the second process lives for half of the run."""


def start(folder: Path, settings: dict[str, str]) -> int:
    """The command in a session of its own, forked from this process, which has imported."""
    child = os.fork()
    if child == 0:
        os.setsid()
        fork_exec.fork_exec = fork_worker
        _run(overrides(settings), str(folder), None, {})
    return child


def fork_worker(command: list[str], kept: list[int], env: dict[str, str]) -> int:
    """Fork a worker too, whose imports would take most of a tiny sweep's time."""
    child = os.fork()
    if child == 0:
        ends = [2, *sorted(kept), os.sysconf("SC_OPEN_MAX")]
        for below, above in pairwise(ends):
            os.closerange(below + 1, above)
        os.environ.update(env)
        logging.getLogger().handlers.clear()
        logging.getLogger().setLevel(logging.WARNING)
        sys.argv = command[2:]
        try:
            runpy.run_module(command[2], run_name="__main__")
        finally:
            os._exit(0)
    return child


def has_ended(process: int) -> int | None:
    """Its exit status, negative for a signal; None while it runs."""
    ended, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def wait(process: int, seconds: float) -> int | None:
    end = time.monotonic() + seconds
    while (status := has_ended(process)) is None and time.monotonic() < end:
        time.sleep(0.02)
    return status


def work(process: int, seconds: float) -> tuple[int | None, float]:
    """Wait until its session has used so much more CPU time; its exit status, and what it used."""
    before = spent = cpu_time(process)
    while (status := has_ended(process)) is None and spent - before < seconds:
        spent = max(spent, cpu_time(process))
        time.sleep(0.05)
    return status, spent - before


def cpu_time(group: int) -> float:
    """Seconds that a session's processes and those they have waited for have computed."""
    ticks = sum(sum(times) for _, session, times in stats().values() if session == group)
    return ticks / os.sysconf("SC_CLK_TCK")


def leftovers(folder: Path, group: int) -> list[str]:
    """What a completed sweep should not leave."""
    store = folder / "outputs" / "store"
    found = [str(path) for path in store.rglob("*.partial")]
    for file in store.rglob("*.lock"):
        lock = FileLock(file)
        try:
            lock.acquire(timeout=0)
            lock.release()
        except Timeout:
            found.append(f"{file} is held")
    return found + [f"process {one}" for one in wait_for_end(members(group))]


def members(group: int) -> list[int]:
    """Processes of a session, which all that the command starts belong to."""
    return [one for one, (_, session, _) in stats().items() if session == group and alive(one)]


def stats() -> dict[int, tuple[int, int, list[int]]]:
    """Parent, session and times (user, system, both of ended children) of each process."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, parent, _, session, *fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found[int(stat.parent.name)] = (int(parent), int(session), [*map(int, fields[7:11])])
    return found


def wait_for_end(processes: list[int], seconds: float = 180) -> list[int]:
    """Those that live on. A server that is still importing notices when it has imported."""
    end = time.monotonic() + seconds
    while any(map(alive, processes)) and time.monotonic() < end:
        time.sleep(0.05)
    return [one for one in processes if alive(one)]


def kill(process: int, draw: random.Random) -> str | None:
    """One of the processes, or all; who it was, None if it was just over."""
    parents = {one: parent for one, (parent, *_) in stats().items() if alive(one)}
    workers = [
        one
        for one, parent in parents.items()
        if parent == process and b"tracker" not in Path(f"/proc/{one}/cmdline").read_bytes()
    ]
    targets = {"main": process, **{f"worker {i + 1}": one for i, one in enumerate(workers)}}
    who = draw.choice([*targets, "all"])
    try:
        if who == "all":
            os.killpg(process, signal.SIGKILL)
        else:
            os.kill(targets[who], signal.SIGKILL)
    except ProcessLookupError:
        return None
    return who


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    import untrac_exp.job
    import untrac_exp.report.sweep  # noqa: F401

    draw = random.Random(args.seed)
    killed: Counter[str] = Counter()
    completed = runs = 0
    faults: list[str] = []
    # no TemporaryDirectory: the end of a forked process would remove it
    scratch = Path(tempfile.mkdtemp())
    calm, folder = scratch / "undisturbed", scratch / "killed"
    for one, changes in ((calm, CALM), (folder, {})):
        one.mkdir()
        write_texts(one)
        status, length = work(start(one, {**LONG, **changes}), math.inf)
        assert status == 0, (one / ".err").read_text()
    expected = results(calm)
    assert results(folder) == expected
    print(
        f"seed {args.seed}; an undisturbed run of two processes computes {length:.1f} s", flush=True
    )
    shutil.rmtree(folder / "outputs")
    while not faults and (killed.total() < args.kills or (folder / "outputs").exists()):
        process, status = start(folder, LONG), None
        runs += 1
        while status is None and killed.total() < args.kills:
            status, _ = work(process, draw.uniform(0, length))
            if status is None and (who := kill(process, draw)):
                killed[who] += 1
                if who in ("main", "all"):
                    status = wait(process, 60)
        if status is None:
            status = wait(process, 900)
        if status == 0:
            completed += 1
            if results(folder) != expected:
                faults.append("other files than undisturbed")
            faults += leftovers(folder, process)
            shutil.rmtree(folder / "outputs")
            print(f"{killed.total()} kills {dict(killed)}, {completed} completed", flush=True)
        elif left := wait_for_end(members(process)):
            faults.append(f"processes {left} outlived the first one")
        if status is None or status > 0:
            faults.append(f"status {status}: {(folder / '.err').read_text()[-300:]}")
    shutil.rmtree(scratch)
    print(
        f"seed {args.seed}: {killed.total()} kills {dict(sorted(killed.items()))}, {runs} runs, "
        f"{completed} sweeps completed, {len(faults)} faults"
    )
    for fault in faults:
        print(f"fault: {fault}")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
