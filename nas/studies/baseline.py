"""What a search bought: its networks against uniform ones, within the same cost.

The baseline is a sweep with `sweep.uniform`, best from several seeds. Both sides are scored under the attacks that all
have met, on the same images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.base.bootstrap import ends
from nas.base.errors import UsageError
from nas.base.records import TrialRecord, TrialState, by_network
from nas.budgets import COSTS
from nas.measures import Measure, measure
from nas.pareto import Trainings, front_of, hypervolume, is_non_dominated
from nas.pareto.uncertainty import resample
from nas.report.evaluations import protocol_text
from nas.runs import Run
from nas.runs.members import trainings_of
from nas.studies.common_rung import Attacks, at_common_rung, check_same_images, evaluation_after, standing_after

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Trained:
    """A network with those of its trainings that it is judged by."""

    record: TrialRecord
    """The first of its trainings, under the common attacks."""
    trainings: Trainings
    """Of one objective, the score."""
    is_fresh: bool
    """No training that the network was selected by is among them."""

    @property
    def score(self) -> float:
        """Mean over the trainings."""
        return float(self.trainings.mean[0])

    def facts(self, cost: Measure) -> dict[str, Any]:
        """JSON-ready."""
        record = self.record
        return {"trial": record.number, "genotype": dict(record.genotype.values), "cost": cost.read(record),
                "score": self.score, "trainings": len(self.trainings.values)}  # fmt: skip


@dataclass(frozen=True)
class Versus:
    """A search against its baseline."""

    facts: dict[str, Any]
    """`cost` and `score` name what is compared; `hypervolume` and `networks` of both sides, in all objectives, one
    training a network; `steps`: for every baseline network that no other dominates in cost and score, and within its
    cost, the searched one that scored best in its own search, with the `difference` of their means and its 95 %
    interval (`low`, `high`); `notes`; `compared_under`: attacks, threat, images."""
    searched: tuple[TrialRecord, ...]
    """Trials of the search under the common attacks."""
    baseline: tuple[TrialRecord, ...]
    """Those of the baseline, a record a training."""


def versus(run: Run, baseline: Run) -> Versus:
    """`run` against the networks of `baseline`, in the first objective that training decides and the first cost.

    Trials that met the screening attack alone are left out: each is dominated by one that withstood more. Intervals:
    bootstrap over images and trainings (nas/pareto/uncertainty.py). A searched network is judged by the trainings that
    it was not selected by, where it has any. Raises UsageError where the two cannot be compared.
    """
    check_same_images({str(run.folder): run.folder, str(baseline.folder): baseline.folder})
    met = [record for record in run.records if record.evaluation is None or record.evaluation.fidelity != "screen"]
    common = at_common_rung([(run.trials_folder, met), (baseline.trials_folder, baseline.records)])
    objectives = run.config.parsed_objectives
    score = next((one for one in objectives if not one.is_static and not one.is_derived), None)
    if score is None:
        raise UsageError("no objective of this run is decided by training: there is nothing to compare")
    cost = next((one for one in objectives if one.name in COSTS), measure("params"))
    searched, uniform = ([r for r in records if r.is_feasible] for records in common.runs)
    if not searched or not uniform:
        empty = run if not searched else baseline
        raise UsageError(f"{empty.folder} has no trained network within its limits: there is nothing to compare")
    networks = [_of_sweep(same, baseline, score, common.attacks) for same in by_network(uniform).values()]
    steps = [
        (one, _of_search(best, run, score, common.attacks))
        for one in _front(networks, cost, score)
        if (best := _best_within(searched, cost, cost.loss_of(one.record), score)) is not None
    ]
    trained = (record for record in run.records if record.state is TrialState.COMPLETE)
    reference = run.reference_point(objectives)
    sides = {"searched": searched, "baseline": [one.record for one in networks]}
    fronts = {name: front_of(records, objectives).records for name, records in sides.items()}
    facts = {
        "cost": cost.name, "score": score.name,
        "networks": {"searched": len(by_network(trained)), "baseline": len(networks)},
        "hypervolume": {name: hypervolume(records, objectives, reference) for name, records in fronts.items()},
        "steps": _steps(steps, cost, score), "notes": _notes(steps),
        "compared_under": protocol_text(common.evaluation),
    }  # fmt: skip
    return Versus(facts, common.runs[0], common.runs[1])


def _of_sweep(records: Sequence[TrialRecord], run: Run, score: Measure, attacks: Attacks) -> Trained:
    """A network of a sweep, all of its trainings trials of their own."""
    original = {record.number: record for record in run.records}
    rows = [_standing(original[record.number], run, attacks, 0, score) for record in records]
    return Trained(records[0], _trainings([score.read(record) for record in records], rows), is_fresh=True)


def _of_search(record: TrialRecord, run: Run, score: Measure, attacks: Attacks) -> Trained:
    """A network of a search, judged by its fresh trainings where it has any."""
    original = next(one for one in run.records if one.number == record.number)
    found = trainings_of(run, original)
    repeats = {repeat: replace(original, evaluation=found[repeat]) for repeat in sorted(found) if repeat} or {
        0: original
    }
    after = {k: replace(r, evaluation=evaluation_after(r, run.trials_folder, attacks, k)) for k, r in repeats.items()}
    rows = [_standing(one, run, attacks, repeat, score) for repeat, one in repeats.items()]
    return Trained(record, _trainings([score.read(one) for one in after.values()], rows), is_fresh=0 not in repeats)


def _standing(record: TrialRecord, run: Run, attacks: Attacks, repeat: int, score: Measure) -> Vector | None:
    if score.name != "robust_accuracy":
        return None
    found = standing_after(record, run.trials_folder, attacks, repeat)
    return None if found is None else np.asarray(found.double().numpy())


def _trainings(values: Sequence[float | None], images: Sequence[Vector | None]) -> Trainings:
    rows = None if any(row is None for row in images) else np.array(images, dtype=np.float64)
    return Trainings(np.array(values, dtype=np.float64)[:, None], (rows,))


def _front(networks: Sequence[Trained], cost: Measure, score: Measure) -> list[Trained]:
    """Those that no other dominates in cost and mean score, cheapest first."""
    matrix = np.array([[cost.loss_of(one.record), score.loss(one.score)] for one in networks])
    kept = [one for one, is_kept in zip(networks, is_non_dominated(matrix), strict=True) if is_kept]
    return sorted(kept, key=lambda one: cost.loss_of(one.record))


def _best_within(records: Sequence[TrialRecord], cost: Measure, limit: float, score: Measure) -> TrialRecord | None:
    within = [record for record in records if cost.loss_of(record) <= limit]
    return min(within, key=score.loss_of, default=None)


def _steps(pairs: Sequence[tuple[Trained, Trained]], cost: Measure, score: Measure) -> list[dict[str, Any]]:
    if not pairs:
        return []
    everyone = list({id(one): one for pair in pairs for one in pair}.values())
    place = {id(one): index for index, one in enumerate(everyone)}
    draws = resample([one.trainings for one in everyone], [score]).draws[..., 0]
    found = []
    for uniform, best in pairs:
        low, high = ends(draws[:, place[id(best)]] - draws[:, place[id(uniform)]])
        found.append({"limit": cost.read(uniform.record), "baseline": uniform.facts(cost), "searched": best.facts(cost),
                      "difference": best.score - uniform.score, "low": float(low), "high": float(high)})  # fmt: skip
    return found


def _notes(pairs: Sequence[tuple[Trained, Trained]]) -> list[str]:
    notes = ["each baseline network is the best within its cost by the scores that are shown, which flatters it"]
    stale = [best.record.number for _, best in pairs if not best.is_fresh]
    if stale:
        notes.append(
            f"trials {', '.join(map(str, dict.fromkeys(stale)))} are shown by the training that they were selected by, "
            "which flatters them more: set evaluation.seeds=3 and run `nas search` again"
        )
    if all(len(one.trainings.values) == 1 for pair in pairs for one in pair):
        notes.append("one training each: the intervals are for other images, not for other trainings (sweep.seeds)")
    return notes
