"""The one loop of all that is trained, on any executor: a search, a sweep and the repeats of a front are its plans."""

from time import monotonic
from typing import Protocol

from nas.base.errors import SearchStopped
from nas.base.records import Candidate, Outcome, TrialRecord
from nas.workers.local import Executor


class Plan(Protocol):
    """What is to be trained, as the loop asks for it."""

    @property
    def last_failure(self) -> str:
        """Which training failed last and with what, in words."""

    def resume(self) -> None:
        """Takes up what was done before."""

    def start_next(self) -> Candidate | None:
        """The next candidate, which is in work from now on; None where none may start now."""

    def finish(self, candidate: Candidate, outcome: Outcome) -> Candidate | None:
        """Takes up `outcome`; returns how `candidate` goes on, None where it has ended."""

    def tick(self) -> None:
        """Reports the progress."""

    def ended(self) -> str:
        """Why nothing is left, in words. Raises SearchStopped where that is a failure."""


def run(plan: Plan, executor: Executor, max_failures: int, trained: str = "candidates") -> str:
    """Trains what `plan` starts until nothing is left; returns in words why it ended.

    Raises SearchStopped, which calls them `trained`, after `max_failures` failures in a row.
    """
    running = failures = 0
    plan.resume()
    while True:
        plan.tick()
        while running < executor.capacity and (started := plan.start_next()) is not None:
            executor.submit(started)
            running += 1
        if not running:
            return plan.ended()
        for candidate, outcome in executor.collect(seconds=1.0):
            further = plan.finish(candidate, outcome)
            if further is not None:
                executor.submit(further)
                continue
            running -= 1
            failures = failures + 1 if outcome.evaluation is None else 0
            if failures >= max_failures:
                raise SearchStopped(
                    f"{failures} {trained} failed in a row (search.max_failures); the last one, {plan.last_failure}"
                )


def failure_of(record: TrialRecord, repeat: int = 0) -> str:
    """Which training failed, and the last line of what it said."""
    seed = f" with seed {repeat}" if repeat else ""
    return f"trial {record.number}{seed}: {((record.error or '').strip().splitlines() or ['no reason given'])[-1]}"


def seconds_left(began: float, done: float, left: float) -> float | None:
    """Seconds that `left` trainings take at the pace of the `done` ones since `began`; None before the first."""
    return (monotonic() - began) / done * left if done else None
