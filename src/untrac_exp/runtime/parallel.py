"""Independent tasks on worker processes of this machine or of a cluster: joblib, dask or Ray."""

import getpass
import logging
import os
import pkgutil
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import starmap
from logging.handlers import QueueHandler
from pathlib import Path
from queue import Queue
from typing import Any, Literal, TypeVar

from filelock import FileLock, Timeout

T = TypeVar("T")
log = logging.getLogger(__name__)

_Call = tuple["Parallel", int, Callable[[], Any]]
"""Arguments of `_call`."""
_Done = tuple[int, Any, Exception | None, list[logging.LogRecord]]
"""Outcome of a task: its index, its result or error, and the warnings that it logged."""

_CUDA = "CUDA_VISIBLE_DEVICES"
_MOST = 16
"""Largest number of workers on CPU cores unless it is configured; each takes about 0.5 GB."""

_DEATHS = 3
"""Deaths of workers without a finished task in between, after which no new ones are started."""

_is_worker = False
_device: list[FileLock] = []
"""Lock of the device of this worker, which is held as long as the worker lives."""
_clients: dict[str, Any] = {}
"""Clients of dask clusters, which live as long as this process."""


@dataclass(frozen=True)
class Parallel:
    """Where independent tasks run; the `parallel` group.

    Attributes:
        backend: "none" is this process, "loky" are processes of this machine.
        workers: number of workers; None: as many as there are GPUs or CPU cores.
        cluster: class of `dask_jobqueue` that starts the dask workers, such as SLURMCluster.
        options: arguments of `cluster`, of `distributed.Client` or of `ray.init`.
        threads: CPU threads of a worker; None divides the cores.
        devices: CUDA devices, each for one loky worker.
        prepare: dotted name of a function of `threads` and `code`, called in a worker before each
            task.
        code: hash of the code that this process runs, which workers must run too.

    Raises:
        ValueError: `workers` is below 1.
    """

    backend: Literal["none", "loky", "dask", "ray"] = "none"
    workers: int | None = None
    cluster: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    threads: int | None = None
    devices: tuple[str, ...] = ()
    prepare: str | None = None
    code: str | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"parallel.workers={self.workers} must be at least 1, or null")

    @property
    def processes(self) -> int:
        """Number of workers, or 1 for this process."""
        if self.backend == "none" or _is_worker:
            return 1
        on_cpu = max(1, min(_MOST, cores() // (self.threads or 1)))
        return self.workers or len(self.devices) or on_cpu

    def run(self, tasks: Sequence[Callable[[], T]]) -> Iterator[tuple[int, T]]:
        """Yield the index and the result of each task as it finishes.

        Tasks are pickled. A single one runs in this process if that needs no other device. Warnings
        that workers log appear in this process's log.

        Raises:
            ValueError: workers die again and again.
        """
        left, deaths = dict(enumerate(tasks)), 0
        while left:
            try:
                for index, result in self._run(left):
                    del left[index]
                    deaths = 0
                    yield index, result
            except BrokenProcessPool:
                deaths += 1
                log.warning("a worker was killed; what the workers were doing starts again")
                if deaths == _DEATHS:
                    raise ValueError(
                        "workers are killed, probably for want of memory: lower parallel.workers"
                    ) from None

    def _run(self, tasks: Mapping[int, Callable[[], T]]) -> Iterator[tuple[int, T]]:
        if self.is_here(len(tasks)):
            for i, task in list(tasks.items()):
                yield i, task()
            return
        calls = [(self, i, task) for i, task in tasks.items()]
        on_workers = {"loky": self._loky, "dask": self._dask, "ray": self._ray}[self.backend]
        try:
            results = on_workers(calls)
        except ImportError as error:
            extra = "slurm" if self.cluster else self.backend
            raise ValueError(
                f"parallel={extra} needs an extra: pip install 'untrac-exp[{extra}]'"
            ) from error
        for index, result, failed, records in results:
            for record in records:
                logging.getLogger(record.name).handle(record)
            if failed is not None:
                raise failed
            yield index, result

    def is_here(self, tasks: int) -> bool:
        """Return whether this process runs so many tasks itself."""
        if self.backend == "none" or _is_worker:
            return True
        single = tasks == 1 and not self.devices
        return self.backend == "loky" and (single or self.processes == 1)

    def _loky(self, calls: Sequence[_Call]) -> Iterator[_Done]:
        from joblib import Parallel as Joblib
        from joblib import delayed

        # after an error, that other tasks are cancelled
        warnings.filterwarnings("ignore", module=r"joblib\.")
        run = Joblib(
            self.processes,
            backend="loky",
            return_as="generator_unordered",
            pre_dispatch="all",
            batch_size=1,
            max_nbytes=None,
            initializer=_start,
            initargs=(os.getpid(), self.devices),
        )
        return run(starmap(delayed(_call), calls))

    def _dask(self, calls: Sequence[_Call]) -> Iterator[_Done]:
        # not through joblib, which computes in this process while there is only one worker
        import distributed

        logging.getLogger("distributed").setLevel(logging.WARNING)
        if (name := repr(self)) not in _clients:
            if self.cluster is None:
                _clients[name] = distributed.Client(**self.options)
            else:
                import dask_jobqueue

                cluster = getattr(dask_jobqueue, self.cluster)(**self.options)
                cluster.scale(jobs=self.processes)
                _clients[name] = distributed.Client(cluster)
        futures = _clients[name].map(_call, *zip(*calls, strict=True), pure=False)
        return (future.result() for future in distributed.as_completed(futures))

    def _ray(self, calls: Sequence[_Call]) -> Iterator[_Done]:
        # not through joblib, which yields nothing until all tasks are done
        import ray

        if not ray.is_initialized():
            ray.init(**self.options)
        call = ray.remote(_call)
        waits = [call.remote(*arguments) for arguments in calls]

        def results() -> Iterator[_Done]:
            left = waits
            while left:
                [done], left = ray.wait(left)
                yield ray.get(done)

        return results()


def _call(parallel: Parallel, index: int, task: Callable[[], Any]) -> _Done:
    """Run a task in a worker."""
    global _is_worker
    _is_worker = True
    records: Queue[logging.LogRecord] = Queue()
    handler = QueueHandler(records)  # makes records picklable
    handler.setLevel(logging.WARNING)
    logging.getLogger().addHandler(handler)
    result, failed = None, None
    try:
        if parallel.prepare is not None:
            pkgutil.resolve_name(parallel.prepare)(parallel.threads, parallel.code)
        result = task()
    except Exception as error:
        error.add_note(traceback.format_exc())
        failed = error
    finally:
        logging.getLogger().removeHandler(handler)
    return index, result, failed, list(records.queue)


def _start(parent: int, devices: Sequence[str]) -> None:
    """Prepare a new loky worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process handles it
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    take_device(devices)
    progress = logging.getLogger("untrac_exp.runtime.progress")
    progress.addHandler(logging.StreamHandler(sys.stdout))
    progress.setLevel(logging.INFO)


def _end_with(parent: int) -> None:
    """Exit when the parent process dies, even by SIGKILL; the system then frees the locks."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cuda_devices() -> tuple[str, ...]:
    """Return the names of the visible CUDA devices, as in CUDA_VISIBLE_DEVICES."""
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get(_CUDA)
    return tuple(visible.split(",") if visible else map(str, range(count)))[:count]


def take_device(devices: Sequence[str]) -> None:
    """Make one of the devices the only visible one, which no other worker of this machine has.

    If all are taken, it is shared.
    """
    for device in devices:
        name = f"untrac-{getpass.getuser()}-cuda-{device}.lock"
        lock = FileLock(Path(tempfile.gettempdir()) / name)
        with suppress(Timeout):
            lock.acquire(timeout=0)
            _device.append(lock)
            break
    else:
        device = devices[os.getpid() % len(devices)] if devices else ""
    if device:
        os.environ[_CUDA] = device
