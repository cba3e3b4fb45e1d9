"""Worker processes of one job. Imports nothing slow.

Each worker runs the same job except for writing its result files. Workers request the same
artifacts, and the store distributes the builds (`Store.get_all`), so they exchange no messages. If
a worker dies, only its current build is lost.
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
"""Launchers that run several jobs of a sweep at once on one machine."""


def number(trainer: Mapping[str, Any], threads: int | None) -> int:
    """Return the number of processes that `trainer.workers` means, including this one.

    auto: the number of CUDA devices; on a CPU, the available cores divided by `threads`, or 1 with
    a launcher that runs several jobs on one machine.
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
    """Return the CPU threads of each process; None leaves the choice to torch."""
    if threads is not None or workers == 1:
        return threads
    return max(1, _cores() // workers)


@contextmanager
def on_demand(most: int, main: Callable[..., None], *args: Any) -> Iterator[Callable[[int], None]]:
    """Yield a function that starts worker processes, given how many processes have work.

    Workers are terminated at the end of the block, or when this process dies.

    Args:
        most: largest number of processes, including this one.
        main: function that a worker runs; it must be picklable.
        args: its arguments, which are pickled.
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
    """Return the multiprocessing context for functions of the module `preload`.

    With the start method forkserver, the first call starts a server that imports the module in the
    background, so call it early. With spawn (macOS, Windows) each worker imports it.
    """
    known = multiprocessing.get_all_start_methods()
    method = "forkserver" if "forkserver" in known else "spawn"
    if multiprocessing.get_start_method(allow_none=True) not in (None, *known):
        # joblib sets a start method that child processes do not know
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
    """Block SIGINT in processes that are started here; the parent process handles it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may change the mask
        return
    # Blocked, not ignored: a SIGINT that arrives meanwhile is delivered after the block.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(index: int, main: Callable[..., None], args: tuple[Any, ...]) -> None:
    """Run `main` in a worker process; index: of the worker, from 1."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    _take_device(index)
    try:
        main(*args)
    except ValueError:
        pass  # the first process raises it too
    except Exception as error:
        log.warning("worker %d failed, the others continue: %r", index, error)
    except BaseException:  # terminated; multiprocessing would print a traceback
        os._exit(1)


def _take_device(index: int) -> None:
    """Make the CUDA device of this index the only visible one."""
    import torch

    visible = os.environ.get(_CUDA, "").split(",")
    if visible == [""]:
        visible = list(map(str, range(torch.cuda.device_count())))
    if visible:
        os.environ[_CUDA] = visible[index % len(visible)]


def _end_with_parent() -> None:
    """Exit when the parent dies, even by SIGKILL; otherwise the worker would keep its locks."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
