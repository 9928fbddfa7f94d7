"""The Optuna study of a run: the one record of its trials, in a journal file or a database, with a single writer.

A finished trial carries its TrialRecord in the user attribute `record`; everything the project reads comes
from there. Optuna's own tools can open the same file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState as OptunaState

from nas.base.errors import StudyCorrupt
from nas.base.records import TrialRecord, to_json
from nas.pareto import Direction
from nas.search.database import Database
from nas.search.finished import Place, record_of, records_of
from nas.search.journal import STUDY_NAME, StoredTrial, logs, read_trials, repair_journal, unreadable
from search_spaces import Genotype, SearchSpace

SamplerFactory = Callable[[int], BaseSampler]
"""Makes the sampler that proposes the trial of the given number."""


class _RunLockHeld(JournalFileOpenLock):
    """No lock of its own: the writer holds the run folder's lock (nas.base.files.exclusive) for its whole life.

    Optuna's lock files outlive a killed process and make the next one wait for 30 seconds.
    """

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return None


class _Journal(JournalFileBackend):
    """Optuna's journal without forcing each of a trial's dozen lines to the disk: `StudyFile.tell` forces them at once.

    A killed process loses nothing, as the lines are the system's by then; a power cut loses the unfinished trial's.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), lock_obj=_RunLockHeld(str(path)))
        self._path = path
        self._reached = (0, 0)

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Logs from this number on, as `nas.search.journal.logs`: Optuna's own reader refuses a blank line."""
        number, offset = self._reached if self._reached[0] <= log_number_from else (0, 0)
        with self._path.open("rb") as file:
            file.seek(offset)
            for _, log in logs(file):
                number, self._reached = number + 1, (number + 1, file.tell())
                if number > log_number_from:
                    yield log

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with self._path.open("ab") as file:
            file.write(b"".join(json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs))


