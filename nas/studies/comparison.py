"""The networks that several runs have in common, by their scores in each: scratch or fine-tuned, narrow or wide.

Records come with their scores under the common rung (`in_common`, then `nas.studies.common_rung.at_common_rung`).
"""

from collections.abc import Mapping, Sequence
from math import nan
from statistics import fmean
from typing import Any

import numpy as np

from nas.base.bootstrap import RESAMPLES, drawn_times, interval_of
from nas.base.errors import UsageError
from nas.base.records import TrialRecord, TrialState, by_network
from nas.measures import Measure, measure
from nas.pareto import has_all, hypervolume
from nas.pareto.luck import MIN_NETWORKS
from nas.studies.kendall import Tau, tau_of

USUAL = ("robust_accuracy", "natural_accuracy", "instability")


def _compared(records: Sequence[TrialRecord], objectives: Sequence[Measure]) -> tuple[Measure, ...]:
    """The usual scores, and those `objectives` that training decides and all `records` have."""
    trained = (one for one in objectives if not one.is_static and all(has_all(record, [one]) for record in records))
    return tuple(dict.fromkeys((*map(measure, USUAL), *trained)))


def comparison(
    runs: Mapping[str, Sequence[TrialRecord]], objectives: Sequence[Measure], reference: Sequence[float]
) -> list[dict[str, Any]]:
    """A row for each run: means over the common networks, differences from the first run, τ with it, their front.

    The scores are USUAL and those objectives that training decides and every trial has. A network trained from several
    seeds enters by the mean of its scores. `…_difference` is paired, network by network,
    with a 95 % percentile bootstrap over networks. `tau` is of robust accuracy with the first run's, `tau_params` of
    robust accuracy with the parameters: what size alone would tell. `hypervolume` is that of the common networks by
    this run's scores (the best-looking training of each), `seconds` what a network took in the mean. Raises UsageError
    where the runs have no network in common.
    """
    scores = mean_scores(runs, objectives)
    first, baseline = next(iter(scores.items()))
    names = [name for name in next(iter(baseline.values())) if name != "params"]
    common = list(baseline)
    rows: list[dict[str, Any]] = []
    for name, found in scores.items():
        columns = {m: [found[key][m] for key in common] for m in (*names, "params")}
        same = [r for r in runs[name] if r.genotype.key in baseline and _is_scored(r)]
        row: dict[str, Any] = {"run": name, "networks": len(common), "trainings": len(same)}
        for metric in names:
            theirs = [baseline[key][metric] for key in common]
            row[metric] = fmean(columns[metric])
            row |= _difference(metric, np.array(columns[metric]) - np.array(theirs)) if name != first else {}
        robust = columns["robust_accuracy"]
        if name != first:
            row |= _bounded("tau", tau_of([baseline[key]["robust_accuracy"] for key in common], robust, common))
        row |= _bounded("tau_params", tau_of(columns["params"], robust, common))
        rows.append(row | {"hypervolume": hypervolume(same, objectives, reference),
                           "seconds": fmean(record.seconds for record in same)})  # fmt: skip
    return rows


def in_common(runs: Mapping[str, Sequence[TrialRecord]]) -> dict[str, list[TrialRecord]]:
    """For each run its trainings of the networks that all of them trained. Raises UsageError where there are none."""
    trained = {name: [record for record in records if _is_scored(record)] for name, records in runs.items()}
    common = set.intersection(*({record.genotype.key for record in records} for records in trained.values()))
    if not common:
        raise UsageError(f"{', '.join(runs)} have no trained network in common; compare sweeps of the same networks")
    return {name: [r for r in records if r.genotype.key in common] for name, records in trained.items()}


def mean_scores(
    runs: Mapping[str, Sequence[TrialRecord]], objectives: Sequence[Measure] = ()
) -> dict[str, dict[str, dict[str, float]]]:
    """For each run the scores of the networks that all of them trained, and their parameters; means over seeds.

    Raises UsageError where there are none.
    """
    common_records = in_common(runs)
    measures = _compared([record for records in common_records.values() for record in records], objectives)
    scores = {name: _means(records, measures) for name, records in common_records.items()}
    common = sorted(next(iter(scores.values())))
    return {name: {key: found[key] for key in common} for name, found in scores.items()}


def _is_scored(record: TrialRecord) -> bool:
    return record.state is TrialState.COMPLETE and record.reused_from is None and record.evaluation is not None


def _means(records: Sequence[TrialRecord], measures: Sequence[Measure]) -> dict[str, dict[str, float]]:
    return {key: {one.name: fmean(_value(one, r) for r in same) for one in measures}
            | {"params": float(same[0].costs.params)} for key, same in by_network(records).items()}  # fmt: skip


def _value(measure: Measure, record: TrialRecord) -> float:
    """Score of `record`; NaN where it has none."""
    value = measure.read(record)
    return nan if value is None else value


def _bounded(name: str, tau: Tau) -> dict[str, float | None]:
    low, high = (tau.interval.low, tau.interval.high) if tau.interval else (None, None)
    return {name: tau.value, f"{name}_low": low, f"{name}_high": high}


def _difference(metric: str, gaps: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float | None]:
    """Mean of the gaps of networks with its 95 % percentile interval; without one below MIN_NETWORKS."""
    interval = interval_of(drawn_times(len(gaps), RESAMPLES) @ gaps / len(gaps)) if len(gaps) >= MIN_NETWORKS else None
    low, high = (interval.low, interval.high) if interval else (None, None)
    return {f"{metric}_difference": float(gaps.mean()), f"{metric}_low": low, f"{metric}_high": high}
