"""Which trial of a run a rule picks; one rule asks what networks are expected to score, whatever one training gave."""

from collections.abc import Sequence
from dataclasses import asdict
from math import prod

import numpy as np

from nas.base.errors import UsageError
from nas.base.records import TrialRecord
from nas.budgets import COSTS
from nas.measures import Measure, measure, number_of
from nas.pareto import ParetoFront, Pick, meeting, parse_condition, pick, pick_all
from nas.runs.folder import Run
from nas.search.limits import TRUSTED
from nas.studies.common_rung import at_common_rung
from search_spaces import SearchSpace

EXPECTED = "expected"
LEAST = 16
"""Trained networks that a regression needs."""
DRAWS = 32
"""Draws of the regression that its expectation is the mean of."""


def picked_from(run: Run, rule: str, where: Sequence[str] | None, *, over_budget: bool = False) -> Pick:
    """Trial that `rule` picks of the front of `run`'s trials that hold the conditions `where` (nas.pareto.pick).

    `expected` and `expected:METRIC` pick of all feasible ones: a network that was unlucky is not on the front. Raises
    UsageError for a rule that is unknown or finds nothing.
    """
    within = meeting([parse_condition(text) for text in where or ()], run.records)
    return picked(run, rule, run.front(records=within), within, run.records, over_budget=over_budget)


def picked(
    run: Run, rule: str, front: ParetoFront, records: Sequence[TrialRecord], numbered: tuple[TrialRecord, ...] = (), *,
    over_budget: bool = False,
) -> Pick:  # fmt: skip
    """Trial that `rule` picks of `front`, which is that of `records`; by expectation of all of these.

    A number names one of `numbered` (of `front` where there are none), with `over_budget` also one beyond the budget.
    Raises UsageError for a rule that is unknown or finds nothing.
    """
    kind, colon, metric = rule.partition(":")
    if kind == EXPECTED:
        return _expected_best(run, (measure(metric),) if colon else _trained_objectives(run), records)
    return pick(rule, front, numbered, over_budget=over_budget)


def all_picked_from(run: Run, rule: str, where: Sequence[str] | None) -> list[Pick]:
    """What `picked_from` picks, also over the budget; for the rule `front` every member of the front, in its order."""
    if rule != "front":
        return [picked_from(run, rule, where, over_budget=True)]
    return pick_all(run.front(records=meeting([parse_condition(text) for text in where or ()], run.records)))


def expected_in(run: Run, score: Measure) -> dict[int, float]:
    """As `expected_scores`, of all trained trials of `run` under their common rung.

    Raises UsageError for costs, which are no matter of chance, and as `expected_scores`.
    """
    if score.name in COSTS or score.is_static:
        raise UsageError(f"{EXPECTED}:{score.name}: it is known before training; pick by best:{score.name}")
    (trained,) = at_common_rung([(run.trials_folder, run.records)], needed=(score.name,)).runs
    return expected_scores(trained, score, run.space, run.config.search.seed)


def expected_scores(trained: Sequence[TrialRecord], score: Measure, space: SearchSpace, seed: int) -> dict[int, float]:
    """Expected `score`, by number, of those of the `trained` trials that have it, under the same attacks all.

    The regression of pre-screening (nas/search/samplers/surrogate.py), on the option indices and the logarithms of the
    costs, fitted to these trials; its mean. What one training owes to chance is averaged out over the networks that
    are like it. What no check trusts is neither learned nor expected. Raises UsageError where they are too few.
    """
    from nas.search.samplers.surrogate import columns_in, fit_surrogate, with_costs

    trusted = [record for record in trained if record.violations.get(TRUSTED, 0) <= 0]
    known = [(record, value) for record in trusted if (value := number_of(score, record)) is not None]
    if len(known) < LEAST:
        raise UsageError(
            f"{EXPECTED}:{score.name}: a regression needs {LEAST} trained networks with {score.name}, there are "
            f"{len(known)}; pick by best:{score.name}, or search on (search.trials)"
        )
    columns = columns_in(space, [record.genotype for record, _ in known])
    features = with_costs(columns, [asdict(record.costs) for record, _ in known])
    values = np.array([[value] for _, value in known])
    expected = fit_surrogate(features, values, DRAWS, seed % 2**32).draws(features).mean(0)[:, 0]
    return {record.number: float(value) for (record, _), value in zip(known, expected, strict=True)}


def _trained_objectives(run: Run) -> tuple[Measure, ...]:
    """Objectives of `run` that only training tells."""
    found = tuple(one for one in run.config.parsed_objectives if one.name not in COSTS and not one.is_static)
    if not found:
        raise UsageError(f"{EXPECTED}: every objective of this run is known before training; pick by best:METRIC")
    return found


def _expected_best(run: Run, goals: Sequence[Measure], records: Sequence[TrialRecord]) -> Pick:
    """Of the feasible trials among `records`, the one of the best expected scores; of equals the smallest.

    Of several `goals` it is the one whose expected scores dominate the largest share of the box between the best values
    and the reference point: a pick by the product, whatever the costs, which are for `--where` to limit.
    """
    rule = f"{EXPECTED}:{goals[0].name}" if len(goals) == 1 else EXPECTED
    expected = [expected_in(run, goal) for goal in goals]
    allowed = [r for r in records if r.is_feasible and all(r.number in scores for scores in expected)]
    if not allowed:
        raise UsageError(
            f"{rule}: no trained trial is within every limit and has it; loosen budget, constraints or --where"
        )

    worst = run.reference_point(goals) if len(goals) > 1 else ()

    def loss(record: TrialRecord) -> float:
        values = [scores[record.number] for scores in expected]
        if len(goals) == 1:
            return goals[0].loss(values[0])
        parts = zip(goals, values, worst, strict=True)
        return -prod(max(0.0, (value - limit) / (goal.best - limit)) for goal, value, limit in parts)

    best = min(allowed, key=lambda record: (loss(record), record.costs.params))
    if len(goals) > 1 and loss(best) == 0:
        raise UsageError(
            f"{EXPECTED}: no network is expected to be better than the reference point in every objective; pick by "
            f"{EXPECTED}:{goals[0].name}, or set search.reference_point"
        )
    values = ", ".join(f"{one[best.number]:.3f}" for one in expected)
    names = " and ".join(goal.name for goal in goals)
    reason = f"best {names} expected by a regression over {len(expected[0])} trials: {values}"
    return Pick(best, f"{reason}, under the attacks that all have met")
