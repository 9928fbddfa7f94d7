"""What of the objectives' box no member of a front dominates: how much of it a proposal would add.

Letters: P members of the front, M objectives (all minimised), S points.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
POINTS = 2000
"""Points of the objectives' box on which hypervolume is counted."""


@dataclass(frozen=True)
class OpenBox:
    """A front, and points beyond it."""

    front_PM: Array
    scale_M: Array
    """Range of each objective."""
    open_SM: Array
    """Points of the box that no member of the front dominates."""

    @classmethod
    def of(cls, front_PM: Array, scale_M: Array, low_M: Array, high_M: Array, rng: np.random.Generator) -> "OpenBox":
        """Those of POINTS points between `low_M` and `high_M`, drawn with `rng`, that `front_PM` leaves open."""
        points = low_M + (high_M - low_M) * rng.random((POINTS, len(scale_M)))
        dominated = (front_PM[:, None] <= points).all(-1).any(0)
        return cls(front_PM, scale_M, points[~dominated])

    def share(self, losses: Array) -> Array:
        """Share of the open points that losses of shape (..., M) dominate: hypervolume by Monte Carlo; (...)."""
        dominated = np.ones((*losses.shape[:-1], len(self.open_SM)), dtype=bool)
        for loss, open_S in zip(np.moveaxis(losses, -1, 0), self.open_SM.T, strict=True):
            dominated &= loss[..., None] <= open_S  # one objective at a time: ten times faster than all of them
        return np.asarray(np.count_nonzero(dominated, -1) / max(1, len(self.open_SM)))

    def distance(self, losses: Array) -> Array:
        """How much losses of shape (..., M) lack to be non-dominated, in scales: additive epsilon (Zitzler 2003)."""
        return np.asarray(((losses[..., None, :] - self.front_PM) / self.scale_M).min(-1).max(-1))
