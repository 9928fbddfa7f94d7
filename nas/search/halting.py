"""Early halting: a candidate that falls behind at a stage of epochs is not trained to its end.

Asynchronous successive halving for several objectives (Li 2020, ASHA; Schmucker 2021, multi-objective), in its
stopping form: each candidate is judged the moment it reaches a stage, against those that reached it before, and never
waits. Letters: P candidates at a stage, M objectives (all minimised).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from random import Random

import numpy as np

from nas.base.records import TrialRecord
from nas.base.seeding import derive_seed
from nas.pareto import Measure, losses
from nas.pareto.front import Array


@dataclass
class Stage:
    """Candidates that have reached a number of epochs, with their scores there."""

    objectives: tuple[Measure, ...]
    rows: Array = field(default_factory=lambda: np.empty((0, 0)))
    """Violation, then losses, of every candidate so far, (P, 1 + M)."""
    worse_than: Array = field(default_factory=lambda: np.empty(0))
    """By how many each is dominated."""

    def add(self, record: TrialRecord, keep: float) -> bool:
        """Takes up `record`; whether it is among the best `keep` of the stage.

        Best means dominated by fewest (Fonseca & Fleming 1993; by constrained domination: less violation is better),
        among equals the one in the least crowded place (Deb 2002). The first one always is.
        """
        violation = sum(max(0.0, value) for value in record.violations.values())
        row = np.array([violation, *losses([record], self.objectives)[0]])
        if not len(self.rows):
            self.rows, self.worse_than = row[None], np.zeros(1)
            return True
        better, worse = _dominates(self.rows, row), _dominates(row, self.rows)
        self.rows = np.vstack([self.rows, row])
        self.worse_than = np.append(self.worse_than + worse, better.sum())
        ahead = int((self.worse_than < self.worse_than[-1]).sum())
        equal = np.flatnonzero(self.worse_than == self.worse_than[-1])
        ahead += int((crowding(self.rows[equal, 1:]) > crowding(self.rows[equal, 1:])[-1]).sum())
        return ahead < ceil(keep * len(self.rows))


def _dominates(ours: Array, theirs: Array) -> Array:
    """Whether ours dominate theirs, (P,): by less violation, or as nowhere worse and once better."""
    difference = ours - theirs
    by_violation = difference[..., 0] < 0
    alike = difference[..., 0] == 0
    scores = difference[..., 1:]
    return np.asarray(by_violation | alike & (scores <= 0).all(-1) & (scores < 0).any(-1))


def crowding(points_PM: Array) -> Array:
    """Crowding distance of each point (P,), Deb 2002: the more room around it, the larger; infinite at the ends."""
    count, columns = points_PM.shape
    distance = np.zeros(count)
    for column in range(columns):
        order = np.argsort(points_PM[:, column], kind="stable")
        values = points_PM[order, column]
        distance[order[[0, -1]]] = np.inf
        if count > 2 and values[-1] > values[0]:
            distance[order[1:-1]] += (values[2:] - values[:-2]) / (values[-1] - values[0])
    return distance


def is_spared(seed: int, share: float) -> bool:
    """Whether the candidate with this seed is among the `share` that goes on whatever its rank.

    The draw knows nothing of scores, so the spared are an unbiased sample of all candidates.
    """
    return Random(derive_seed(seed, "spared")).random() < share


def violation_of(epochs: int, stages: Sequence[int]) -> float:
    """Constraint violation of a candidate halted after `epochs`, in (0, 1]: less, the farther it came."""
    return 1.0 - sum(stage < epochs for stage in stages) / len(stages) if stages else 1.0
