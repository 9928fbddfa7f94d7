"""Dominance, the Pareto front and its hypervolume. Letters: P points, M objectives (all minimised)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.base.records import TrialRecord
from nas.measures import Measure, number_of

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ParetoFront:
    """Feasible trials that no feasible trial dominates, best first objective first."""

    records: tuple[TrialRecord, ...]
    objectives: tuple[Measure, ...]

    @property
    def losses(self) -> Array:
        """Measure values turned so that less is better, shape (P, M)."""
        return losses(self.records, self.objectives)

    @property
    def is_tied(self) -> bool:
        """Whether there are several members and the 95 % intervals of their robust accuracies all overlap."""
        found = [record.evaluation.robust_interval for record in self.records if record.evaluation]
        return len(found) > 1 and max(one.low for one in found) <= min(one.high for one in found)


def losses(records: Sequence[TrialRecord], objectives: Sequence[Measure]) -> Array:
    """Measure values of evaluated trials, turned so that less is better, shape (P, M); infinite where not measured."""
    rows = [[o.loss_of(record) for o in objectives] for record in records]
    return np.array(rows, dtype=np.float64).reshape(len(records), len(objectives))


def has_all(record: TrialRecord, metrics: Sequence[Measure]) -> bool:
    """Whether each of `metrics` was measured of an evaluated trial."""
    return all(number_of(metric, record) is not None for metric in metrics)


def absences(records: Sequence[TrialRecord], metrics: Sequence[Measure]) -> list[str]:
    """One sentence for each of `metrics` that some of the evaluated trials do not have: how many, and why."""
    evaluated = [record for record in records if record.evaluation is not None and record.reused_from is None]
    found = []
    for one in dict.fromkeys(metrics):
        lacking = [record.number for record in evaluated if number_of(one, record) is None]
        if lacking:
            which = "all" if len(lacking) == len(evaluated) else ", ".join(map(str, lacking[:10]))
            named = f" (trials {which}{', …' if len(lacking) > 10 and which != 'all' else ''})"
            reason = f"; {one.absent or ASK}" if one.absent or one.compute else ""
            found.append(
                f"{one.name} is not known of {len(lacking)} of {len(evaluated)} trials{named}, which are left out"
                f"{reason}"
            )
    return found


ASK = "it is measured where it is an objective, in a constraint or in evaluation.measures"
"""Why a computed measure may not be known that does not say it itself."""


def is_non_dominated(losses_PM: Array) -> NDArray[np.bool_]:
    """Whether each row is dominated by none: no other row is <= everywhere and < somewhere. Shape (P,).

    Equal rows do not dominate each other.
    """
    no_worse = (losses_PM[:, None] <= losses_PM[None]).all(2)  # [i, j]: i is nowhere worse than j
    better = (losses_PM[:, None] < losses_PM[None]).any(2)
    dominated = (no_worse & better).any(0)
    return np.asarray(~dominated, dtype=np.bool_)


def front_of(records: Sequence[TrialRecord], objectives: Sequence[Measure]) -> ParetoFront:
    """Front of the feasible complete trials that have every objective.

    A reused result is shown once, as the trial it came from.
    """
    feasible = [r for r in records if r.is_feasible and r.reused_from is None and has_all(r, objectives)]
    if not feasible:
        return ParetoFront((), tuple(objectives))
    matrix = losses(feasible, objectives)
    on_front = is_non_dominated(matrix)
    kept = [index for index in np.lexsort(matrix.T[::-1]) if on_front[index]]
    return ParetoFront(tuple(feasible[index] for index in kept), tuple(objectives))


def hypervolume(records: Sequence[TrialRecord], objectives: Sequence[Measure], reference: Sequence[float]) -> float:
    """Share, in [0, 1], of the box between the ideal point and `reference` that the trials dominate.

    `reference` gives each objective's value in its own direction (M). The ideal point is each metric's
    best value. Computed exactly by moocore (through pymoo); points outside the box are cut off at it.
    """
    if not records:
        return 0.0
    from pymoo.indicators.hv import HV

    worst = np.array([o.loss(value) for o, value in zip(objectives, reference, strict=True)])
    ideal = np.array([o.loss(o.best) for o in objectives])
    scaled = (losses(records, objectives) - ideal) / (worst - ideal)
    return float(HV(ref_point=np.ones(len(objectives)))(scaled.clip(0.0, 1.0)))
