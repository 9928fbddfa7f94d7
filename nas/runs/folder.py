"""A run folder: what later verbs read from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nas.base.errors import ConfigError, StudyCorrupt, UsageError
from nas.base.files import read_json
from nas.base.records import TrialRecord
from nas.data.facts import read_facts
from nas.pareto import Measure, ParetoFront, front_of
from nas.runs.config import RunConfig, load_config
from nas.runs.problem import make_space, reference_point
from nas.search.database import Database
from nas.search.finished import Place, read_records
from search_spaces import SearchSpace


@dataclass(frozen=True)
class Run:
    """A run folder and its config."""

    folder: Path
    config: RunConfig

    @property
    def study_path(self) -> Path:
        """The study's journal file."""
        return self.folder / "study.journal"

    @property
    def study(self) -> Place:
        """Where the study is: the journal, or the database that `search.storage_env` names."""
        variable = self.config.search.storage_env
        if variable is None:
            return self.study_path
        if not (self.folder / STUDY_ID).exists():
            raise StudyCorrupt(f"no study of {self.folder}: nothing was searched there; start with `nas search CONFIG`")
        return Database(variable, read_json(self.folder / STUDY_ID, lambda found: str(found["study"]), REMEDY))

    @property
    def trials_folder(self) -> Path:
        """Folder of the trials' folders."""
        return self.folder / "trials"

    @cached_property
    def space(self) -> SearchSpace:
        """Search space, for the image shape and classes the run found in its data."""
        facts = read_facts(self.folder / "data.json")
        channels, height, width = facts["input_shape"]
        return make_space(self.config, (channels, height, width), facts["num_classes"])

    @cached_property
    def records(self) -> tuple[TrialRecord, ...]:
        """Finished trials by number, as they are now."""
        return tuple(read_records(self.study))

    def front(self, objectives: Sequence[Measure] = (), records: Sequence[TrialRecord] | None = None) -> ParetoFront:
        """Front of `records` (default: all) for `objectives` (default: the run's)."""
        return front_of(self.records if records is None else records, objectives or self.config.parsed_objectives)

    def reference_point(self, objectives: Sequence[Measure] = ()) -> tuple[float, ...]:
        """Worst value of each objective, in its own direction."""
        return reference_point(self.config, self.space, objectives or self.config.parsed_objectives)


STUDY_ID = "study.json"
"""Name of the run's study in a database that many runs share."""


REMEDY = "restore it from the config or copy that this run was started with; all trials are kept"
"""What to do where a file of a run that cannot be written anew is damaged."""


def open_run(folder: Path) -> Run:
    """Existing run in `folder`. Raises UsageError where there is none."""
    config = folder / "config.yaml"
    if not config.is_file():
        raise UsageError(f"no run in {folder} (it has no config.yaml); start one with `nas search CONFIG`")
    try:
        return Run(folder, load_config(config))
    except ConfigError as error:
        raise ConfigError(f"{error}\n{config} is a run's own: {REMEDY}") from error


def front_in(folder: Path) -> Sequence[TrialRecord]:
    """Members of the front of the run in `folder`, best first objective first. Raises NasError where it has none."""
    return open_run(folder).front().records
