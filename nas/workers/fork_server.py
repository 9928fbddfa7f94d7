"""Worker processes are forks of a server that has the slow imports behind it.

A spawned process spends seconds on importing torch before its first candidate, each one anew. The server imports
once, while the search itself still loads, and forks a worker in milliseconds. It runs no tensor operation, so
no thread or GPU state is ever forked. Where there is no such server (Windows), workers are spawned.
"""

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker

from nas.base.errors import UsageError

METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


OURS = "nas"
"""Of PYTHONSAFEPATH, which only has to be set."""
OPTIMIZER = "torch._dynamo"
"""What torch imports when a process makes its first optimiser: 1.4 s, for each worker that trains."""


def start_server(*modules: str) -> None:
    """Starts the server in the background, to import `modules`; does nothing where it runs or is not needed."""
    if METHOD == "forkserver":
        multiprocessing.set_forkserver_preload(list(modules))
        ensure_server()


def ensure_server() -> None:
    """Starts the server where it does not run and is needed. Raises UsageError where its socket cannot be made."""
    if METHOD != "forkserver":
        return
    try:
        with _no_modules_of_this_folder(), ctrl_c_blocked():
            forkserver.ensure_running()
    except OSError as error:
        if "AF_UNIX" not in str(error):
            raise
        folder = tempfile.gettempdir()
        raise UsageError(
            f"the folder for temporary files, {folder}, has a path of {len(folder)} characters, and sockets of the "
            f"system allow about 70 there; set TMPDIR to a shorter one, such as /tmp"
        ) from error


@contextmanager
def _no_modules_of_this_folder() -> Iterator[None]:
    """Interpreters that are started inside do not import from the working directory.

    They are started with -c, so a file of the user's named as a module of the library (queue.py) would be taken for it.
    Where this package is found in the working directory alone, the server cannot import it beforehand.
    """
    if "PYTHONSAFEPATH" in os.environ:
        yield
        return
    os.environ["PYTHONSAFEPATH"] = OURS
    try:
        yield
    finally:
        del os.environ["PYTHONSAFEPATH"]


def restore_path_of_children() -> None:
    """In a worker: what it starts imports from the working directory again."""
    if os.environ.get("PYTHONSAFEPATH") == OURS:
        del os.environ["PYTHONSAFEPATH"]


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
