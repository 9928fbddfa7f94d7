"""Where candidates are trained: in this process, or in worker processes that may crash or hang."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol

import torch
from pebble import ProcessExpired, ProcessPool

from nas.base.errors import SearchStopped
from nas.base.machine import claim_memory, claim_threads
from nas.base.records import Candidate, Outcome
from nas.workers.fork_server import METHOD, ctrl_c_blocked, ensure_server, restore_path_of_children
from nas.workers.passing import passable

Evaluate = Callable[[Candidate], Outcome]
"""Trains and scores a candidate; a candidate's own failure is an Outcome with an error, not an exception."""

Finished = tuple[Candidate, Outcome]


class Executor(Protocol):
    """Runs candidates. At most `capacity` are submitted and not yet returned at any time.

    An OSError of `evaluate` (a full disk) is raised by `collect`: it is no candidate's fault.
    """

    capacity: int

    def submit(self, candidate: Candidate) -> None:
        """Starts or queues `candidate`."""

    def collect(self, seconds: float) -> list[Finished]:
        """Finished candidates; waits up to about `seconds` for the first."""

    def close(self) -> None:
        """Stops everything that still runs, without waiting for it."""


class InProcess:
    """One candidate at a time in the calling process, during `collect`. No timeout, no crash isolation."""

    capacity = 1

    def __init__(self, evaluate: Evaluate) -> None:
        self._evaluate = evaluate
        self._queue: list[Candidate] = []

    def submit(self, candidate: Candidate) -> None:
        """Queues `candidate` for the next `collect`."""
        self._queue.append(candidate)

    def collect(self, seconds: float) -> list[Finished]:
        """Runs the queued candidate to its end."""
        if not self._queue:
            return []
        candidate = self._queue.pop(0)
        return [(candidate, self._evaluate(candidate))]

    def close(self) -> None:
        """Forgets what was queued."""
        self._queue.clear()


class Processes:
    """`workers` processes of `threads` threads each; a worker that dies or hangs is replaced.

    `evaluate` is pickled to each worker once; tensors in it are shared, or copied where shared memory cannot hold them,
    which `warn` gets in words.
    """

    def __init__(
        self, evaluate: Evaluate, *, workers: int, threads: int, timeout: float | None, device: str = "cpu",
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        ensure_server()
        evaluate, reason = passable(evaluate)
        if reason:
            warn(
                f"the data do not fit into shared memory ({reason}): each of the {workers} workers gets a copy of its "
                f"own"
            )
        self.capacity = workers
        self._timeout = timeout
        self._started: dict[Future[Outcome], tuple[Candidate, float]] = {}
        context = torch.multiprocessing.get_context(METHOD)
        self._pool = ProcessPool(
            workers, context=context, initializer=_start_worker, initargs=(evaluate, threads, workers, device)
        )

    def submit(self, candidate: Candidate) -> None:
        """Sends `candidate` to a free worker."""
        with ctrl_c_blocked():  # the pool starts its threads with the first task, and they start the workers
            future: Future[Outcome] = self._pool.schedule(_run, args=(candidate,), timeout=self._timeout)
        self._started[future] = (candidate, time.perf_counter())

    def collect(self, seconds: float) -> list[Finished]:
        """Outcomes that have arrived; a crash or a timeout is an Outcome with an error."""
        done, _ = wait(self._started, timeout=seconds, return_when=FIRST_COMPLETED)
        finished = []
        for future in sorted(done, key=lambda f: self._started[f][0].number):
            candidate, started = self._started.pop(future)
            finished.append((candidate, self._outcome(future, time.perf_counter() - started)))
        return finished

    def close(self) -> None:
        """Kills the workers."""
        self._pool.stop()
        self._pool.join()

    def _outcome(self, future: "Future[Outcome]", seconds: float) -> Outcome:
        try:
            return future.result()
        except FutureTimeout:
            return Outcome(None, seconds, f"stopped after search.trial_timeout = {self._timeout:g} s")
        except BrokenProcessPool as error:
            raise SearchStopped(
                f"worker processes cannot start ({error}); out of memory, or a script that searches without "
                'if __name__ == "__main__": (workers import it)?'
            ) from error
        except ProcessExpired as error:
            reason = f"exit code {error.exitcode}" if error.exitcode >= 0 else _signal_name(-error.exitcode)
            return Outcome(None, seconds, f"its worker process died ({reason}); out of memory?", cause="environment")


_evaluate: Evaluate | None = None


def _start_worker(evaluate: Evaluate, threads: int, workers: int, device: str) -> None:
    """Set-up of a worker: its task, its share of the machine, and its end when the search ends or is killed."""
    global _evaluate
    _evaluate = evaluate
    restore_path_of_children()
    claim_threads(threads)
    claim_memory(device, workers)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "only worker processes come here"
    parent.join()
    os._exit(1)


def _run(candidate: Candidate) -> Outcome:
    assert _evaluate is not None, "worker was not initialised"
    return _evaluate(candidate)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
