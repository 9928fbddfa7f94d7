"""The members of a front with all their trainings, as they lie in a run folder, and how sure they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nas.base.errors import CheckpointError
from nas.base.files import read_json
from nas.base.records import Evaluation, Outcome, TrialRecord, from_json
from nas.pareto import (
    Measure,
    Member,
    ParetoFront,
    Trainings,
    absences,
    has_all,
    members_by_wilson,
    members_of,
    selection_effects,
    selection_words,
)
from nas.pareto.front import Array
from nas.report.tables import tie_notes
from nas.runs import Run
from nas.runs.pruned import pruning_text
from nas.runs.quantized import quantization_text
from nas.runs.trial_files import RESULT, images_path, trial_folder

if TYPE_CHECKING:
    from nas.evaluation.scores import ImageScores


@dataclass(frozen=True)
class SureFront:
    """Members of a front with their uncertainty, and what must be said about it."""

    members: tuple[Member, ...]
    notes: tuple[str, ...]


def front_notes(run: Run, front: ParetoFront, asked: Sequence[Measure] = ()) -> list[str]:
    """What is to be said under a front: which of its objectives and of what else is `asked` were not measured.

    How its networks are quantized and pruned, and that its members were selected, with the effect of that where they
    were trained again.
    """
    notes = absences(run.records, (*front.objectives, *asked))
    notes += filter(None, (quantization_text(run.config), pruning_text(run.config.treatments)))
    if front.records:
        found = [_with_all(trainings_of(run, record), record, front.objectives) for record in front.records]
        values = [_values(r, own, front.objectives) for r, own in zip(front.records, found, strict=True)]
        notes.append(selection_words(selection_effects(values, front.objectives)))
    return notes


def trainings_of(run: Run, record: TrialRecord) -> dict[int, Evaluation]:
    """Evaluation of every finished training of an evaluated trial: 0 is the search's own, K that of seed_K.

    Only those that met the same rungs of the attack ladder on as many images count.
    """
    assert record.evaluation is not None, "only evaluated trials have trainings"
    number = record.number if record.reused_from is None else record.reused_from
    own, found = record.evaluation, {0: record.evaluation}
    for folder in trial_folder(run.trials_folder, number).glob("seed_*"):
        evaluation = _evaluation(folder / RESULT)
        if evaluation and (evaluation.fidelity, evaluation.num_images) == (own.fidelity, own.num_images):
            found[int(folder.name.removeprefix("seed_"))] = evaluation
    return dict(sorted(found.items()))


def _evaluation(path: Path) -> Evaluation | None:
    """Evaluation in the file at `path`; None for an unfinished training. Raises UsageError where damaged."""
    if not path.exists():
        return None
    return read_json(
        path, lambda data: from_json(Outcome, data["outcome"]).evaluation,
        "restore it, or remove it and run `nas search CONFIG`, which does this training again; all others are kept",
    )  # fmt: skip


def sure_front(run: Run, front: ParetoFront) -> SureFront:
    """`front` with the uncertainty of its members, from their scores image by image.

    Where such scores are missing (trials of an old version have none), only Wilson's intervals of the accuracies are
    left, and a note says so.
    """
    records, objectives = front.records, front.objectives
    found = [_with_all(trainings_of(run, record), record, objectives) for record in records]
    values = [_values(record, own, objectives) for record, own in zip(records, found, strict=True)]
    notes = [*_ladder_notes(records), *_seed_notes(run, records, found), *_derived_notes(objectives), *tie_notes(front)]
    try:
        trials = _by_image(run, records, found, objectives)
    except CheckpointError as error:
        notes.append(
            f"no scores image by image ({error}): only Wilson's 95 % intervals of the accuracies of the search's own "
            "trainings, no ranks and no probabilities; trials made before evaluation.seeds existed have none"
        )
        return SureFront(members_by_wilson(records, values, objectives), tuple(notes))
    return SureFront(members_of(records, trials, objectives), tuple(notes))


def trainings_by_image(run: Run, records: Sequence[TrialRecord], objectives: Sequence[Measure]) -> list[Trainings]:
    """All trainings of each evaluated trial, with their scores image by image.

    Raises CheckpointError where such scores are missing (trials of an old version have none).
    """
    found = [_with_all(trainings_of(run, record), record, objectives) for record in records]
    return _by_image(run, records, found, objectives)


def _by_image(
    run: Run, records: Sequence[TrialRecord], found: Sequence[dict[int, Evaluation]], objectives: Sequence[Measure]
) -> list[Trainings]:
    trials = []
    for record, own in zip(records, found, strict=True):
        images = _images(run, record, own)
        columns = tuple(_column(images, objective) for objective in objectives)
        trials.append(Trainings(_values(record, own, objectives), columns))
    return trials


def _with_all(
    found: Mapping[int, Evaluation], record: TrialRecord, objectives: Sequence[Measure]
) -> dict[int, Evaluation]:
    """Those of the trainings of `record` of which every objective was measured."""
    own = {repeat: dataclasses.replace(record, evaluation=evaluation) for repeat, evaluation in found.items()}
    return {repeat: found[repeat] for repeat, one in own.items() if has_all(one, objectives)}


def _values(record: TrialRecord, found: Mapping[int, Evaluation], objectives: Sequence[Measure]) -> Array:
    """Objectives of every training (S, M)."""
    repeats = [dataclasses.replace(record, evaluation=evaluation) for evaluation in found.values()]
    return np.array([[o.read(repeat) for o in objectives] for repeat in repeats], dtype=np.float64)


def _images(run: Run, record: TrialRecord, found: Mapping[int, Evaluation]) -> list[ImageScores]:
    """Scores of every training image by image. Raises CheckpointError where they are missing or do not fit."""
    from nas.evaluation.scores import load_scores

    scores = []
    for repeat, evaluation in found.items():
        path = images_path(trial_folder(run.trials_folder, record.number, repeat), evaluation.fidelity)
        images = load_scores(path)
        robust = float(images.robust.double().mean())
        if len(images.robust) != evaluation.num_images or abs(robust - evaluation.robust_accuracy) > 1e-9:
            raise CheckpointError(f"{path} does not belong to the evaluation beside it")
        scores.append(images)
    return scores


def _column(scores: Sequence[ImageScores], objective: Measure) -> Array | None:
    """What an objective is the mean of, of every training and image (S, N); None where it is no such mean."""
    import torch

    columns = [one.of(objective) for one in scores]
    found = [column for column in columns if column is not None]
    if not found or len(found) < len(columns):
        return None
    stacked = torch.stack(found)
    return np.asarray(stacked.double().numpy(), dtype=np.float64)


def _ladder_notes(records: Sequence[TrialRecord]) -> list[str]:
    by_rung = _grouped({r.number: r.evaluation.fidelity for r in records if r.evaluation})
    if len(by_rung) < 2:
        return []
    groups = "; ".join(f"{rung}: {_numbers(numbers)}" for rung, numbers in by_rung.items())
    return [f"not all were attacked as hard, and less hard looks more robust ({groups})"]


def _derived_notes(objectives: Sequence[Measure]) -> list[str]:
    names = ", ".join(objective.name for objective in objectives if objective.is_derived)
    return [f"{names}: computed from other scores, without an interval; ranks and ties take it as exact"] * bool(names)


def _seed_notes(run: Run, records: Sequence[TrialRecord], found: Sequence[Mapping[int, Evaluation]]) -> list[str]:
    counts = {record.number: len(own) for record, own in zip(records, found, strict=True)}
    if set(counts.values()) <= {1}:
        return ["one training each: the intervals are for other images, not for other trainings (evaluation.seeds)"]
    notes = [
        "means over trainings; their spread is pooled over the members (JSON: fresh_mean is the mean without the "
        "search's own training)"
    ]
    fewer = [number for number, count in counts.items() if count < run.config.evaluation.seeds]
    if fewer:
        notes.append(
            f"fewer than {run.config.evaluation.seeds} trainings: {_numbers(fewer)}, with the spread of the others; "
            "`nas search` trains the members of the run's own front"
        )
    return notes


def _grouped(values: Mapping[int, str]) -> dict[str, list[int]]:
    return {value: [n for n, other in values.items() if other == value] for value in dict.fromkeys(values.values())}


def _numbers(numbers: Sequence[int]) -> str:
    return f"trial{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
