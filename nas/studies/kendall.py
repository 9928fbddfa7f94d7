"""Kendall's τ-b, and how sure it is: how alike two scores rank the same networks.

Letters: n pairs of scores, B resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.base.bootstrap import RESAMPLES, drawn_times, interval_of
from nas.base.records import Interval
from nas.pareto.luck import MIN_NETWORKS

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Tau:
    """How alike two scores rank networks: 1 the same order, 0 no relation, −1 the reverse."""

    value: float | None
    """None where one of the scores does not vary."""
    interval: Interval | None
    """None below MIN_NETWORKS."""
    pairs: int
    networks: int
    """Different ones: trainings of one network are several pairs."""


def tau_of(x: Sequence[float], y: Sequence[float], networks: Sequence[str]) -> Tau:
    """τ-b of two scores with its 95 % percentile bootstrap interval, always the same for the same data.

    Networks are resampled, not pairs: trainings of one network (its key in `networks`) come and go together.
    """
    _, place = np.unique(np.array(networks, dtype=str), return_inverse=True)
    a, b, count = np.array(x, dtype=np.float64), np.array(y, dtype=np.float64), int(place.max(initial=-1)) + 1
    value = float(taus(a, b, np.ones((1, len(a))))[0]) if count else np.nan
    if not np.isfinite(value):
        return Tau(None, None, len(a), count)
    interval = None if count < MIN_NETWORKS else interval_of(taus(a, b, drawn_times(count, RESAMPLES)[:, place]))
    return Tau(value, interval, len(a), count)


def taus(x: Vector, y: Vector, weights: NDArray[Any]) -> Vector:
    """τ-b (B,) of two columns (n,) for B times n weights: how often each pair counts. NaN where it is not defined.

    All B at once, as sums over pairs are quadratic forms of the weights: scipy's τ of one column takes a millisecond.
    """
    # Every sum is an integer of at most the squared total, which single precision holds exactly below 2²⁴.
    single = weights.sum(1).max(initial=0) < 2**12
    counts = weights.astype(np.float32 if single else np.float64)
    dx, dy = (np.sign(v[:, None] - v[None, :]).astype(counts.dtype) for v in (x, y))
    both = ((counts @ (dx * dy)) * counts).sum(1).astype(np.float64)
    with np.errstate(invalid="ignore"):
        found: Vector = both / np.sqrt(_untied(x, counts) * _untied(y, counts))
    return found


def _untied(values: Vector, counts: NDArray[Any]) -> Vector:
    """Ordered pairs that differ in `values`, (B,): all, less those within each group of equal ones."""
    order = np.argsort(values, kind="stable")
    starts = np.concatenate([[0], np.flatnonzero(np.diff(values[order])) + 1])
    groups = np.add.reduceat(counts[:, order], starts, axis=1).astype(np.float64)
    untied: Vector = groups.sum(1) ** 2 - (groups**2).sum(1)
    return untied
