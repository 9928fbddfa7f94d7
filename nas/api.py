"""What the verbs do, for programs and notebooks: `nas.search`, `nas.open`, `nas.load` (docs/api.md).

The errors are those of the verbs (nas/base/errors.py): each says what was refused, its value, what is allowed and what
to do next. Progress is lines on stderr, on a terminal a live panel. Worker processes import the main program anew: a
script that searches needs `if __name__ == "__main__":`, a notebook needs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.base.machine import threads_restored
from nas.measures import Measure, measure
from nas.pareto import Pick, meeting, parse_condition
from nas.report.console import Console, line_console
from nas.runs.asked import run_folder, to_be_retrained
from nas.runs.config import RunConfig, load_config
from nas.runs.folder import Run, open_run
from nas.studies.picks import picked_from
from nas.workers.fork_server import OPTIMIZER, start_server

if TYPE_CHECKING:
    import pandas as pd

    from nas.report.frames import FrontFrame
    from nas.runs.loaded import RetrainedNetwork

Where = str | Sequence[str]
"""One condition or several, such as `params<=100k`; a trial must hold all of them."""


@dataclass(frozen=True, repr=False)
class OpenedRun:
    """A run folder as it was when it was opened: its trials are read once, with the first question.

    While a search goes on, `nas.open` again shows what has finished since.
    """

    run: Run

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.run.folder

    @property
    def config(self) -> RunConfig:
        """The run's config, every default written out."""
        return self.run.config

    def front(self, where: Where = (), objectives: Sequence[str] = ()) -> FrontFrame:
        """Pareto front of the trials that hold `where`, by `objectives` (names of metrics; default: the run's).

        A data frame, a row a trial, by number, best first objective first; the columns are those of
        `nas front --format csv`, and `columns` says their units. A notebook shows it with its picture, its attacks and
        its warnings; `front.shown.png()` is the picture. Changes nothing. Raises UsageError for a condition or a metric
        that is none.
        """
        from nas.report.frames import FrontView, front_frame
        from nas.runs.front_words import front_lines
        from nas.runs.members import front_notes

        conditions = [parse_condition(text) for text in _listed(where)]
        chosen = self._objectives(objectives)
        records = tuple(meeting(conditions, self.run.records)) if conditions else self.run.records
        found = self.run.front(chosen, records)
        notes = front_notes(self.run, found, [condition.metric for condition in conditions])
        warned, said = front_lines(self.run, found, records, notes)
        limits = "".join(f", {condition}" for condition in conditions)
        budgeted = [name for name, limit in self.config.budget.model_dump().items() if limit is not None]
        title = f"Pareto front of {self.folder.name}{limits}"
        return front_frame(FrontView(found, records, title, tuple(warned), tuple(said), tuple(budgeted)))

    def trials(self, where: Where = ()) -> pd.DataFrame:
        """All finished trials, a row each by number: also rejected, halted and failed ones, without scores.

        With `where`, those that were evaluated and hold the conditions. Choices are `genotype.NAME`; an accuracy has
        the ends of its 95 % interval beside it (`robust_interval.low`, `.high`); `columns` says what each column is and
        its unit. Changes nothing. Raises UsageError for a condition that is none.
        """
        from nas.report.frames import trials_frame

        conditions = [parse_condition(text) for text in _listed(where)]
        records = meeting(conditions, self.run.records) if conditions else self.run.records
        return trials_frame(records, self.run.front())

    def columns(self) -> pd.DataFrame:
        """Title, unit and meaning of every column of `trials`, by its name."""
        from nas.report.frames import column_facts

        return column_facts(self.trials().columns)

    def pick(self, rule: str | int = "knee", where: Where = ()) -> Pick:
        """Trial that `rule` picks of the front of the trials that hold `where`, with the reason in words.

        The rule is knee, best:METRIC, weights:METRIC=W,METRIC=W, the number of any evaluated trial, or, of all feasible
        trials, expected or expected:METRIC (nas/studies/picks.py). Raises UsageError for anything else, and for an
        empty front.
        """
        return picked_from(self.run, str(rule), _listed(where))

    def retrain(
        self,
        pick: Pick | str | int = "knee",
        *,
        where: Where = (),
        inherited: bool = False,
        name: str = "",
        data: str | Path | None = None,
        **overrides: Any,
    ) -> RetrainedNetwork:
        """Network of a picked trial after long training, scored once on the test images: what `nas retrain` does.

        `pick` is a Pick, or a rule as of the method `pick`. `overrides` are fields of `retrain` in the config, such as
        `epochs=100` or `attack__steps=5`, and `device`. With `inherited`, training starts from the run's supernet;
        `name` keeps the result beside others of the same trial, in NUMBER-NAME; `data` is the folder of the data set
        where it has moved. Writes RUN/retrained/NUMBER. A call that was interrupted goes on where it was, a finished
        one is only read. Uses all cores. Raises UsageError, ConfigError or CheckpointError where `nas retrain` refuses.
        """
        given = [
            _override(field if field == "device" else f"retrain.{field}", value) for field, value in overrides.items()
        ]
        opened = to_be_retrained(self.folder, given, None if data is None else Path(data), name)
        rule = pick if isinstance(pick, Pick) else picked_from(opened, str(pick), _listed(where), over_budget=True)
        from nas.runs.loaded import retrained_network
        from nas.timing.watched import watched_retraining

        with threads_restored():
            folder, _ = watched_retraining(opened, rule, line_console(), inherited=inherited, name=name)
        return retrained_network(folder)

    def _objectives(self, names: Sequence[str]) -> tuple[Measure, ...]:
        return tuple(dict.fromkeys(measure(name) for name in _listed(names)))

    def __repr__(self) -> str:
        on_front = len(self.run.front().records)
        return f"<run {self.folder}: {len(self.run.records)} trials, {on_front} on the front>"

    def _repr_html_(self) -> str:
        return self.front()._repr_html_()


