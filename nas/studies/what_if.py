"""What more of a cost buys, step by step: the answer to `nas front RUN --what-if COST`, JSON-ready."""

from typing import Any

from nas.base.errors import UsageError
from nas.budgets import COSTS
from nas.measures import measure
from nas.pareto import ParetoFront
from nas.report.evaluations import protocols_of
from nas.runs import Run
from nas.studies.pairs import Difference, Pairs, front_pairs
from nas.studies.within import BudgetStep, CostSteps, front_steps


def what_if(run: Run, front: ParetoFront, cost: str) -> dict[str, Any]:
    """For every objective of `front` that is no cost: the budgets of `cost` at which another member becomes best.

    `steps` are rows: from `limit` on, up to the next one, `trial` has the best `score`, its `value` (mean over
    trainings); `gain` is what it has over the step before, with its paired 95 % interval (`low`, `high`) and `verdict`;
    None in the first step. `notes`, `compared_under`. Raises UsageError for an unknown cost, or without a score.
    """
    if cost not in COSTS:
        raise UsageError(f"--what-if {cost}: no cost (allowed: {', '.join(COSTS)})")
    if all(one.name in COSTS for one in front.objectives):
        raise UsageError("--what-if needs an objective that is no cost: what more of a budget buys is measured in it")
    pairs = front_pairs(run, front)
    asked = [one for one in front_steps(front) if one.cost.name == cost]
    notes = list(pairs.notes) if asked else []
    if all(one.name != cost for one in front.objectives):
        title = measure(cost).title
        notes.append(f"{title}: no objective of this front; networks off the front may need less for the same score")
    return {
        "cost": cost, "steps": [row for one in asked for row in _rows(one, pairs)], "notes": notes,
        "compared_under": protocols_of(front.records),
    }  # fmt: skip


def _rows(asked: CostSteps, pairs: Pairs) -> list[dict[str, Any]]:
    before: BudgetStep | None = None
    rows = []
    for step in asked.steps:
        found = None if before is None else _gain(asked, before, step, pairs)
        record, place = step.record, pairs.measures.index(asked.score)
        is_paired = record.number in pairs.numbers
        value = pairs.means[pairs.numbers.index(record.number), place] if is_paired else asked.score.read(record)
        rows.append({
            "score": asked.score.name, "limit": step.limit, "trial": record.number,
            "genotype": dict(record.genotype.values), "value": None if value is None else float(value),
            "gain": found and found.value, "low": found and found.low, "high": found and found.high,
            "verdict": found and found.verdict,
        })  # fmt: skip
        before = step
    return rows


def _gain(asked: CostSteps, before: BudgetStep, step: BudgetStep, pairs: Pairs) -> Difference:
    new, old = step.record, before.record
    if {new.number, old.number} <= set(pairs.numbers):
        return pairs.between(new.number, old.number)[pairs.measures.index(asked.score)]
    values = [value for record in (new, old) if (value := asked.score.read(record)) is not None]
    return Difference(asked.score, values[0], values[1], None, None, "unknown")
