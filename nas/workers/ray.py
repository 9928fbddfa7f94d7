"""Candidates as Ray tasks, on this machine or on many. Ray is optional: `pip install '.[ray]'`.

The search is the one driver: it alone writes the study and the run folder. What all tasks share (the data, above all)
lies in Ray's object store, which fetches it once for each node; what a candidate reads and writes travels with its task
as files, so nodes need no common file system. A result is finished when it has reached the driver; a node that dies
takes with it only what was still running there, and that is started again elsewhere.
"""

import faulthandler
import logging
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

from nas.base.errors import ConfigError, SearchStopped, UsageError
from nas.base.machine import claim_memory, claim_threads
from nas.base.packages import check_installed
from nas.base.records import Candidate, Outcome
from nas.workers.local import Finished

ATTEMPTS = 3
"""Starts of a candidate whose worker or node dies, before it counts as failed."""
LOOPBACK = "127.0.0.2"
"""Address of a local cluster. Ray takes 127.0.0.1 for "unknown" and then cannot find its own node."""
GRACE = 60.0
"""Seconds that a candidate beyond its time limit has to react, before its worker process is ended from within."""

Files = Mapping[str, bytes]
"""Contents of a candidate's files by plain name."""


class Job(Protocol):
    """What nodes do for the driver. It is sent to them by Ray's own serialisation."""

    def pack(self, candidate: Candidate) -> Files:
        """Files that `candidate` needs; called by the driver."""

    def run(self, candidate: Candidate, files: Files) -> tuple[Outcome, Files]:
        """Outcome of `candidate`, and the files it has left; called on a node.

        An OSError is no candidate's fault and is raised by `collect`; any other exception is a failed candidate.
        """

    def unpack(self, candidate: Candidate, files: Files) -> None:
        """Stores what `run` has left; called by the driver before it learns the outcome."""


@dataclass(frozen=True)
class Node:
    """What a machine of the cluster lends to tasks."""

    cpus: int
    gpus: int = 0


@dataclass(frozen=True)
class Share:
    """How many candidates run at once, and what each of them gets."""

    workers: int
    threads: int
    gpus: float = 0.0
    """Fraction of a GPU."""
    per_gpu: int = 0


