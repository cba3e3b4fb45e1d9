"""Further processes on this machine for work in parallel. Light to import."""

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import BaseContext


def context(preload: str) -> BaseContext:
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
    with deaf_to_interrupts():
        forkserver.ensure_running()
    return multiprocessing.get_context(method)


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
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
