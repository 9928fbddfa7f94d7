"""Answers with numbers and intervals: what width, expand ratio and depth do, and what cheap quantities predict.

All intervals are 95 % percentile bootstraps over networks: trainings of one network from several seeds come and go
together, as they say little about other networks. Rank statistics are Kendall's τ-b (nas/studies/kendall.py), as
networks share widths. Below MIN_NETWORKS networks there are no intervals and no change points.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.base.bootstrap import drawn_times, interval_of
from nas.base.records import TrialRecord
from nas.budgets import COSTS
from nas.measures import MEASURES
from nas.pareto.luck import MIN_NETWORKS
from nas.studies.groups import groups_of
from nas.studies.kendall import tau_of
from search_spaces import BlockSpec, NetworkSpec

Vector = NDArray[np.float64]

RESAMPLES = 1000
"""Of a change point, which takes a least-squares fit for each of its places."""


def insights(records: Sequence[TrialRecord], spec_of: Callable[[TrialRecord], NetworkSpec]) -> dict[str, Any]:
    """The paper's questions for `records` (of scores under the common rung: `at_common_rung`), JSON-ready.

    `effects`: τ of every choice that varies, of W (mean width multiplier), E (mean expand ratio) and depth (number of
    convolutions), with every score. `thresholds`: where more W (or E, params) gains no more robust accuracy.
    `predictors`: τ of what is known before training with what is measured. Values that cannot be told are None.
    """
    trials = [record for group in groups_of(records) for record in group.records]
    keys = [record.genotype.key for record in trials]
    factors = {name: values for name, values in _factors(trials, spec_of).items() if len(set(values)) > 1}
    scores = {name: _scores(trials, name) for name in _measured(trials)}
    costs = {name: np.array([float(getattr(r.costs, name)) for r in trials]) for name in ("params", "macs")}
    cheap = {**costs, "lipschitz_bound_log10": scores["lipschitz_bound_log10"]}
    return {
        "trials": len(trials),
        "networks": len(set(keys)),
        "warnings": _warnings(trials, len(set(keys))),
        "effects": {
            factor: {name: _kendall(np.array(values), score, keys) for name, score in scores.items()}
            for factor, values in factors.items()
        },
        "thresholds": {
            factor: threshold(np.array(values), scores["robust_accuracy"], keys)
            for factor, values in {
                **{k: v for k, v in factors.items() if k in ("W", "E")},
                "params": costs["params"],
            }.items()
        },
        "predictors": {
            name: {score: _kendall(values, scores[score], keys) for score in scores if score != name}
            for name, values in cheap.items()
        },
    }


def scored() -> list[str]:
    """Scores of an evaluation that a question is asked of; those that some trial lacks are left out."""
    return [name for name, one in MEASURES.items() if name not in COSTS and not one.is_derived and not one.is_rescaled]


def _measured(trials: Sequence[TrialRecord]) -> list[str]:
    return [name for name in scored() if all(_has(record, name) for record in trials)]


def _has(record: TrialRecord, name: str) -> bool:
    return record.evaluation is not None and record.evaluation.score(name) is not None


def _scores(trials: Sequence[TrialRecord], name: str) -> Vector:
    return np.array([MEASURES[name].read(record) for record in trials], dtype=np.float64)


def _factors(
    trials: Sequence[TrialRecord], spec_of: Callable[[TrialRecord], NetworkSpec]
) -> Mapping[str, Sequence[float]]:
    numbers = [{k: float(v) for k, v in r.genotype.values.items() if not isinstance(v, str)} for r in trials]
    found = {name: [one[name] for one in numbers] for name in numbers[0]}
    for short, start in (("W", "width"), ("E", "expand")):
        if any(name.startswith(start) for name in found):
            found[short] = [fmean(v for name, v in one.items() if name.startswith(start)) for one in numbers]
            found = {name: v for name, v in found.items() if name == short or v != found[short]}
    found["depth"] = [float(sum(map(_depth, spec_of(r).blocks))) for r in trials]
    return found


def _depth(block: BlockSpec) -> int:
    """Convolutions one behind the other."""
    return len(block.convolutions) - block.has_projection


def _warnings(trials: Sequence[TrialRecord], networks: int) -> list[str]:
    counts = {name: sum(_has(record, name) for record in trials) for name in scored()}
    found = [f"{name} is left out: only {count} of {len(trials)} trials have it under the common attack"
             for name, count in counts.items() if 0 < count < len(trials)]  # fmt: skip
    if networks < MIN_NETWORKS:
        found.append(f"no intervals and no change points: {_too_few(networks)}")
    return found


def _too_few(networks: int) -> str:
    return f"{networks} different networks, at least {MIN_NETWORKS} are needed (more seeds of one add none)"


def _kendall(x: Vector, y: Vector, networks: Sequence[str]) -> dict[str, float | None]:
    """τ-b of two columns with its interval over `networks`; None where one of them does not vary."""
    tau = tau_of(x.tolist(), y.tolist(), networks)
    low, high = (tau.interval.low, tau.interval.high) if tau.interval else (None, None)
    return {"tau": tau.value, "low": low, "high": high}


def threshold(x: Vector, y: Vector, networks: Sequence[str]) -> dict[str, float | str | None]:
    """Change point t of y ≈ a + b · min(x, t) + c · max(x − t, 0) by least squares, with its interval.

    `before` and `after` are the slopes b and c; `improvement` the share of the squared error of one straight line
    that the break removes. All are None, and `words` says why, below MIN_NETWORKS different `networks` (a key for each
    trial), with fewer than four different x, or a constant y: a break could not be told from a line.
    """
    _, place = np.unique(np.array(networks, dtype=str), return_inverse=True)
    reason = _no_threshold(x, y, len(set(networks)))
    if reason:
        return {**dict.fromkeys(("at", "low", "high", "before", "after", "improvement")), "words": reason}
    at, before, after, improvement = _break(x, y)
    chosen = [np.repeat(np.arange(len(x)), times[place]) for times in drawn_times(len(set(networks)), RESAMPLES)]
    found = np.array([_break(x[rows], y[rows])[0] if len(set(x[rows])) > 3 else np.nan for rows in chosen])
    interval = interval_of(found)
    low, high = (interval.low, interval.high) if interval else (None, None)
    words = "" if interval else "no interval: most resamples have fewer than four different values"
    found_at = {"at": at, "low": low, "high": high}
    return {**found_at, "before": before, "after": after, "improvement": improvement, "words": words}


def _no_threshold(x: Vector, y: Vector, networks: int) -> str:
    """Why a change point is refused; empty where it is not."""
    if networks < MIN_NETWORKS:
        return _too_few(networks)
    if len(set(x)) < 4:
        return "fewer than four different values"
    return "robust accuracy does not vary" if np.ptp(y) == 0 else ""


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