def share_out(nodes: Sequence[Node], workers: int | None, trials: int, per_gpu: int | None) -> Share:
    """Share of each of `workers` candidates at once (None: as many as fit), never more than `trials`.

    On a GPU, `per_gpu` of them share one (None: they train on the CPU), or as many as `workers` make necessary. Threads
    are as many as leave room for all. More workers than fit wait for nodes that join. Raises ConfigError where the
    cluster cannot run even one.
    """
    if per_gpu is not None and workers is not None:
        per_gpu = -(-min(workers, trials) // max(1, sum(node.gpus for node in nodes)))

    def room(threads: int) -> int:
        limits = (node.gpus * per_gpu if per_gpu is not None else node.cpus for node in nodes)
        return sum(min(node.cpus // threads, limit) for node, limit in zip(nodes, limits, strict=True))

    if not room(1):
        raise ConfigError(
            f"the Ray cluster has no {'CPU' if per_gpu is None else 'node with a CPU and a GPU'} to lend "
            f"({len(nodes)} nodes); add nodes, or set device: cpu"
        )
    workers = min(trials, room(1) if workers is None else workers)
    threads = max((t for t in range(1, max(node.cpus for node in nodes) + 1) if room(t) >= workers), default=1)
    # Rounded down to what Ray tells apart, so that `per_gpu` of them fit.
    return Share(workers, threads, int(1e4 / per_gpu) / 1e4 if per_gpu else 0.0, per_gpu or 0)


@contextmanager
def cluster(address: str | None, cores: int) -> Iterator[tuple[Node, ...]]:
    """Nodes of the Ray cluster at `address`, connected until the end; None starts one here with `cores` CPUs.

    Raises UsageError where Ray is not installed or there is no cluster.
    """
    ray = _ray()
    # A search says itself what happens; Ray's lines would break its display.
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        local = {"_node_ip_address": LOOPBACK} if sys.platform == "linux" else {}
        quiet |= {"num_cpus": cores, "include_dashboard": False, **local}
    try:
        _knock(address)
        ray.init(address=address or "local", **quiet)
    except (OSError, RuntimeError, ValueError, AssertionError, ray.exceptions.RayError) as error:
        raise UsageError(
            f"search.ray_address: no Ray cluster to be had at {address or 'this machine'} ({_brief(error)}); start one "
            f"with `ray start --head`, or leave ray_address out for a local one (docs/clusters.md)"
        ) from error
    try:
        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        yield tuple(Node(int(found.get("CPU", 0)), int(found.get("GPU", 0))) for found in alive)
    finally:
        ray.shutdown()


def _knock(address: str | None) -> None:
    """Raises OSError where nothing listens at `address`, for which Ray would wait for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _ray() -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a local cluster would report to Ray's makers
    logging.getLogger("ray").setLevel(logging.ERROR)
    check_installed("ray")
    import ray

    module: ModuleType = ray
    return module


class RayTasks:
    """Executor of candidates as tasks of the connected cluster (see `cluster`).

    Restarts are counted here and not left to Ray's `max_retries`, which would also run a candidate again that has used
    up a node's memory, many times, and would not say how often it tried.
    """

    def __init__(self, job: Job, share: Share, *, timeout: float | None, device: str = "cpu") -> None:
        self._ray = _ray()
        self.capacity = share.workers
        self._job = job
        self._stored = self._ray.put(job)
        self._limits = _Limits(share.threads, share.per_gpu, timeout, device)
        options = {"num_cpus": share.threads, "num_gpus": share.gpus, "max_retries": 0}
        self._task = self._ray.remote(**options)(_run)
        self._running: dict[Any, tuple[Candidate, int, float]] = {}
        """Candidate, number of its attempt and when that began, by the reference of its result."""

    def submit(self, candidate: Candidate) -> None:
        """Sends `candidate` to the cluster."""
        self._start(candidate, 1)

    def collect(self, seconds: float) -> list[Finished]:
        """Outcomes that have arrived, with their files stored; what a dead worker or node held is started again."""
        if not self._running:
            return []
        self._ray.wait(list(self._running), num_returns=1, timeout=seconds)
        done, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        finished = []
        for reference in sorted(done, key=lambda r: self._running[r][0].number):
            candidate, attempt, began = self._running.pop(reference)
            outcome = self._result(reference, candidate, attempt, began)
            if outcome is not None:
                finished.append((candidate, outcome))
        return finished

    def close(self) -> None:
        """Kills what still runs."""
        for reference in self._running:
            with suppress(self._ray.exceptions.RayError):
                self._ray.cancel(reference, force=True)
        self._running.clear()

    def _start(self, candidate: Candidate, attempt: int) -> None:
        files = dict(self._job.pack(candidate))
        # In a list, the job is not loaded anew for every task.
        reference = self._task.remote([self._stored], self._stored.hex(), candidate, files, self._limits)
        self._running[reference] = (candidate, attempt, time.perf_counter())

    def _result(self, reference: Any, candidate: Candidate, attempt: int, began: float) -> Outcome | None:
        """Outcome of a task that has ended; None where it is started again."""
        errors = self._ray.exceptions
        try:
            outcome, files = self._ray.get(reference)
        except errors.RayTaskError as error:
            raise SearchStopped(
                f"a node cannot run candidates ({_brief(error.cause or error)}); is this project installed there, in "
                f"the same version? (docs/clusters.md)"
            ) from error
        except errors.RayError as error:
            if attempt < ATTEMPTS and not isinstance(error, errors.OutOfMemoryError):
                self._start(candidate, attempt + 1)
                return None
            seconds = time.perf_counter() - began
            lost = f"lost in attempt {attempt} of {ATTEMPTS}: {_brief(error)}"
            return Outcome(None, seconds, lost, cause="environment")
        if isinstance(outcome, OSError):
            raise outcome
        self._job.unpack(candidate, files)
        return outcome  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Limits:
    """What a task may use of its node."""

    threads: int
    per_gpu: int
    timeout: float | None
    device: str


class _TimedOut(BaseException):
    """The time of a candidate is up. No Exception: a candidate's own handlers shall not take it for a failure."""


_JOBS: dict[str, Job] = {}
"""The job of this worker process, by the name of its object: loaded once."""


def _run(
    stored: list[Any], key: str, candidate: Candidate, files: Files, limits: _Limits
) -> tuple[Outcome | OSError, Files]:
    """One task: outcome and files of `candidate`, on a node."""
    if key not in _JOBS:
        _JOBS[key] = _ray().get(stored[0])
        claim_threads(limits.threads)
        claim_memory(limits.device, max(1, limits.per_gpu))
    began = time.perf_counter()
    try:
        with _time_limit(limits.timeout):
            return _JOBS[key].run(candidate, files)
    except _TimedOut:
        error = f"stopped after search.trial_timeout = {limits.timeout:g} s"
    except OSError as problem:
        return problem, {}
    except Exception:
        error = traceback.format_exc()
    return Outcome(None, time.perf_counter() - began, error), {}


@contextmanager
def _time_limit(seconds: float | None) -> Iterator[None]:
    """Raises _TimedOut after `seconds`; ends the process where nothing comes of that, as in a call that hangs.

    The clock starts with the task, however long it was queued. Ray runs tasks in the main thread, as signals need.
    """
    if seconds is None:
        yield
        return

    def ring(*_: object) -> None:
        raise _TimedOut

    before = signal.signal(signal.SIGALRM, ring)
    faulthandler.dump_traceback_later(seconds + GRACE, exit=True, file=sys.__stderr__ or sys.stderr)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


def _brief(error: BaseException) -> str:
    """First line of what `error` says, and its type."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
