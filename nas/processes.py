"""Worker processes are forks of a server that has the slow imports behind it.

A spawned process spends seconds on importing torch before its first candidate, each one anew. The server imports
once, while the search itself still loads, and forks a worker in milliseconds. It runs no tensor operation, so
no thread or GPU state is ever forked. Where there is no such server (Windows), workers are spawned.
"""

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker

METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def start_server(module: str) -> None:
    """Starts the server in the background, to import `module`; does nothing where it runs or is not needed."""
    if METHOD == "forkserver":
        with ctrl_c_blocked():
            multiprocessing.set_forkserver_preload([module])
            forkserver.ensure_running()


@contextmanager
def ctrl_c_blocked() -> Iterator[None]:
    """Threads and processes started inside never see Ctrl-C: it reaches the whole group, the search decides.

    multiprocessing's resource tracker must run before, as starting it unblocks the signal.
    """
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
