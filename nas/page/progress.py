"""How the front grew: hypervolume after every trial, by number and by time."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nas.base.errors import ConfigError
from nas.base.records import TrialRecord
from nas.measures import Measure
from nas.page.columns import all_rounded
from nas.pareto import has_all, hypervolume
from nas.report.tables import number_text
from nas.runs import Run


def progress_of(run: Run, records: Sequence[TrialRecord], objectives: Sequence[Measure]) -> dict[str, Any]:
    """`trial`, `hypervolume`, `front` (its size) and `seconds` (summed over the trials so far), lists by trial.

    `words` says what the hypervolume is a share of or, with empty lists, why there is none.
    """
    try:
        reference = run.reference_point(objectives)
    except ConfigError as error:
        return {"trial": [], "hypervolume": [], "front": [], "seconds": [], "words": f"no hypervolume: {error}"}
    shares, sizes = hypervolumes(records, objectives, reference)
    point = ", ".join(f"{o.title} {number_text(v)}" for o, v in zip(objectives, reference, strict=True))
    return {
        "trial": [record.number for record in records],
        "hypervolume": all_rounded(shares),
        "front": sizes,
        "seconds": all_rounded(np.cumsum([record.seconds for record in records]).tolist()),
        "words": f"share of the box between the ideal point and the reference point ({point}) that the front dominates",
    }


def hypervolumes(
    records: Sequence[TrialRecord], objectives: Sequence[Measure], reference: Sequence[float]
) -> tuple[list[float], list[int]]:
    """Hypervolume and size of the front of the first 1, 2, … trials; computed anew only where the front changes."""
    matrix = np.full((len(records), len(objectives)), np.inf)
    for place, record in enumerate(records):
        if record.evaluation is not None:
            matrix[place] = [one.loss_of(record) for one in objectives]
    front: list[int] = []
    share, shares, sizes = 0.0, [], []
    for place, record in enumerate(records):
        if record.is_feasible and record.reused_from is None and has_all(record, objectives):
            row, found = matrix[place], matrix[front]
            if not ((found <= row).all(1) & (found < row).any(1)).any():
                beaten = (row <= found).all(1) & (row < found).any(1)
                front = [*(one for one, is_beaten in zip(front, beaten, strict=True) if not is_beaten), place]
                share = hypervolume([records[one] for one in front], objectives, reference)
        shares.append(share)
        sizes.append(len(front))
    return shares, sizes
