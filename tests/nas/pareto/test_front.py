"""Dominance against brute force, hypervolumes counted by hand."""

import numpy as np
import pytest

from nas.base.records import TrialRecord, TrialState
from nas.pareto import MEASURES, Measure, absences, front_of, hypervolume, is_non_dominated, losses
from tests.builders import trial

given = pytest.importorskip("hypothesis").given
st = pytest.importorskip("hypothesis.strategies")
arrays = pytest.importorskip("hypothesis.extra.numpy").arrays


def objectives(*names: str) -> tuple[Measure, ...]:
    return tuple(MEASURES[name] for name in names)


TWO = objectives("robust_accuracy", "params")
THREE = objectives("robust_accuracy", "params", "instability")


def brute_force(rows: list[list[float]]) -> list[bool]:
    def dominates(a: list[float], b: list[float]) -> bool:
        return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))

    return [not any(dominates(other, row) for other in rows) for row in rows]


@given(
    arrays(np.float64, st.tuples(st.integers(0, 12), st.integers(1, 4)), elements=st.sampled_from([0.0, 1.0, 2.0, 3.0]))
)
def test_dominance_is_that_of_a_brute_force(points: np.ndarray) -> None:
    assert is_non_dominated(points).tolist() == brute_force(points.tolist())


def test_equal_points_do_not_dominate_each_other() -> None:
    assert is_non_dominated(np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 3.0]])).tolist() == [True, True, False]


def test_a_trial_without_an_objective_is_on_no_front_and_the_reason_is_said() -> None:
    wanted = objectives("robust_accuracy", "lipschitz_maximised")
    records = [trial(0, robust=0.9, lipschitz_maximised=None), trial(1, robust=0.5), trial(2, state=TrialState.FAILED)]  # type: ignore[arg-type]
    assert [record.number for record in front_of(records, wanted).records] == [1]
    (words,) = absences(records, wanted)
    assert words.startswith("lipschitz_maximised is not known of 1 of 2 trials (trials 0), which are left out")
    assert "evaluation.lipschitz_steps" in words
    assert absences(records[1:], wanted) == []


def test_losses_turn_what_is_maximised_around() -> None:
    records = [trial(1, params=10, robust=0.4), trial(2, params=20, robust=0.6)]
    assert losses(records, TWO).tolist() == [[-0.4, 10], [-0.6, 20]]
    assert losses([], THREE).shape == (0, 3)


def test_the_front_holds_the_undominated_feasible_trials_best_first_objective_first() -> None:
    records = [
        trial(0, params=100, robust=0.3),
        trial(1, params=200, robust=0.5),
        trial(2, params=300, robust=0.5),  # dominated by 1
        trial(3, params=400, robust=0.9, violations={"macs": 0.1}),  # over a limit
        trial(4, params=50, state=TrialState.FAILED),
        trial(5, params=150, robust=0.29),  # dominated by 0
        trial(6, params=500, robust=0.7),
        trial(7, params=500, robust=0.7, reused_from=6),  # shown as 6
        trial(8, params=90, robust=0.31, state=TrialState.HALTED),
    ]
    front = front_of(records, TWO)
    assert [record.number for record in front.records] == [6, 1, 0]
    assert front.objectives == TWO
    assert front.losses.tolist() == [[-0.7, 500], [-0.5, 200], [-0.3, 100]]


def test_a_trial_over_its_limits_dominates_nobody() -> None:
    records = [trial(0, params=100, robust=0.3), trial(1, params=10, robust=0.9, violations={"macs": 1e-9})]
    assert [record.number for record in front_of(records, TWO).records] == [0]


def test_trials_of_equal_losses_are_all_on_the_front() -> None:
    records = [trial(0, params=100, robust=0.3), trial(1, params=100, robust=0.3)]
    assert {record.number for record in front_of(records, TWO).records} == {0, 1}


def test_the_front_of_nothing_is_empty() -> None:
    front = front_of([trial(0, state=TrialState.REJECTED)], TWO)
    assert front.records == ()
    assert front.losses.shape == (0, 2)


def test_the_order_of_the_trials_does_not_matter() -> None:
    records = [trial(n, params=100 * (n * 7 % 5 + 1), robust=(n * 3 % 10) / 10) for n in range(10)]
    numbers = [record.number for record in front_of(records, TWO).records]
    assert sorted(numbers) == sorted(r.number for r in front_of(records[::-1], TWO).records)
    assert len(numbers) > 1


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        # (robust accuracy, parameters) in the box from (1.0, 0) to (0.0, 1000)
        ([], 0.0),
        ([(1.0, 0)], 1.0),
        ([(0.0, 1000)], 0.0),
        ([(0.5, 500)], 0.25),
        ([(0.5, 500), (0.5, 500)], 0.25),
        ([(0.5, 500), (0.4, 600)], 0.25),  # dominated: adds nothing
        ([(0.8, 750), (0.2, 250)], 0.3),  # 0.8 * 0.25 + 0.2 * 0.75 - 0.2 * 0.25 = 0.2 + 0.15 - 0.05
        ([(0.5, 2000)], 0.0),  # beyond the reference point
        ([(0.5, 500), (0.9, 2000)], 0.25),
    ],
)
def test_two_objectives_counted_by_hand(points: list[tuple[float, int]], expected: float) -> None:
    records = [trial(number, params=p, robust=r) for number, (r, p) in enumerate(points)]
    assert hypervolume(records, TWO, (0.0, 1000)) == pytest.approx(expected, abs=1e-12)


def test_three_objectives_counted_by_hand() -> None:
    # In unit losses (1 - robust, params / 1000, instability / 2): a = (.5, .5, .5), b = (.25, .75, .5)
    # |a| = 1/8; |b| = 3/4 * 1/4 * 1/2 = 3/32; both = 1/2 * 1/4 * 1/2 = 2/32: union 4/32 + 3/32 - 2/32 = 5/32
    records = [trial(0, params=500, robust=0.5, instability=1.0), trial(1, params=750, robust=0.75, instability=1.0)]
    assert hypervolume(records, THREE, (0.0, 1000, 2.0)) == pytest.approx(5 / 32)


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 10)), min_size=1, max_size=8))
def test_hypervolumes_are_those_of_counting_cells(points: list[tuple[int, int]]) -> None:
    records = [trial(n, params=100 * p, robust=r / 10) for n, (r, p) in enumerate(points)]
    covered = sum(any(r > i and p <= j for r, p in points) for i in range(10) for j in range(10))
    assert hypervolume(records, TWO, (0.0, 1000)) == pytest.approx(covered / 100)


def volume_of(record: TrialRecord, objective: Measure, reference: float) -> float:
    return hypervolume([record], (objective,), (reference,))
