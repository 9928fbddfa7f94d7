"""The best within a budget, with known answers, and as the terminal picks it."""

from dataclasses import replace

from nas.measures import MEASURES
from nas.pareto import front_of, parse_condition, pick
from nas.studies.within import best_at, best_within
from tests.builders import trial

PARAMS, ROBUST, MACS = (MEASURES[name] for name in ("params", "robust_accuracy", "macs"))
RECORDS = (
    trial(0, params=100, robust=0.3),
    trial(1, params=200, robust=0.5),
    trial(2, params=250, robust=0.4),
    trial(3, params=400, robust=0.5),
    trial(4, params=500, robust=0.8),
)


def test_steps_rise_with_the_budget() -> None:
    steps = best_within(RECORDS, PARAMS, ROBUST)
    assert [(step.limit, step.record.number) for step in steps] == [(100, 0), (200, 1), (500, 4)]
    assert best_at(steps, 99) is None
    assert [record.number for limit in (100, 199, 200, 499, 1e9) if (record := best_at(steps, limit))] == [
        0,
        0,
        1,
        1,
        4,
    ]


def test_less_is_better_where_the_score_says_so() -> None:
    steps = best_within([trial(0, params=100, instability=0.3), trial(1, params=200, instability=0.1)], PARAMS,
                        MEASURES["instability"])  # fmt: skip
    assert [step.record.number for step in steps] == [0, 1]


def test_a_step_is_what_the_terminal_picks_from_the_trials_within_the_budget() -> None:
    records = [replace(trial(n, params=50 * (n % 7 + 1), robust=((n * 37) % 11) / 11, instability=((n * 5) % 13) / 13))
               for n in range(40)]  # fmt: skip
    objectives = (ROBUST, MEASURES["instability"], PARAMS)
    front = front_of(records, objectives)
    steps = best_within(front.records, PARAMS, ROBUST, objectives)
    for limit in (50, 75, 120, 200, 349, 350, 1000):
        condition = parse_condition(f"params<={limit}")
        within = front_of([r for r in records if condition.violation(r) <= 0], objectives)
        assert best_at(steps, limit) is pick("best:robust_accuracy", within).record


def test_trials_without_the_score_are_left_out() -> None:
    records = [trial(0, params=100, lipschitz_maximised=None), trial(1, params=200)]  # type: ignore[arg-type]
    (step,) = best_within(records, PARAMS, MEASURES["lipschitz_maximised"])
    assert step.record.number == 1
    assert best_within((), PARAMS, ROBUST) == ()
