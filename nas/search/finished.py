"""Finished trials of a study, in a journal file or a database, as later verbs read them."""

from pathlib import Path
from typing import Any

from nas.base.errors import StudyCorrupt
from nas.base.files import fault_text
from nas.base.records import TrialRecord, TrialState, from_json
from nas.search.database import Database
from nas.search.journal import COMPLETE, StoredTrial, read_trials

Place = Path | Database
"""Where a study is: in a journal file, or in a database."""


def read_records(place: Place) -> list[TrialRecord]:
    """Finished trials of the study at `place`, by number, without changing anything. Safe while a search writes.

    Raises StudyCorrupt where there is none or it cannot be read.
    """
    return records_of(_read(place), place)


def read_predictions(place: Place) -> dict[int, tuple[list[float], list[float]]]:
    """Predicted and told objectives of every trained trial that a surrogate chose, by number (search.prescreen).

    A halted one was told what it had at its rung. Raises StudyCorrupt as `read_records`.
    """
    chosen = {
        number: trial for number, trial in _read(place).items()
        if trial.state == COMPLETE and "predicted" in trial.attributes
    }  # fmt: skip
    return {
        record.number: (chosen[record.number].attributes["predicted"], list(chosen[record.number].values or ()))
        for record in records_of(chosen, place)
        if is_trained(record)
    }


def records_of(trials: dict[int, StoredTrial], place: Place | None) -> list[TrialRecord]:
    """Records of those of the finished `trials` that have one. Raises StudyCorrupt as `record_of`."""
    found = {number: trial.attributes["record"] for number, trial in trials.items() if "record" in trial.attributes}
    return [record_of(number, data, place) for number, data in found.items()]


def record_of(number: int, data: Any, place: Place | None) -> TrialRecord:
    """The record of trial `number`. Raises StudyCorrupt where `data` is none that this version writes."""
    try:
        return from_json(TrialRecord, data)
    except ValueError as error:
        raise StudyCorrupt(
            f"{place}: the record of trial {number} is damaged, or of another version ({fault_text(error)}); read the "
            f"run with the version that wrote it (git_revision in its environment.json), or use --run NAME for a new "
            f"run; trials/ keeps every network with its scores"
        ) from error


def is_trained(record: TrialRecord) -> bool:
    """Whether the trial cost a training of its own (it was neither rejected nor reused)."""
    return record.state is not TrialState.REJECTED and record.reused_from is None


def _read(place: Place) -> dict[int, StoredTrial]:
    if isinstance(place, Path):
        return read_trials(place)
    from nas.search.study import read_database  # imports Optuna

    return read_database(place)
