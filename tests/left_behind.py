"""What a search has left in its folder: what is lost, done again or wrong there, in words."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import optuna
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from nas.base.records import Candidate, Evaluation, Outcome, TrialRecord, TrialState, from_json
from nas.data.datasets import SearchData
from nas.evaluation.ladder import RUNGS
from nas.runs import Run
from nas.runs.trial_files import LOG, RESULT, STATE, WEIGHTS, trial_folder
from nas.runs.work import trained_network
from nas.search.finished import is_trained, read_records
from nas.search.journal import STUDY_NAME


@dataclass(frozen=True)
class Folder:
    """What a finished part of a training has left."""

    candidate: Candidate
    """Whose training it is, whatever part of it."""
    outcome: Outcome
    files: dict[str, tuple[int, int, str]]
    """Inode, time of the last change and digest of every file."""
    log: list[bytes]
    """Lines of the epochs that are finished."""

    @property
    def reached(self) -> tuple[float, int]:
        """How far it has come: epochs, rung of the attack ladder."""
        assert self.outcome.evaluation is not None
        epochs = float("inf") if self.outcome.epochs is None else self.outcome.epochs
        return epochs, RUNGS.index(self.outcome.evaluation.fidelity)


@dataclass(frozen=True)
class Left:
    """What a search has left behind."""

    records: dict[int, TrialRecord] = field(default_factory=dict)
    """Trials that were told, by number."""
    folders: dict[int, Folder] = field(default_factory=dict)
    """Folders with a result, by the number of their trial."""
    running: frozenset[int] = frozenset()
    """Trials that were proposed and not told."""
    half_told: frozenset[int] = frozenset()
    """Those of them that have a part of what a told one has."""

    def spent(self, whole: int) -> int:
        """Full trainings of `whole` epochs that are spent, rounded up."""
        return -(-sum(r.epochs or whole for r in self.records.values() if is_trained(r)) // whole)

    @property
    def caught(self) -> list[str]:
        """What the search was doing when it ended, in words."""
        waiting = {n for n in self.running & self.folders.keys() if self.folders[n].outcome.epochs is not None}
        found = {
            "in its first epochs": self.running - self.folders.keys(),
            "between stages of epochs": waiting,
            "trained, not told": (self.running & self.folders.keys()) - waiting,
            "half told": self.half_told,
        }
        return [words for words, numbers in found.items() if numbers] or ["nothing running"]


def mark(run: Path, left: Left) -> None:
    """Adds a blank to the lines of the epochs that every waiting candidate has finished.

    A training that is done again writes equal lines, but no blanks.
    """
    for number, folder in left.folders.items():
        if number not in left.records and folder.outcome.epochs is not None:
            log = trial_folder(run / "trials", number) / LOG
            lines = log.read_bytes().splitlines(keepends=True)
            finished = [line.replace(b"\n", b" \n") for line in lines[: folder.outcome.epochs]]
            log.write_bytes(b"".join(finished + lines[folder.outcome.epochs :]))


def look(run: Path) -> tuple[Left, list[str]]:
    """What a search has left in the folder `run`, and what is wrong with its study."""
    folders = dict(_folders(run))
    journal = run / "study.journal"
    if not journal.exists():
        return Left({}, folders), []
    try:
        # Optuna's own reader, with its own lock, as any of its tools would open the file.
        study = optuna.load_study(study_name=STUDY_NAME, storage=JournalStorage(JournalFileBackend(str(journal))))
    except KeyError:  # killed before the study had its name
        return Left({}, folders), ["the journal has no study"] if folders else []
    trials = study.get_trials()
    records = {record.number: record for record in read_records(journal)}
    finished = {trial.number for trial in trials if trial.state.is_finished()}
    wrong = [] if finished == records.keys() else [f"Optuna sees finished {finished}, we see {records.keys()}"]
    for number, record in records.items():
        if trials[number].constraints != record.violations:
            wrong.append(f"trial {number}: Optuna has the constraints {trials[number].constraints}, its record others")
    running = frozenset(trial.number for trial in trials if not trial.state.is_finished())
    half_told = frozenset(n for n in running if trials[n].constraints or "genotype" in trials[n].user_attrs)
    return Left(records, folders, running, half_told), wrong


def _folders(run: Path) -> Iterator[tuple[int, Folder]]:
    for path in sorted(run.glob(f"trials/*/{RESULT}")):
        stored, folder = json.loads(path.read_text()), path.parent
        asked, outcome = from_json(Candidate, stored["candidate"]), from_json(Outcome, stored["outcome"])
        candidate = replace(asked, fidelity="attack", epochs=None)
        files = {file.name: _identity(file) for file in folder.iterdir()}
        lines = (folder / LOG).read_bytes().splitlines()
        yield int(folder.name), Folder(candidate, outcome, files, lines[: outcome.epochs])


def _identity(path: Path) -> tuple[int, int, str]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()


def violations(before: Left, after: Left) -> list[str]:
    """What was finished `before` and is lost, changed or done again `after`, in words."""
    wrong = []
    for number, record in before.records.items():
        if after.records.get(number) != record:
            wrong.append(f"trial {number} was told and is now {after.records.get(number)}")
    for number, old in before.folders.items():
        new = after.folders.get(number)
        if new is None:
            wrong.append(f"trial {number}: its result is gone")
        elif new.candidate != old.candidate:
            wrong.append(f"trial {number}: its result is of another candidate")
        elif new.reached < old.reached:
            wrong.append(f"trial {number}: it had reached {old.reached} and is back at {new.reached}")
        elif new.reached == old.reached and new.outcome != old.outcome:
            wrong.append(f"trial {number}: what was finished was done again")
        elif new.log[: len(old.log)] != old.log:
            wrong.append(f"trial {number}: finished epochs were trained again")
        elif old.outcome.epochs is None and any(new.files[name] != old.files[name] for name in (LOG, WEIGHTS)):
            wrong.append(f"trial {number}: its finished training was touched")
        elif number in before.records and new.files != old.files:
            wrong.append(f"trial {number}: its folder was touched after it was told")
    return wrong


def flaws(run: Run, left: Left, data: SearchData) -> list[str]:
    """What is wrong with a search that has ended by itself, in words."""
    wrong, records = [], list(left.records.values())
    trained = [record for record in records if is_trained(record)]
    if list(left.records) != list(range(len(records))) or left.running:
        wrong.append(f"trials told: {list(left.records)}, not told: {left.running}")
    if again := [key for key, count in Counter(r.genotype.key for r in trained).items() if count > 1]:
        wrong.append(f"architectures trained twice: {again}")
    whole, asked = run.config.training.epochs, run.config.search.trials
    spent = sum(whole if record.epochs is None else record.epochs for record in trained) / whole
    if not asked <= spent < asked + 1:
        wrong.append(f"{spent:g} trainings are spent, {asked} were asked for")
    folders = sorted(int(folder.name) for folder in run.trials_folder.iterdir())
    if folders != [record.number for record in trained]:
        wrong.append(f"folders {folders}, trained {[record.number for record in trained]}")
    for record in run.front(records=records).records:
        rung = record.evaluation and record.evaluation.fidelity
        if record.state is not TrialState.COMPLETE or rung != run.config.evaluation.ladder.search_rungs[-1]:
            wrong.append(f"trial {record.number} is on the front, {record.state}, attacked as {rung}")
    for record in trained:
        if record.evaluation is not None:
            wrong += _flaws_of(run, record, record.evaluation, left.folders[record.number], data)
    return wrong


def _flaws_of(run: Run, record: TrialRecord, evaluation: Evaluation, folder: Folder, data: SearchData) -> list[str]:
    number, wrong = record.number, []
    epochs = [json.loads(line)["epoch"] for line in (trial_folder(run.trials_folder, number) / LOG).open()]
    if epochs != list(range(1, (record.epochs or run.config.training.epochs) + 1)):
        wrong.append(f"trial {number}: its log has the epochs {epochs}, the record {record.epochs or 'all'}")
    if record.state is TrialState.COMPLETE and STATE in folder.files:
        wrong.append(f"trial {number} is complete, and the state of its training is still there")
    if evaluation != folder.outcome.evaluation or record.epochs != folder.outcome.epochs:
        wrong.append(f"trial {number}: its record is not what its folder says")
    with torch.no_grad():
        logits = trained_network(run, record)(data.validation.images.float() / 255)
    right = (logits.argmax(1) == data.validation.labels).double().mean().item()
    if abs(right - evaluation.natural_accuracy) > 1e-9:
        wrong.append(f"trial {number}: its weights classify {right:.4f}, its record says otherwise")
    return wrong