def search(config: str | Path, *, trials: int | None = None, run: str = "", **overrides: Any) -> OpenedRun:
    """The run of `config`, a YAML file, after its search: begun now, or gone on with where it was (`nas search`).

    `trials` is `search.trials`; `overrides` are fields, their parts joined by two underscores, with values as in YAML:
    `training__epochs=5`, `threat__epsilon="8/255"`, `budget={"params": "100k"}` (which replaces the whole part). `run`
    is the name of the folder in runs/, by default the config's. Reads the data set, starts worker processes (unless
    `search.executor` is in_process) and writes the run folder, in the current one; Ctrl-C and a kill lose nothing that
    was finished. Raises ConfigError with everything that is wrong in the config, RunMismatch where the folder was made
    with another one, RunLocked where another process searches in it, EmptyBudget, DataError, SearchStopped.
    """
    changed = {} if trials is None else {"search.trials": trials}
    loaded = load_config(Path(config), [_override(field, value) for field, value in {**changed, **overrides}.items()])
    folder = run_folder(loaded, run)
    start_server("nas.runs.trial", OPTIMIZER)  # imports beside ours, on another core
    from nas.runs.work import search as run_search
    from nas.timing.watched import watched_work

    console = line_console()
    with threads_restored():
        reason = watched_work(
            run_search, loaded, folder, console, lambda text: console.print(f"warning: {text}", soft_wrap=True)
        )
    console.print(reason, soft_wrap=True, highlight=False)
    finished = open_run(folder)
    _say_safety(finished, console)
    return OpenedRun(finished)


def open(folder: str | Path) -> OpenedRun:
    """The run in `folder`, such as runs/digits; reads it and changes nothing, also while its search goes on.

    Raises UsageError where there is none.
    """
    return OpenedRun(open_run(Path(folder)))


def load(folder: str | Path) -> RetrainedNetwork:
    """The network in `folder`, which `nas retrain` made: a torch.nn.Module on the CPU, in eval mode and frozen.

    It takes pixels in [0, 1] (N, C, H, W) and returns logits (N, K); `genotype`, `evaluation`, `class_names` and
    `input_shape` say what it is. Nothing is unpickled. Raises CheckpointError where it is missing or damaged.
    """
    from nas.runs.loaded import retrained_network

    return retrained_network(Path(folder))


def _say_safety(run: Run, console: Console) -> None:
    from nas.studies.agreement import safety, verdict_lines

    verdicts = safety(run.records, run.config.search.halting, run.config.parsed_objectives, run.trials_folder)
    for text, _ in verdict_lines(one for one in verdicts if one.verdict != "safe"):
        console.print(text, soft_wrap=True, highlight=False)


def _listed(given: Where) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _override(field: str, value: Any) -> str:
    """`value` as `--set` takes it; JSON is YAML."""
    return f"{field.replace('__', '.')}={json.dumps(value, default=_plain)}"


def _plain(value: Any) -> Any:
    """A number of numpy, a mapping or a path, as JSON has it."""
    if hasattr(value, "item"):
        return value.item()
    return dict(value) if isinstance(value, Mapping) else str(value)
