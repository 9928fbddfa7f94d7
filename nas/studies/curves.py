"""Scores after every epoch: figures 2 to 4 of Mousavi 2023 for any run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.base.errors import UsageError
from nas.base.files import read_json_lines
from nas.base.records import Evaluation, TrialRecord, from_json
from nas.pareto import MEASURES
from nas.runs.trial_files import CURVE, trial_folder
from nas.studies.groups import groups_of

CURVES = tuple(
    (name, MEASURES[name].title)
    for name in ("natural_accuracy", "robust_accuracy", "instability_scaled", "lipschitz_empirical_scaled")
)
"""Panels: the paper's figures 2 and 3, and 4."""
NOT_TRACKED = "no trial was scored after every epoch; train with --set training.track_every_epoch=true"

READ = ("epoch", *(name for name, _ in CURVES), "instability", "lipschitz_empirical")
"""What every line of a curve must have."""

REMEDY = "restore it, or remove it to do without this trial's epochs; its final scores are kept (`nas front`)"


def read_curve(folder: Path) -> dict[int, Mapping[str, Any]]:
    """Scores in a trial's folder after every epoch, by epoch; empty where none were tracked.

    A training that was killed and went on from its rung has some epochs twice: the later ones count.
    """
    return {scores["epoch"]: scores for scores in read_json_lines(folder / CURVE, _scores, REMEDY)}


def _scores(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """`data` where it has all that is read of an epoch."""
    return {**data, **{name: data[name] for name in READ}}


def tracked_evaluation(records: Sequence[TrialRecord], trials_folder: Path) -> Evaluation:
    """One of the evaluations after an epoch: all are made by the same attack, whatever rung the trials reached later.

    Raises UsageError where no trial was scored after every epoch.
    """
    for record in records:
        for scores in read_curve(trial_folder(trials_folder, record.number)).values():
            return from_json(Evaluation, {name: value for name, value in scores.items() if name != "epoch"})
    raise UsageError(NOT_TRACKED)


def curve_rows(records: Sequence[TrialRecord], trials_folder: Path) -> list[dict[str, Any]]:
    """One row for each trial and epoch: its group's label, the genotype, the scores. Raises UsageError where none is.

    `seconds` is the trial's wall time, scoring included, shared out evenly over its epochs.
    """
    rows = []
    for group in groups_of(records):
        for record in group.records:
            curve = read_curve(trial_folder(trials_folder, record.number))
            for scores in curve.values():
                rows.append({"network": group.label, "trial": record.number, "seed": record.seed}
                            | dict(record.genotype.values) | {name: scores[name] for name in READ}
                            | scores.get("scores", {}) | {"seconds": record.seconds / len(curve)})  # fmt: skip
    if not rows:
        raise UsageError(NOT_TRACKED)
    return rows
