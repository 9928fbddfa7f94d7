"""The attack ladder in the search: who climbs, what is told, what a kill leaves."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from nas.base.records import Candidate, Check, Evaluation, Fidelity, Outcome
from nas.pareto import front_of
from nas.search.problem import Problem
from tests.toy import Batched, ToyEvaluate, search, settings, toy_evaluation, toy_problem

RUNGS: tuple[Fidelity, ...] = ("screen", "attack", "front")
LOSS = {"screen": 0.0, "attack": 0.02, "front": 0.05}
"""Accuracy that the stronger attacks take."""


@dataclass
class Climbing(ToyEvaluate):
    """Toy candidates whose robust accuracy falls with every rung."""

    climbs: list[tuple[int, Fidelity]] = field(default_factory=list)
    untrusted: int | None = None
    breaks_at: Fidelity | None = None

    def __call__(self, candidate: Candidate) -> Outcome:
        outcome = super().__call__(candidate)
        assert outcome.evaluation is not None
        self.climbs.append((candidate.number, candidate.fidelity))
        if candidate.fidelity == self.breaks_at and not candidate.number:
            return Outcome(None, 1.0, "ValueError: the attack broke")
        return Outcome(self.scored(outcome.evaluation, candidate), 1.0)

    def scored(self, found: Evaluation, candidate: Candidate) -> Evaluation:
        passed = candidate.number != self.untrusted
        robust = max(0.0, found.robust_accuracy - LOSS[candidate.fidelity])
        return replace(
            found,
            fidelity=candidate.fidelity,
            robust_accuracy=robust,
            checks=(Check("noise", passed, "what noise breaks"),),
        )


def laddered(**others: object) -> Problem:
    return replace(toy_problem(), rungs=RUNGS, **others)  # type: ignore[arg-type]


def test_everyone_starts_at_the_bottom_and_climbs_rung_by_rung(tmp_path: Path) -> None:
    evaluate = Climbing()
    result = search(tmp_path / "study.journal", laddered(), settings(20), evaluate)
    by_trial: dict[int, list[Fidelity]] = {}
    for number, fidelity in evaluate.climbs:
        by_trial.setdefault(number, []).append(fidelity)
    for record in result.fresh:
        assert record.evaluation is not None
        climbed = by_trial[record.number]
        assert climbed == list(RUNGS[: len(climbed)])
        assert record.evaluation.fidelity == climbed[-1], "it is told once, with what the last rung found"
    assert any(len(climbed) == 1 for climbed in by_trial.values()), "somebody stays at the bottom"


@pytest.mark.parametrize("capacity", [1, 3])
def test_everyone_on_the_front_has_met_every_rung(tmp_path: Path, capacity: int) -> None:
    evaluate, problem = Climbing(), laddered()
    result = search(tmp_path / "study.journal", problem, settings(30), evaluate, Batched(evaluate, capacity))
    front = front_of(result.records, problem.objectives)
    assert len(front.records) > 2
    for record in front.records:
        assert record.evaluation is not None
        assert record.evaluation.fidelity == "front"


def test_whoever_stayed_below_would_not_have_joined_the_front(tmp_path: Path) -> None:
    problem = laddered()
    result = search(tmp_path / "study.journal", problem, settings(30), Climbing())
    front = front_of(result.records, problem.objectives).records
    for record in result.fresh:
        if record not in front:
            assert record not in front_of([*front, record], problem.objectives).records


def test_a_candidate_beyond_a_limit_does_not_climb(tmp_path: Path) -> None:
    problem = replace(toy_problem(constraints=["natural_accuracy >= 0.5"]), rungs=RUNGS)
    result = search(tmp_path / "study.journal", problem, settings(20), Climbing())
    beyond = [record for record in result.fresh if not record.is_feasible]
    assert beyond
    assert {record.evaluation.fidelity for record in beyond if record.evaluation} == {"screen"}


def test_a_failure_on_a_higher_rung_fails_the_trial_and_the_search_goes_on(tmp_path: Path) -> None:
    chosen = settings(6, max_failures=100)
    result = search(tmp_path / "study.journal", laddered(), chosen, Climbing(breaks_at="attack"))
    assert [record.number for record in result.fresh if record.state.value == "failed"] == [0]
    assert len(result.fresh) == 6


def test_an_untrusted_candidate_is_kept_off_the_front_only_where_that_is_asked_for(tmp_path: Path) -> None:
    for reject in (False, True):
        problem = laddered(reject_untrusted=reject)
        result = search(tmp_path / f"{reject}.journal", problem, settings(12), Climbing(untrusted=0))
        record = result.records[0]  # the smallest: nothing dominates it
        assert record.evaluation is not None
        assert record.evaluation.failed_checks
        assert record.is_feasible is not reject
        assert record.violations.get("trusted") == (1.0 if reject else None)
        assert all(r.violations.get("trusted", 0.0) == 0.0 for r in result.fresh if r.number != 0)
        assert (record in front_of(result.records, problem.objectives).records) is not reject


def test_whoever_fails_a_check_at_the_bottom_climbs_all_the_same(tmp_path: Path) -> None:
    evaluate = Climbing(untrusted=0)
    result = search(tmp_path / "study.journal", laddered(reject_untrusted=True), settings(6), evaluate)
    found = result.records[0].evaluation
    assert found is not None
    assert found.fidelity == "front"


def test_what_was_never_checked_is_not_trusted(tmp_path: Path) -> None:
    result = search(tmp_path / "study.journal", replace(toy_problem(), reject_untrusted=True), settings(4))
    assert all(record.violations["trusted"] == 1.0 for record in result.fresh)


def test_without_a_ladder_nobody_is_scored_twice(tmp_path: Path) -> None:
    evaluate = Climbing()
    search(tmp_path / "study.journal", toy_problem(), settings(12), evaluate)
    assert {fidelity for _, fidelity in evaluate.climbs} == {"attack"}
    assert len(evaluate.climbs) == 12
    assert toy_evaluation(evaluate.calls[0].genotype).fidelity == "attack"
