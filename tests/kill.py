"""Kills a tiny sweep of two processes at random moments, and looks at what is left in the end:

    python -m tests.kill --kills 100 --seed 0

Each time kill -9 hits the first process, the second, or both with the server between them. The same
command follows, which the next kill may hit, until one completes; then a fresh folder is begun. The
files of a completed sweep must be those of an undisturbed one, with no lock held, no claim, partial
folder or process left. Ends with status 1 where they are not.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from filelock import FileLock, Timeout

from tests.command import _run, overrides, write_texts
from tests.test_resume import CALM, SWEEP, alive, results, workers_of


def start(folder: Path, settings: dict[str, str]) -> int:
    """The command in a session of its own, forked from this process, which has imported."""
    child = os.fork()
    if child == 0:
        os.setsid()
        _run(overrides(settings), str(folder), None, {})
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


def leftovers(folder: Path, group: int) -> list[str]:
    """What a completed sweep should not leave."""
    store = folder / "outputs" / "store"
    found = [str(path) for end in ("claim", "partial", "old") for path in store.rglob(f"*.{end}*")]
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
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == group and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def wait_for_end(processes: list[int], seconds: float = 180) -> list[int]:
    """Those that live on. A server that is still importing notices when it has imported."""
    end = time.monotonic() + seconds
    while any(map(alive, processes)) and time.monotonic() < end:
        time.sleep(0.05)
    return [one for one in processes if alive(one)]


def kill(process: int, draw: random.Random) -> str:
    """One of the processes, or all; who it was."""
    below = workers_of(process)
    second = [one for one in below if "forkserver" in command_of(one) and below_of(one, below)]
    who = draw.choice(["first", "second", "all"])
    if who == "second" and second:
        os.kill(second[0], signal.SIGKILL)
    elif who == "all":
        os.killpg(process, signal.SIGKILL)
    else:
        who = "first"
        os.kill(process, signal.SIGKILL)
    return who


def command_of(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text()
    except OSError:
        return ""


def below_of(process: int, others: list[int]) -> bool:
    """Whether one of the others has started it."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
    return any(f"\nPPid:\t{other}\n" in status for other in others)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    import untrac_exp.experiment
    import untrac_exp.report.sweep  # noqa: F401

    draw = random.Random(args.seed)
    killed: Counter[str] = Counter()
    completed = runs = 0
    faults: list[str] = []
    # no TemporaryDirectory: the end of a forked process would remove it
    scratch = tempfile.mkdtemp()
    calm = Path(scratch) / "undisturbed"
    calm.mkdir()
    write_texts(calm)
    began = time.monotonic()
    assert wait(start(calm, {**SWEEP, **CALM}), 900) == 0, (calm / ".err").read_text()
    length = time.monotonic() - began
    expected = results(calm)
    print(f"seed {args.seed}; an undisturbed run of one process takes {length:.1f} s", flush=True)
    while killed.total() < args.kills:
        folder = Path(scratch) / f"run{completed}"
        folder.mkdir()
        write_texts(folder)
        status: int | None = None
        while status != 0:
            process = start(folder, SWEEP)
            runs += 1
            more = killed.total() < args.kills
            status = wait(process, draw.uniform(0, length) if more else 900)
            if status is None:
                killed[kill(process, draw)] += 1
                status = wait(process, 900)
            if status != 0 and (left := wait_for_end(members(process))):
                faults.append(f"processes {left} outlived the first one")
            if status is None or status > 0:
                faults.append(f"status {status}: {(folder / '.err').read_text()[-300:]}")
                break
        completed += 1
        if status == 0:
            if results(folder) != expected:
                faults.append(f"{folder.name}: other files than undisturbed")
            faults += leftovers(folder, process)
        print(f"{killed.total()} killed {dict(killed)}, {completed} completed", flush=True)
        if faults:
            break
    shutil.rmtree(scratch)
    print(f"seed {args.seed}: {killed.total()} kills, {runs} runs, {completed} sweeps completed")
    for fault in faults:
        print(f"fault: {fault}")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
