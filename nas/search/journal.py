"""The journal file of a study: one line of JSON for every change, as Optuna's JournalStorage writes them.

What reading verbs need of it is read here, as importing Optuna takes longer than all else that they do.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from nas.base.errors import StudyCorrupt
from nas.base.files import write_atomic

STUDY_NAME = "search"

CREATE_STUDY, CREATE_TRIAL, SET_STATE, SET_ATTRIBUTE = 0, 4, 6, 8
OPERATIONS = range(11)
"""Values of optuna.storages.journal._storage.JournalOperation."""
COMPLETE, PRUNED, FAIL = 1, 2, 3
"""States of finished trials, values of optuna.trial.TrialState."""


@dataclass
class StoredTrial:
    """A trial of a study, as far as the project reads it."""

    state: int = 0
    values: Sequence[float] | None = None
    """Objectives that the study was told."""
    attributes: dict[str, Any] = field(default_factory=dict)
    """User attributes; `record` holds the TrialRecord."""


class DamagedLine(ValueError):
    """A line that is no JSON and has others behind it."""

    def __init__(self, number: int, error: Exception) -> None:
        super().__init__(str(error))
        self.number = number


def read_trials(path: Path) -> dict[int, StoredTrial]:
    """Finished trials of the journal at `path`, by number, in their order. Changes nothing; safe while a search writes.

    Raises StudyCorrupt with the first line that cannot be read, and where there is no study.
    """
    found, reached = _Replay(), 0
    try:
        with path.open("rb") as file:
            for line, log in logs(file):
                reached = line
                found.apply(log)
        if STUDY_NAME not in found.studies:
            raise ValueError("it has no study")
    except FileNotFoundError:
        raise StudyCorrupt(f"no study at {path}: nothing was searched there; start with `nas search CONFIG`") from None
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise unreadable(path, error, error.number if isinstance(error, DamagedLine) else reached) from error
    trials = enumerate(trial for study, trial in found.trials if study == STUDY_NAME)
    return {number: trial for number, trial in trials if trial.state in (COMPLETE, FAIL)}


def unreadable(path: Path, error: Exception, line: int = 0) -> StudyCorrupt:
    """The journal at `path` cannot be read because of `error`, first in `line` (0: not known)."""
    where, cut = (f" (first bad line: {line})", ", or cut it before that line") if line else ("", "")
    return StudyCorrupt(
        f"{path} is not a readable study{where} ({type(error).__name__}: {error}); restore it from a copy{cut}: "
        f"finished trials keep their results under trials/"
    )


def repair_journal(path: Path) -> None:
    """Removes from the journal at `path` what holds no record: blank lines, and a last line that is half-written.

    A crash, a full disk, a power cut or an editor leaves these. Nothing else is changed.
    """
    if not path.is_file():
        return
    content = path.read_bytes()
    kept = [line for line in content.splitlines(keepends=True) if not _is_blank(line)]
    if kept:
        try:
            _parsed(kept[-1])
        except ValueError:
            kept.pop()
    whole = b"".join(kept)
    if whole != content:
        write_atomic(path, whole)


def logs(file: BinaryIO) -> Iterator[tuple[int, Any]]:
    """Lines of a journal from where `file` is, counted from 1, parsed. Blank ones are skipped, half a last one too.

    Raises DamagedLine for another one that is no JSON.
    """
    for number, line in enumerate(file, 1):
        if _is_blank(line):
            continue
        try:
            log = _parsed(line)
        except ValueError as error:
            if _is_blank(file.read()):
                return
            raise DamagedLine(number, error) from error
        yield number, log


def _is_blank(line: bytes) -> bool:
    """Whether there is nothing in it; a power cut may leave zeros at the end of a file."""
    return not line.strip(b"\0 \t\r\n")


def _parsed(line: bytes) -> Any:
    """What a line of a journal holds. Raises ValueError for half a line."""
    if not line.endswith(b"\n"):
        raise ValueError("a line without its end")
    return json.loads(line)


class _Replay:
    """Studies and trials after the logs so far, as Optuna's JournalStorageReplayResult has them."""

    def __init__(self) -> None:
        self.studies: list[str] = []
        self.trials: list[tuple[str, StoredTrial]] = []

    def apply(self, log: Mapping[str, Any]) -> None:
        operation = log["op_code"]
        if operation not in OPERATIONS:
            raise ValueError(f"unknown op_code {operation!r}")
        if operation == CREATE_STUDY and log["study_name"] not in self.studies:
            self.studies.append(log["study_name"])
        elif operation == CREATE_TRIAL:
            trial = StoredTrial(log.get("state", 0), log.get("values"), dict(log.get("user_attrs", {})))
            self.trials.append((self.studies[log["study_id"]], trial))
        elif operation in (SET_STATE, SET_ATTRIBUTE):
            trial = self.trials[log["trial_id"]][1]
            if trial.state in (COMPLETE, PRUNED, FAIL):
                return  # what is finished is never changed
            if operation == SET_ATTRIBUTE:
                trial.attributes |= log["user_attr"]
            else:
                trial.state, trial.values = log["state"], log["values"]
