"""The networks that several runs have in common, by their scores in each: scratch or fine-tuned, narrow or wide."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from nas.errors import UsageError
from nas.pareto import Metric, hypervolume
from nas.records import TrialRecord, TrialState
from nas.seeding import derive_seed
from nas.study.kendall import tau_of

RESAMPLES = 2000
METRICS = ("robust_accuracy", "natural_accuracy", "instability")


def comparison(
    runs: Mapping[str, Sequence[TrialRecord]], objectives: Sequence[Metric], reference: Sequence[float]
) -> list[dict[str, Any]]:
    """A row for each run: means over the common networks, differences from the first run, τ with it, their front.

    A network trained from several seeds enters by the mean of its scores. `…_difference` is paired, network by network,
    with a 95 % percentile bootstrap over networks. `hypervolume` is that of the common networks by this run's scores
    (the best-looking training of each), `seconds` what a network took in the mean. Raises UsageError where the runs
    have no network in common.
    """
    scores = {name: _means(records) for name, records in runs.items()}
    common = sorted(set.intersection(*(set(found) for found in scores.values())))
    if not common:
        raise UsageError(f"{', '.join(runs)} have no trained network in common; compare sweeps of the same networks")
    first = next(iter(runs))
    rows: list[dict[str, Any]] = []
    for name, records in runs.items():
        same = [r for r in records if r.genotype.key in common and _is_scored(r)]
        row: dict[str, Any] = {"run": name, "networks": len(common), "trainings": len(same)}
        for metric in METRICS:
            own, theirs = ([scores[run][key][metric] for key in common] for run in (name, first))
            row[metric] = fmean(own)
            row |= _difference(metric, np.array(own) - np.array(theirs)) if name != first else {}
        if name != first:
            ours = [scores[name][key]["robust_accuracy"] for key in common]
            tau = tau_of([scores[first][key]["robust_accuracy"] for key in common], ours, common)
            row |= {"tau": tau.value, "tau_low": tau.interval.low if tau.interval else None,
                    "tau_high": tau.interval.high if tau.interval else None}  # fmt: skip
        rows.append(row | {"hypervolume": hypervolume(same, objectives, reference),
                           "seconds": fmean(record.seconds for record in same)})  # fmt: skip
    return rows


def _is_scored(record: TrialRecord) -> bool:
    return record.state is TrialState.COMPLETE and record.reused_from is None and record.evaluation is not None


def _means(records: Sequence[TrialRecord]) -> dict[str, dict[str, float]]:
    groups: dict[str, list[TrialRecord]] = {}
    for record in filter(_is_scored, records):
        groups.setdefault(record.genotype.key, []).append(record)
    return {key: {metric: fmean(getattr(r.evaluation, metric) for r in same) for metric in METRICS}
            for key, same in groups.items()}  # fmt: skip


def _difference(metric: str, gaps: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
    rng = np.random.default_rng(derive_seed(0, "comparison", len(gaps)))
    means = gaps[rng.integers(0, len(gaps), (RESAMPLES, len(gaps)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {f"{metric}_difference": float(gaps.mean()), f"{metric}_low": float(low), f"{metric}_high": float(high)}
