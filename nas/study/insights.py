"""Answers with numbers and intervals: what width, expand ratio and depth do, and what cheap quantities predict.

All intervals are 95 % percentile bootstraps over the trained trials (1,000 resamples, one seed). Rank statistics are
Kendall's τ-b, as networks share widths. Trials of one network from several seeds count one by one.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.records import TrialRecord
from nas.study.groups import groups_of
from nas.study.kendall import taus
from search_spaces import NetworkSpec

Vector = NDArray[np.float64]

MEASURED = (
    "natural_accuracy", "robust_accuracy", "instability", "lipschitz_bound_log10", "lipschitz_empirical",
    "lipschitz_maximised", "lipschitz_certified_log10",
)  # fmt: skip
"""Scores of an evaluation; those that some trial lacks are left out."""
RESAMPLES = 1000
MIN_TRIALS = 5


def insights(records: Sequence[TrialRecord], spec_of: Callable[[TrialRecord], NetworkSpec]) -> dict[str, Any]:
    """The paper's questions for `records`, JSON-ready.

    `effects`: τ of every choice that varies, of W (mean width multiplier), E (mean expand ratio) and depth (number of
    convolutions), with every score. `thresholds`: where more W (or E, params) gains no more robust accuracy.
    `predictors`: τ of what is known before training with what is measured. Values that cannot be told are None.
    """
    trials = [record for group in groups_of(records) for record in group.records]
    factors = {name: values for name, values in _factors(trials, spec_of).items() if len(set(values)) > 1}
    scores = {name: _scores(trials, name) for name in _measured(trials)}
    costs = {name: np.array([float(getattr(r.costs, name)) for r in trials]) for name in ("params", "macs")}
    cheap = {**costs, "lipschitz_bound_log10": scores["lipschitz_bound_log10"]}
    return {
        "trials": len(trials),
        "networks": len({record.genotype.key for record in trials}),
        "warnings": [f"only {len(trials)} trials: the intervals mean little"] if len(trials) < 2 * MIN_TRIALS else [],
        "effects": {
            factor: {name: _kendall(np.array(values), score) for name, score in scores.items()}
            for factor, values in factors.items()
        },
        "thresholds": {
            factor: threshold(np.array(values), scores["robust_accuracy"])
            for factor, values in {
                **{k: v for k, v in factors.items() if k in ("W", "E")},
                "params": costs["params"],
            }.items()
        },
        "predictors": {
            name: {score: _kendall(values, scores[score]) for score in scores if score != name}
            for name, values in cheap.items()
        },
    }


def _measured(trials: Sequence[TrialRecord]) -> list[str]:
    return [name for name in MEASURED if all(getattr(record.evaluation, name) is not None for record in trials)]


def _scores(trials: Sequence[TrialRecord], name: str) -> Vector:
    return np.array([float(getattr(record.evaluation, name)) for record in trials])


def _factors(
    trials: Sequence[TrialRecord], spec_of: Callable[[TrialRecord], NetworkSpec]
) -> Mapping[str, Sequence[float]]:
    numbers = [{k: float(v) for k, v in r.genotype.values.items() if not isinstance(v, str)} for r in trials]
    found = {name: [one[name] for one in numbers] for name in numbers[0]}
    for short, start in (("W", "width"), ("E", "expand")):
        if any(name.startswith(start) for name in found):
            found[short] = [fmean(v for name, v in one.items() if name.startswith(start)) for one in numbers]
            found = {name: v for name, v in found.items() if name == short or v != found[short]}
    found["depth"] = [float(sum(len(block.convolutions) for block in spec_of(r).blocks)) for r in trials]
    return found


def _kendall(x: Vector, y: Vector) -> dict[str, float | None]:
    """τ-b of two columns with its interval; None where one of them does not vary."""
    (tau,) = taus(x, y, np.ones((1, len(x))))
    found = taus(x, y, np.stack([np.bincount(chosen, minlength=len(x)) for chosen in _resamples(len(x))]))
    low, high = _interval(found[np.isfinite(found)], len(x))
    return {"tau": float(tau) if np.isfinite(tau) else None, "low": low, "high": high}


def threshold(x: Vector, y: Vector) -> dict[str, float | None]:
    """Change point t of y ≈ a + b · min(x, t) + c · max(x − t, 0) by least squares, with its interval.

    `before` and `after` are the slopes b and c; `improvement` the share of the squared error of one straight line
    that the break removes. None with fewer than four different x, or a constant y: a break could not be told from a
    line.
    """
    nothing = dict.fromkeys(("at", "low", "high", "before", "after", "improvement"))
    if len(set(x)) < 4 or len(x) < MIN_TRIALS or np.ptp(y) == 0:
        return nothing
    at, before, after, improvement = _break(x, y)
    resampled = [chosen for chosen in _resamples(len(x)) if len(set(x[chosen])) > 3]
    low, high = _interval(np.array([_break(x[chosen], y[chosen])[0] for chosen in resampled]), len(x))
    return {"at": at, "low": low, "high": high, "before": before, "after": after, "improvement": improvement}


def _break(x: Vector, y: Vector) -> tuple[float, float, float, float]:
    line = np.stack([np.ones_like(x), x], 1)
    straight, rounding = _error(line, y)[1], 1e-20 * float((y**2).sum())
    best: tuple[float, Vector, float] | None = None
    for t in np.unique(x)[1:-1]:
        bent = np.stack([np.ones_like(x), np.minimum(x, t), np.maximum(x - t, 0)], 1)
        coefficients, error = _error(bent, y)
        if best is None or error < best[2]:
            best = float(t), coefficients, error
    assert best is not None, "at least three different values"
    return best[0], float(best[1][1]), float(best[1][2]), 1 - best[2] / straight if straight > rounding else 0.0


def _error(columns: Vector, y: Vector) -> tuple[Vector, float]:
    coefficients = np.linalg.lstsq(columns, y, rcond=None)[0]
    return coefficients.astype(np.float64), float(((columns @ coefficients - y) ** 2).sum())


def _resamples(count: int) -> NDArray[np.int64]:
    """Indices (RESAMPLES, count) of trials drawn with replacement, always the same."""
    return np.random.default_rng(0).integers(0, count, (RESAMPLES, count))


def _interval(values: Vector, count: int) -> tuple[float | None, float | None]:
    """95 % percentile interval of a statistic of the resamples; None where too few of them, or trials, have one."""
    if count < MIN_TRIALS or len(values) < RESAMPLES / 2:
        return None, None
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
