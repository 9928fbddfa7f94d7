"""What a trial leaves in its folder, and where."""

import dataclasses
import json
from pathlib import Path

from nas.base.records import Candidate, Fidelity, Outcome, from_json, to_json
from nas.evaluation.ladder import RUNGS

LOG = "log.jsonl"
"""Means over every epoch (nas.training.EpochLog)."""

CURVE = "curve.jsonl"
"""An Evaluation after every epoch, where `track_every_epoch` asks for it."""

WEIGHTS = "model.safetensors"
"""The network that was scored."""

STATE = "state.safetensors"
"""The training of a candidate that waits at a stage of epochs, or was halted there."""

ERROR = "error.txt"
"""Traceback of the attempt that failed."""

RESULT = "evaluation.json"
"""Written last: a trial folder with this file is finished."""


def images_path(folder: Path, fidelity: Fidelity) -> Path:
    """Results image by image (nas/evaluation/scores.py) of the trial in `folder`, after the rung `fidelity`."""
    return folder / f"images_{fidelity}.safetensors"


def trial_folder(trials: Path, number: int, repeat: int = 0) -> Path:
    """Folder of a trial in the folder of all `trials`, or of its training number `repeat` from another seed."""
    own = trials / f"{number:05d}"
    return own / f"seed_{repeat}" if repeat else own


def epochs_trained(trials: Path, number: int, repeat: int = 0) -> int | None:
    """Epochs that a training on this machine has finished; None where it has written nothing yet."""
    try:
        return (trial_folder(trials, number, repeat) / LOG).read_bytes().count(b'"epoch"')
    except OSError:
        return None


def inherited_path(trials: Path, candidate: Candidate) -> Path | None:
    """Weights that the training of `candidate` starts from; None where it starts from random ones."""
    return None if candidate.inherits is None else trial_folder(trials, candidate.inherits) / WEIGHTS


def stored_outcome(trials: Path, candidate: Candidate) -> Outcome | None:
    """Outcome in the folder of `candidate`, on whatever rung; None where it is not finished, or of another one."""
    try:
        path = trial_folder(trials, candidate.number, candidate.repeat) / RESULT
        stored = json.loads(path.read_bytes())
        found = from_json(Candidate, stored["candidate"])
        same = dataclasses.replace(found, fidelity=candidate.fidelity, epochs=candidate.epochs) == candidate
        return from_json(Outcome, stored["outcome"]) if same else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def discard_leftovers(outcome: Outcome, folder: Path) -> None:
    """Removes what `outcome` leaves behind in `folder`: the error of an attempt before it, and its training if over."""
    (folder / ERROR).unlink(missing_ok=True)
    if outcome.epochs is None:
        (folder / STATE).unlink(missing_ok=True)


def reaches(outcome: Outcome, candidate: Candidate) -> bool:
    """Whether `outcome` is what `candidate` asks for, or of more epochs or a higher rung of the attack ladder."""
    found = outcome.evaluation
    if outcome.epochs is not None:
        return candidate.epochs is not None and outcome.epochs >= candidate.epochs
    return (
        found is None or candidate.epochs is not None or RUNGS.index(found.fidelity) >= RUNGS.index(candidate.fidelity)
    )


def fingerprint_of(candidate: Candidate) -> str:
    """Names the whole training of `candidate`, on whatever rung it is."""
    named = to_json(dataclasses.replace(candidate, fidelity="attack", epochs=None))
    if candidate.inherits is None:
        del named["inherits"]  # states that were saved before there was inheritance lack it
    return json.dumps(named)
