"""Further processes of one job, which build what it needs beside it. Light to import.

Each runs the job as this process does, up to its files: it asks the store for the same artifacts,
and the store shares them out (`Store.get_all`). So they need no orders and send no results, and one
that dies costs what it was at.
"""

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hydra.core.hydra_config import HydraConfig

log = logging.getLogger(__name__)

_CUDA = "CUDA_VISIBLE_DEVICES"
_ON_ONE_MACHINE = ("joblib", "ray")
"""Launchers that run several jobs of a sweep side by side, which share its cores already."""


def number(trainer: Mapping[str, Any], threads: int | None) -> int:
    """How many processes `trainer.workers` stands for, this one included.

    auto: as many as there are CUDA devices; on CPU as many as this process may use cores, each with
    its `threads`, and 1 where a launcher runs jobs side by side.
    """
    workers = trainer.get("workers", 1)
    if workers != "auto":
        return workers if isinstance(workers, int) else 1
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return 1
    if (accelerator := trainer.get("accelerator")) != "cpu":
        import torch

        if accelerator != "auto" or torch.accelerator.is_available():
            return max(1, torch.cuda.device_count())
    launcher = HydraConfig.get().runtime.choices.get("hydra/launcher")
    return 1 if launcher in _ON_ONE_MACHINE else max(1, _cores() // (threads or 1))


def threads_of_each(trainer: Mapping[str, Any], threads: int | None, workers: int) -> int | None:
    """CPU threads of each process; None leaves it to torch."""
    if threads is not None or workers == 1:
        return threads
    return max(1, _cores() // workers)


@contextmanager
def helped(most: int, main: Callable[..., None], *args: Any) -> Iterator[Callable[[int], None]]:
    """Gives what starts further processes, that run `main(*args)`: given how many find work.

    There are `most` at most, this one included. They are ended when it leaves, or dies.
    main: a module's function. It and its arguments are sent to other processes.
    """
    started: list[Any] = []

    def start(useful: int) -> None:
        while len(started) + 1 < min(most, useful):
            index = len(started) + 1
            process = context(main.__module__).Process(
                target=_run, args=(index, main, args), daemon=True
            )
            with block_sigint():
                process.start()
            started.append(process)

    try:
        yield start
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.join(2)
            process.kill()
            process.join()


def context(preload: str) -> Any:
    """How to start processes that run functions of the module `preload`.

    Linux forks them from a server that has imported the module and run nothing of it. The first
    call starts that server, which imports while the caller does other things; so call this as soon
    as it is known that there will be work. Elsewhere each process imports for itself.
    """
    known = multiprocessing.get_all_start_methods()
    method = "forkserver" if "forkserver" in known else "spawn"
    if multiprocessing.get_start_method(allow_none=True) not in (None, *known):
        # joblib's processes have a default of their own, which those they start would not know
        multiprocessing.set_start_method(method, force=True)
    if method == "spawn":
        return multiprocessing.get_context(method)
    from multiprocessing import forkserver

    multiprocessing.set_forkserver_preload([preload])
    with block_sigint():
        forkserver.ensure_running()
    return multiprocessing.get_context(method)


@contextmanager
def block_sigint() -> Iterator[None]:
    """Ctrl-C reaches all processes of a terminal. Those started here leave the answer to us."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say so
        return
    # Blocked, not ignored: one that comes now is answered as soon as the workers are there.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(index: int, main: Callable[..., None], args: tuple[Any, ...]) -> None:
    """In the new process, of the given index among them from 1."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    _take_device(index)
    try:
        main(*args)
    except ValueError:
        pass  # the first process meets it too, and says it
    except Exception as error:
        log.warning("process %d of this job ended, the others go on: %r", index, error)
    except BaseException:  # told to end; multiprocessing would print a traceback
        os._exit(1)


def _take_device(index: int) -> None:
    """The CUDA device of this index is the only one that this process sees."""
    import torch

    visible = os.environ.get(_CUDA, "").split(",")
    if visible == [""]:
        visible = list(map(str, range(torch.cuda.device_count())))
    if visible:
        os.environ[_CUDA] = visible[index % len(visible)]


def _end_with_parent() -> None:
    """However the parent dies: a worker that outlived it would train on and hold its locks."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
