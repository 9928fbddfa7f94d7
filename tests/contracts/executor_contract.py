"""What every executor keeps: a subclass has a class-scoped fixture `executor` of `EVALUATE`."""

from collections.abc import Iterable

import pytest

from nas.base.records import Candidate, Outcome
from nas.workers.local import Executor
from tests.toy import ToyEvaluate, toy_evaluation, toy_space

SPACE = toy_space(3)
ACTS = {50: "disk full", 60: "exit", 61: "hang", 62: "kill", 63: "interrupt"}
EVALUATE = ToyEvaluate(fails=frozenset({7}), acts=ACTS)
MAX_WAITS = 90
"""Calls of `collect` before a test gives up."""


def candidate(number: int) -> Candidate:
    return Candidate(number, SPACE.decode((number % 4, number // 4 % 4, 1)), 1000 + number)


def run_all(executor: Executor, numbers: Iterable[int]) -> dict[int, Outcome]:
    """Outcomes by number, keeping as many candidates in the executor as it takes."""
    waiting, inside, outcomes = list(numbers), 0, {}
    for _ in range(MAX_WAITS):
        while waiting and inside < executor.capacity:
            executor.submit(candidate(waiting.pop(0)))
            inside += 1
        for found, outcome in executor.collect(1.0):
            assert found == candidate(found.number)
            assert found.number not in outcomes, "an outcome came twice"
            outcomes[found.number] = outcome
            inside -= 1
        if not waiting and not inside:
            return outcomes
    raise AssertionError(f"waiting for {waiting} and {inside} in the executor, got {sorted(outcomes)}")


class ExecutorContract:
    """The tests share one executor: starting workers takes seconds."""

    def test_returns_every_outcome_once(self, executor: Executor) -> None:
        outcomes = run_all(executor, range(7))
        assert sorted(outcomes) == list(range(7))
        for number, outcome in outcomes.items():
            assert outcome.evaluation == toy_evaluation(candidate(number).genotype)
            assert outcome.error is None

    def test_a_candidate_that_fails_is_an_outcome(self, executor: Executor) -> None:
        outcome = run_all(executor, [7])[7]
        assert outcome.evaluation is None
        assert "trial 7 is cursed" in (outcome.error or "")

    def test_collecting_from_an_idle_executor_gives_nothing(self, executor: Executor) -> None:
        assert executor.collect(0.01) == []

    def test_takes_at_least_one_candidate(self, executor: Executor) -> None:
        assert executor.capacity >= 1

    def test_a_full_disk_is_raised_by_collect(self, executor: Executor) -> None:
        with pytest.raises(OSError, match="No space left") as caught:
            run_all(executor, [50])
        assert (caught.value.errno, caught.value.filename) == (28, "weights")
