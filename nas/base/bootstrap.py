"""Percentile bootstrap (Efron 1979): B resamples, with replacement, of n networks, searches or images."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nas.base.records import Interval
from nas.base.seeding import derive_seed

RESAMPLES = 2000
"""B where a caller asks for no other."""


def drawn_times(count: int, resamples: int, rng: np.random.Generator | None = None) -> NDArray[np.int64]:
    """How often each of `count` things is in each resample, (B, n), drawn from `rng`; always the same without one."""
    rng = rng or np.random.default_rng(derive_seed(0, "kendall", count))  # another label, other published intervals
    drawn = rng.integers(0, count, (resamples, count)) + count * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * count).reshape(resamples, count)


def ends(draws: NDArray[np.float64], method: Literal["linear", "inverted_cdf"] = "linear") -> NDArray[np.float64]:
    """Ends (2, …) of 95 % intervals, from values in resamples (B, …); `inverted_cdf` takes some of these, also inf."""
    return np.asarray(np.quantile(draws, (0.025, 0.975), axis=0, method=method))


def interval_of(draws: NDArray[np.float64]) -> Interval | None:
    """95 % interval of a statistic, NaN in resamples where it has no value; None where it has none in most of them."""
    found = draws[np.isfinite(draws)]
    return Interval(*ends(found).tolist()) if len(found) >= len(draws) / 2 else None


def mean_interval(values: NDArray[np.float64]) -> Interval:
    """95 % interval of the mean of `values`, always the same for the same ones."""
    drawn = np.random.default_rng(0).choice(values, (RESAMPLES, len(values)))
    return Interval(*ends(drawn.mean(1)).tolist())
