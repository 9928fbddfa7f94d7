"""What is best within a budget, and what would more of it buy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.base.records import TrialRecord
from nas.budgets import COSTS
from nas.measures import MEASURES, Measure, number_of
from nas.pareto import ParetoFront, is_non_dominated, losses

MORE = 1.2
"""The larger budget that a smaller one is compared with, as a multiple of it."""


@dataclass(frozen=True)
class BudgetStep:
    """From the budget `limit` on, up to the next step, `record` is best."""

    limit: float
    record: TrialRecord


def best_within(
    records: Sequence[TrialRecord], cost: Measure, score: Measure, objectives: Sequence[Measure] = ()
) -> tuple[BudgetStep, ...]:
    """Steps of the best `score` among those of `records` that cost at most so much, from the least `cost` upward.

    What `nas.pareto.pick` picks by `best:SCORE` from the front (for `objectives`) of the trials within the cost: among
    equals the one of fewest parameters. Trials without one of the two numbers are left out.
    """
    known = [r for r in records if number_of(cost, r) is not None and number_of(score, r) is not None]
    known.sort(key=lambda record: (cost.loss_of(record), record.number))
    values = np.array([score.loss_of(record) for record in known])
    prices = np.array([cost.loss_of(record) for record in known])
    steps: list[BudgetStep] = []
    for limit in np.unique(prices):
        count = int(np.searchsorted(prices, limit, side="right"))
        tied = [known[i] for i in np.flatnonzero(np.isclose(values[:count], values[:count].min()))]
        if objectives:
            tied = [r for r, kept in zip(tied, is_non_dominated(losses(tied, objectives)), strict=True) if kept]
        best = min(tied, key=lambda record: (record.costs.params, record.number))
        if not steps or steps[-1].record is not best:
            steps.append(BudgetStep(float(limit), best))
    return tuple(steps)


def best_at(steps: Sequence[BudgetStep], budget: float) -> TrialRecord | None:
    """The best network within `budget`; None where every one costs more."""
    return next((step.record for step in reversed(steps) if step.limit <= budget), None)


@dataclass(frozen=True)
class CostSteps:
    """The best `score` within every budget of `cost`."""

    cost: Measure
    score: Measure
    steps: tuple[BudgetStep, ...]


def front_steps(front: ParetoFront) -> tuple[CostSteps, ...]:
    """The best members of `front` within every cost, in each objective that is no cost."""
    costs, scores = [MEASURES[name] for name in COSTS], [one for one in front.objectives if one.name not in COSTS]
    return tuple(
        CostSteps(cost, score, best_within(front.records, cost, score, front.objectives))
        for cost in costs
        for score in scores
        if front.records
    )
