"""The page's two questions: what is best within a budget, and is A really better than B."""

import base64
from collections.abc import Collection
from typing import Any

import numpy as np

from nas.page.columns import all_rounded, rounded
from nas.pareto import ParetoFront
from nas.pareto.front import Array
from nas.runs import Run
from nas.studies.pairs import Pairs, front_pairs
from nas.studies.within import MORE, front_steps


def budgets_of(front: ParetoFront) -> list[dict[str, Any]]:
    """For every cost and every objective that is none: steps of the best member within the cost, as [limit, trial]."""
    return [
        {
            "cost": one.cost.name, "score": one.score.name, "more": MORE,
            "is_objective": one.cost in front.objectives,
            "steps": [[rounded(step.limit), step.record.number] for step in one.steps],
        }
        for one in front_steps(front)
    ]  # fmt: skip


def pairs_of(run: Run, front: ParetoFront, kept: Collection[int]) -> dict[str, Any]:
    """Paired differences between the members of a front, those numbered in `kept` among them (`front_pairs`).

    `trials` and `measures` name the rows; `low` and `high` are float32 in base64, of i − j for every i < j in turn.
    """
    found = front_pairs(run, front, kept)
    return {
        "trials": list(found.numbers), "measures": [one.name for one in found.measures],
        "means": [all_rounded(row) for row in found.means.tolist()],
        "low": _packed(found, found.low), "high": _packed(found, found.high), "notes": list(found.notes),
    }  # fmt: skip


def _packed(pairs: Pairs, ends: Array) -> str:
    """Ends of the intervals of i − j for i < j, row after row."""
    upper = np.triu_indices(len(pairs.numbers), 1)
    return base64.b64encode(ends[upper].astype("<f4").tobytes()).decode("ascii")
