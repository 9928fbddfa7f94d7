"""Searches in processes of their own: started, watched, killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from tests.conftest import ROOT

Process = subprocess.Popen[str]


def nas_process(folder: Path, *arguments: str) -> AbstractContextManager[Process]:
    """`nas ARGUMENTS` in `folder`, as `python_process`."""
    return python_process(folder, "-m", "nas", *arguments)


@contextmanager
def python_process(folder: Path, *arguments: str) -> Iterator[Process]:
    """`python ARGUMENTS` in `folder`, with its workers in a session and group of its own; what still runs is killed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def alive(session: int) -> dict[int, str]:
    """Command lines of the processes of `session`, by id."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found[int(path.name)] = (path / "cmdline").read_text().replace("\0", " ")
    return found


def seconds_until_ended(session: int, limit: float) -> float:
    """Seconds until no process of `session` is left; an assertion after `limit`."""
    began = time.monotonic()
    while left := alive(session):
        assert time.monotonic() - began < limit, f"still running after {limit} s: {left}"
        time.sleep(0.02)
    return time.monotonic() - began


def wait_for(happened: Callable[[], bool], process: Process, pause: float = 0.01, limit: float = 600) -> None:
    """Returns when it has `happened`; an assertion where `process` ends before, or after `limit` seconds."""
    began = time.monotonic()
    while not happened():
        assert process.poll() is None, f"it ended by itself: {process.communicate()}"
        assert time.monotonic() - began < limit, f"nothing happened for {limit} s"
        time.sleep(pause)
