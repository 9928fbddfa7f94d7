"""Ray for tests: a job of a plain function, and clusters of several nodes on this machine's loopback addresses."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from nas.base.records import Candidate, Outcome
from nas.workers.local import Evaluate
from nas.workers.ray import Files

HEAD, SECOND = "127.0.0.2", "127.0.0.3"
PORT = 26379
"""Of the head; not Ray's usual one, which a cluster of the user's own may have."""
TOKEN = secrets.token_hex(32)
"""Ray reads it once in a process."""


@dataclass(frozen=True)
class PlainJob:
    """A job that leaves no files."""

    evaluate: Evaluate

    def pack(self, candidate: Candidate) -> Files:
        return {}

    def run(self, candidate: Candidate, files: Files) -> tuple[Outcome, Files]:
        return self.evaluate(candidate), {}

    def unpack(self, candidate: Candidate, files: Files) -> None:
        pass


@dataclass(frozen=True)
class Diary:
    """`evaluate` that takes a while and writes down on which node it began and ended; all nodes see `folder`."""

    evaluate: Evaluate
    folder: Path
    seconds: float

    def __call__(self, candidate: Candidate) -> Outcome:
        import ray

        node = ray.util.get_node_ip_address()
        self._write(candidate.number, node, "began")
        time.sleep(self.seconds)
        outcome = self.evaluate(candidate)
        self._write(candidate.number, node, "ended")
        return outcome

    def _write(self, number: int, node: str, what: str) -> None:
        with (self.folder / "diary").open("a") as file:
            file.write(f"{number} {node} {what}\n")


def read_diary(folder: Path) -> list[tuple[int, str, str]]:
    """Lines of the diary in `folder`: number, node, began or ended."""
    path = folder / "diary"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(number), node, what) for number, node, what in map(str.split, lines)]


@contextmanager
def ray_environment() -> Iterator[None]:
    """A token of the test's own, so that nothing in the home folder is read or written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", TOKEN)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        yield


@contextmanager
def two_nodes(folder: Path) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """`ray start` twice, one CPU each, by address of the node; killed at the end."""
    started: dict[str, subprocess.Popen[bytes]] = {}
    try:
        started[HEAD] = _start(HEAD, folder, "--head", f"--port={PORT}", "--include-dashboard=false")
        _wait_for(folder / HEAD, "Ray runtime started", started[HEAD])
        started[SECOND] = _start(SECOND, folder, f"--address={HEAD}:{PORT}")
        _wait_for(folder / SECOND, "Ray runtime started", started[SECOND])
        yield started
    finally:
        for process in reversed(started.values()):
            kill_node(process)


def _start(address: str, folder: Path, *options: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options, f"--node-ip-address={address}",
               "--num-cpus=1", "--num-gpus=0", "--object-store-memory=100000000", "--block"]  # fmt: skip
    with (folder / address).open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=os.environ, start_new_session=True)


def kill_node(process: "subprocess.Popen[bytes]") -> None:
    """SIGKILL for all processes of a node: its own group, and those that Ray put into groups of their own."""
    for pid in [*_descendants(process.pid), process.pid]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _descendants(root: int) -> list[int]:
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


def _wait_for(path: Path, text: str, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        if text in path.read_text():
            return
        assert process.poll() is None, path.read_text()
        time.sleep(0.1)
    raise AssertionError(path.read_text())
