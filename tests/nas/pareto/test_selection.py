"""Picks on a front made by hand."""

import pytest

from nas.base.errors import UsageError
from nas.base.records import TrialRecord, TrialState
from nas.pareto import MEASURES, ParetoFront, front_of, pick, pick_all
from tests.builders import trial

OBJECTIVES = tuple(MEASURES[name] for name in ("robust_accuracy", "params"))
RECORDS = (
    trial(0, params=100, robust=0.1, instability=0.30),
    trial(1, params=200, robust=0.5, instability=0.20),
    trial(2, params=300, robust=0.7, instability=0.20),
    trial(3, params=1100, robust=0.9, instability=0.25),
    trial(4, params=1200, robust=0.4, instability=0.01),  # dominated
    trial(5, params=50, state=TrialState.FAILED),
    trial(6, params=9000, state=TrialState.REJECTED),
)


@pytest.fixture
def front() -> ParetoFront:
    return front_of(RECORDS, OBJECTIVES)


def made(*records: TrialRecord) -> ParetoFront:
    return ParetoFront(records, OBJECTIVES)


def test_the_knee_is_the_point_nearest_to_the_ideal(front: ParetoFront) -> None:
    # scaled (loss of accuracy, parameters): 0 (1, 0), 1 (0.5, 0.1), 2 (0.25, 0.2), 3 (0, 1)
    # distances 1, 0.510, 0.320, 1
    picked = pick("knee", front)
    assert picked.record.number == 2
    assert "knee" in picked.reason


def test_best_takes_the_better_end_of_any_metric(front: ParetoFront) -> None:
    assert pick("best:robust_accuracy", front).record.number == 3
    assert pick("best:params", front).record.number == 0
    assert pick("best:macs", front).record.number == 0
    assert pick("best:robust_accuracy", front).reason == "best robust_accuracy"


def test_ties_are_decided_by_parameters_and_said(front: ParetoFront) -> None:
    picked = pick("best:instability", front)
    assert picked.record.number == 1
    assert picked.reason == "best instability; tied with 2, fewest parameters decided"
    twins = made(trial(8, params=5, robust=0.5), trial(7, params=5, robust=0.5))
    assert pick("knee", twins).record.number == 7
    assert "tied with 8" in pick("knee", twins).reason


def test_a_front_of_one_is_its_own_knee() -> None:
    picked = pick("knee", made(trial(3)))
    assert picked.record.number == 3
    assert "tied" not in picked.reason


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        # max over the objectives of weight * scaled loss, weights normalised
        ("robust_accuracy=1", 3),
        ("params=1", 0),
        ("robust_accuracy=1,params=1", 2),  # 0.5 * (1, 0.5, 0.25, 1)
        ("robust_accuracy=1,params=9", 1),  # (0.1, 0.09, 0.18, 0.9): trial 1 with 0.09
        ("robust_accuracy=9, params=1", 3),  # (0.9, 0.45, 0.225, 0.1)
        ("robust_accuracy=100,params=100", 2),
        ("robust_accuracy=1,params=0", 3),
    ],
)
def test_weights_pick_the_smallest_weighted_maximum(front: ParetoFront, weights: str, expected: int) -> None:
    picked = pick(f"weights:{weights}", front)
    assert picked.record.number == expected
    assert "weights" in picked.reason


def test_a_number_names_any_evaluated_trial(front: ParetoFront) -> None:
    assert pick("4", front, RECORDS).record.number == 4
    assert pick("2", front).record.number == 2
    assert pick("2", front).reason == "trial 2, by number"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("9", r"no trial 9 in this run \(trials: 0, 1, 2, 3, 4, 5, 6\)"),
        ("5", "trial 5 is failed and was never trained"),
        ("", "unknown pick ''"),
        ("best", "unknown pick 'best'"),
        ("best:", "unknown pick 'best:'"),
        ("knee:params", "unknown pick"),
        ("elbow", "allowed: knee, best:METRIC"),
        ("-1", "unknown pick"),
        ("best:parms", "did you mean params"),
        ("weights:", "unknown pick 'weights:'"),
        ("weights:macs=1", "weights can name the objectives robust_accuracy, params"),
        ("weights:params", "needs numbers"),
        ("weights:params=lots", "needs numbers"),
        ("weights:params=-1", "not all 0"),
        ("weights:params=0", "not all 0"),
        ("weights:params=nan", "not all 0"),
        ("weights:params=inf", "not all 0"),
    ],
)
def test_impossible_rules_are_refused(front: ParetoFront, rule: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        pick(rule, front, RECORDS)


@pytest.mark.parametrize("rule", ["knee", "best:params", "weights:params=1"])
def test_an_empty_front_is_refused_with_what_to_do(rule: str) -> None:
    with pytest.raises(UsageError, match=r"the front is empty.*loosen budget"):
        pick(rule, made())


def test_all_are_the_members_of_the_front_in_its_order(front: ParetoFront) -> None:
    assert [one.record.number for one in pick_all(front)] == [3, 2, 1, 0]
    with pytest.raises(UsageError, match="the front is empty"):
        pick_all(made())


def test_a_number_works_on_an_empty_front() -> None:
    assert pick("4", made(), RECORDS).record.number == 4


def test_the_best_is_among_the_members_that_have_the_metric() -> None:
    absent = trial(0, params=100, robust=0.1, lipschitz_maximised=None)  # type: ignore[arg-type]
    found = pick("best:lipschitz_maximised", made(absent, RECORDS[1]))
    assert (found.record.number, found.reason) == (1, "best lipschitz_maximised; 1 members do not have it")
    with pytest.raises(UsageError, match=r"best:lipschitz_maximised: .* of 1 of 1 trials .*evaluation.lipschitz_steps"):
        pick("best:lipschitz_maximised", made(absent))


def test_a_trial_over_the_budget_is_picked_as_a_teacher_alone(front: ParetoFront) -> None:
    assert pick("6", front, RECORDS, over_budget=True).reason == "trial 6, by number; over the budget"
    with pytest.raises(UsageError, match="trial 6 is rejected and was never trained"):
        pick("6", front, RECORDS)
    with pytest.raises(UsageError, match="trial 5 is failed"):
        pick("5", front, RECORDS, over_budget=True)
