"""The command line in a process of its own, forked from one that has imported torch already."""

import atexit
import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TEXTS = {
    "a.txt": "the old grolk sold a red lantern to the miller\n\n" * 12,
    "b.txt": "a cold wind came over the hills and the ships stayed\n\n" * 12,
    "t.txt": "the grolk sold a lantern\na red lantern it was\n",
}
JOB = {
    "hydra.searchpath": f"[file://{Path(__file__).parent / 'conf'}]", "+experiment": "tiny",
    "corpora.paths": "{a: a.txt, b: b.txt}", "testset.paths": "{t: t.txt}",
    "parallel": "none",
}  # fmt: skip
"""The overrides of a job that takes a second, in a folder with `TEXTS`."""


@dataclass(frozen=True)
class Ended:
    """What a command left: its exit status and what it printed."""

    status: int
    out: str
    err: str


def write_texts(folder: Path) -> None:
    for name, text in TEXTS.items():
        (folder / name).write_text(text)


def overrides(settings: dict[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in settings.items()]


def command(
    arguments: Sequence[str],
    folder: Path,
    *,
    largest_file: int | None = None,
    env: dict[str, str] | None = None,
) -> Ended:
    """`python -m untrac_exp` with these arguments in `folder`.

    largest_file: bytes after which the system refuses to write, as a full disk would.
    """
    server = _server()
    assert server.stdin
    assert server.stdout
    request = [list(arguments), str(folder), largest_file, env or {}]
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    status = int(server.stdout.readline())
    return Ended(status, (folder / ".out").read_text(), (folder / ".err").read_text())


def ends_well(
    folder: Path, settings: dict[str, str], *more: str, env: dict[str, str] | None = None
) -> Ended:
    """What a command leaves that says nothing on its stderr."""
    ended = command([*overrides(settings), *more], folder, env=env)
    assert (ended.status, ended.err) == (0, ""), ended.out + ended.err
    return ended


@cache
def _server() -> subprocess.Popen:
    """Ends with this process, whose end it sees on its stdin."""
    return subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _serve() -> None:
    import untrac_exp.job
    import untrac_exp.report.sweep  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _run(*json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _run(arguments, folder, largest_file, env):
    os.chdir(folder)
    sys.path.insert(0, folder)  # as `python -m` does
    for path, descriptor in ((os.devnull, 0), (".out", 1), (".err", 2)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), descriptor)
    os.environ.update(env)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    sys.argv = ["untrac_exp", *arguments]
    from untrac_exp.__main__ import main

    status = 0
    try:
        main()
    except SystemExit as end:
        status = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    # as at the end of a process of its own: workers end, semaphores are given back
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    _serve()
