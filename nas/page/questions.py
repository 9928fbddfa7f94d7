"""The page's two questions: what is best within a budget, and is A really better than B."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from nas.base.records import TrialRecord
from nas.budgets import COSTS
from nas.measures import MEASURES, Measure
from nas.page.columns import all_rounded, rounded
from nas.pareto import ParetoFront, has_all
from nas.pareto.front import Array
from nas.runs import Run
from nas.studies.pairs import Pairs, paired
from nas.studies.within import MORE, best_within

COMPARED = 250
"""Members of a front, at most, between which all paired differences are in the page (1 MB at three scores)."""


def budgets_of(front: ParetoFront) -> list[dict[str, Any]]:
    """For every cost and every objective that is none: steps of the best member within the cost, as [limit, trial]."""
    found = []
    for name in COSTS:
        for score in front.objectives:
            if score.name in COSTS or not front.records:
                continue
            steps = best_within(front.records, MEASURES[name], score, front.objectives)
            found.append({
                "cost": name, "score": score.name, "more": MORE,
                "is_objective": any(one.name == name for one in front.objectives),
                "steps": [[rounded(step.limit), step.record.number] for step in steps],
            })  # fmt: skip
    return found


def pairs_of(run: Run, front: ParetoFront, first: Sequence[int]) -> dict[str, Any]:
    """Paired differences between the members of a front, at most COMPARED of them, those numbered in `first` kept.

    `trials` and `measures` name the rows; `low` and `high` are float32 in base64, of i − j for every i < j in turn.
    """
    kept = set(first)
    members = sorted(front.records, key=lambda record: record.number not in kept)[:COMPARED]
    found = paired(run, members, measures_compared(front.records, front.objectives))
    notes = list(found.notes)
    if len(members) < len(front.records):
        notes.append(f"{len(members)} of the {len(front.records)} members of the front can be compared here")
    return {
        "trials": list(found.numbers), "measures": [one.name for one in found.measures],
        "means": [all_rounded(row) for row in found.means.tolist()],
        "low": _packed(found, found.low), "high": _packed(found, found.high), "notes": notes,
    }  # fmt: skip


def measures_compared(records: Sequence[TrialRecord], objectives: Sequence[Measure]) -> tuple[Measure, ...]:
    """The objectives and, where all have it, natural accuracy."""
    natural = MEASURES["natural_accuracy"]
    more = (natural,) if natural not in objectives and all(has_all(record, (natural,)) for record in records) else ()
    return (*objectives, *more)


def _packed(pairs: Pairs, ends: Array) -> str:
    """Ends of the intervals of i − j for i < j, row after row."""
    upper = np.triu_indices(len(pairs.numbers), 1)
    return base64.b64encode(ends[upper].astype("<f4").tobytes()).decode("ascii")