class StudyFile:
    """A study at `place`, created when missing; in memory only for None. The caller holds the run folder's lock.

    Raises StudyCorrupt where it cannot be read or is not a study of these directions.
    """

    def __init__(
        self, place: Place | None, space: SearchSpace, directions: Sequence[Direction], sampler: SamplerFactory
    ):
        self._place = place
        self._space = space
        self._sampler = sampler
        optuna.logging.set_verbosity(optuna.logging.WARNING)

        def create(storage: BaseStorage, name: str) -> optuna.Study:
            return optuna.create_study(
                study_name=name, storage=storage, directions=list(directions), load_if_exists=True
            )  # fmt: skip

        if place is None:
            self._study = create(InMemoryStorage(), STUDY_NAME)
        elif isinstance(place, Path):
            repair_journal(place)
            self._study = _load(place, create)
        else:
            with place.guarded():
                self._study = create(place.storage(create=True), place.study_name)
        found = [direction.name.lower() for direction in self._study.directions]
        if found != list(directions):
            raise StudyCorrupt(f"{place} is a study of other objectives (directions {found}, not {list(directions)})")
        trials = self._study.get_trials(deepcopy=False)
        self._num_trials = len(trials)
        self._num_queued = sum(trial.state is OptunaState.WAITING for trial in trials)

    def guarded(self) -> AbstractContextManager[None]:
        """Within it, errors of the study's database are StudyCorrupt, without secrets."""
        return self._place.guarded() if isinstance(self._place, Database) else nullcontext()

    def records(self) -> list[TrialRecord]:
        """Finished trials by number."""
        return records_of(_finished(self._study), self._place)

    @property
    def num_trials(self) -> int:
        """Number of trials so far, unfinished ones included."""
        return self._num_trials

    @property
    def has_queued(self) -> bool:
        """Whether the next proposal is decided already (by `enqueue`)."""
        return self._num_queued > 0

    def pending(self) -> list[optuna.Trial]:
        """Trials that were proposed but never finished, by number: the process ended while they ran."""
        running = self._study.get_trials(deepcopy=False, states=(OptunaState.RUNNING,))
        # The number is public, the id that Trial needs is not.
        return [optuna.Trial(self._study, frozen._trial_id) for frozen in running]

    def half_finished(self) -> list[tuple[optuna.Trial, TrialRecord]]:
        """Unfinished trials that have their record already, by number: the process ended while it told them."""
        found = [(trial, trial.user_attrs.get("record")) for trial in self.pending()]
        return [(trial, record_of(trial.number, data, self._place)) for trial, data in found if data is not None]

    def pass_stage(self, trial: optuna.Trial, epochs: int) -> None:
        """Notes that `trial` goes on beyond its rung of `epochs`."""
        trial.set_user_attr("passed", epochs)

    def passed_stage(self, trial: optuna.Trial) -> int:
        """Epochs of the highest rung that `trial` went on from; 0 where it did not."""
        return int(trial.user_attrs.get("passed", 0))

    def ask(self) -> optuna.Trial:
        """New trial, to be given to `genotype`."""
        trial = self._study.ask()
        self._num_trials, self._num_queued = max(self._num_trials, trial.number + 1), max(self._num_queued - 1, 0)
        return trial

    def enqueue(self, genotype: Genotype) -> None:
        """Makes `genotype` the next proposal."""
        self._study.enqueue_trial(dict(genotype.values))
        self._num_trials, self._num_queued = self._num_trials + 1, self._num_queued + 1

    def genotype(self, trial: optuna.Trial) -> Genotype:
        """Genotype that the sampler chooses for `trial`: a function of the seed, its number and finished trials.

        Values that were stored before the process ended are kept; their random numbers are drawn all the
        same, so that the missing values are the ones that an uninterrupted proposal would have had.
        """
        self._study.sampler = self._sampler(trial.number)
        stored = set(trial.params)
        frozen = self._study._storage.get_trial(trial._trial_id)
        decided = {*frozen.system_attrs.get("fixed_params", {}), *trial.relative_params}
        values = {}
        for name, distribution in distributions_of(self._space).items():
            if name in stored and name not in decided and not distribution.single():
                self._study.sampler.sample_independent(self._study, frozen, name, distribution)
            values[name] = trial._suggest(name, distribution)
        return self._space.genotype(values)

    def parent(self, trial: optuna.Trial, choose: Callable[[], int | None]) -> int | None:
        """Trial that `trial` inherits from: what `choose` says at the first call, stored with the trial.

        Taken up again after a kill, it keeps its parent although more trials have finished since.
        """
        if "inherits" not in trial.user_attrs:
            trial.set_user_attr("inherits", choose())
        found: int | None = trial.user_attrs["inherits"]
        return found

    def tell(self, trial: optuna.Trial, record: TrialRecord, values: Sequence[float] | None) -> None:
        """Finishes `trial` with `record`. Without `values` it is failed and no sampler learns from it."""
        trial.set_user_attr("record", to_json(record))  # first: what follows cannot be replaced (see `half_finished`)
        for name, violation in record.violations.items():
            if name not in trial.constraints:
                trial.set_constraint(name, violation)
        trial.set_user_attr("genotype", dict(record.genotype.values))
        self._study.tell(trial, values, OptunaState.FAIL if values is None else OptunaState.COMPLETE)
        if isinstance(self._place, Path):
            with self._place.open("ab") as journal:
                os.fsync(journal.fileno())

    def set_aside(self, trial: optuna.Trial, error: str) -> None:
        """Notes the `error` for which `trial` is left unfinished: the next start takes it up again (see `pending`)."""
        trial.set_user_attr("set_aside", error)


def read_database(place: Database) -> dict[int, StoredTrial]:
    """Finished trials of the study in a database, by number. Raises StudyCorrupt where there is none to be read."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with place.guarded():
        try:
            return _finished(_existing(place.storage(create=False), place.study_name))
        except KeyError:
            raise StudyCorrupt(f"no {place}: is it another database than the one the search wrote to?") from None


def open_storage(place: Place) -> BaseStorage:
    """Optuna storage at `place`, to read. Raises StudyCorrupt where there is none or it cannot be read."""
    if isinstance(place, Path):
        read_trials(place)
        return JournalStorage(_Journal(place))
    with place.guarded():
        return place.storage(create=False)


def distributions_of(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Optuna's view of the choices of `space`."""
    return {choice.name: CategoricalDistribution(choice.options) for choice in space.choices}


def _existing(storage: BaseStorage, name: str) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=storage)


def _load(path: Path, load: Callable[[BaseStorage, str], optuna.Study]) -> optuna.Study:
    """Study in the journal at `path`, opened by `load`."""
    try:
        study = load(JournalStorage(_Journal(path)), STUDY_NAME)
        study.get_trials(deepcopy=False)
        return study
    except OSError:
        raise
    except Exception as error:
        read_trials(path)  # names the first line that cannot be read
        raise unreadable(path, error) from error


def _finished(study: optuna.Study) -> dict[int, StoredTrial]:
    trials = study.get_trials(deepcopy=False, states=(OptunaState.COMPLETE, OptunaState.FAIL))
    return {trial.number: StoredTrial(trial.state.value, trial.values, trial.user_attrs) for trial in trials}
