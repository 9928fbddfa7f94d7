"""What is asked of a run from outside, by a verb or a program: where it is, which trial, with which settings."""

import re
from collections.abc import Sequence
from pathlib import Path

from nas.base.errors import UsageError
from nas.pareto import Pick, meeting, parse_condition, pick, pick_all
from nas.runs.config import NAME_PATTERN, RunConfig, load_config
from nas.runs.folder import Run, open_run


def run_folder(config: RunConfig, name: str = "", suffix: str = "") -> Path:
    """Folder of the run of `config`: runs/`name`, by default its own name and `suffix`.

    Raises UsageError where `name` is no plain one.
    """
    if name and not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(f"--run {name}: a run has a plain name (letters, digits, . _ -), not a path")
    return Path("runs") / (name or config.name + suffix)


def picked_from(run: Run, rule: str, where: Sequence[str] | None, *, over_budget: bool = False) -> Pick:
    """Trial that `rule` picks of the front of `run`'s trials that hold the conditions `where` (nas.pareto.pick)."""
    within = meeting([parse_condition(text) for text in where or ()], run.records)
    return pick(rule, run.front(records=within), run.records, over_budget=over_budget)


def all_picked_from(run: Run, rule: str, where: Sequence[str] | None) -> list[Pick]:
    """What `picked_from` picks, also over the budget; for the rule `front` every member of the front, in its order."""
    if rule != "front":
        return [picked_from(run, rule, where, over_budget=True)]
    return pick_all(run.front(records=meeting([parse_condition(text) for text in where or ()], run.records)))


def to_be_retrained(folder: Path, overrides: Sequence[str], data: Path | None, name: str) -> Run:
    """Run in `folder` with `overrides` of its retraining, and its data set in the folder `data` where that is given.

    `name` is what the retraining is to be called. Raises UsageError where that is no plain name, or an override is of
    anything else.
    """
    from nas.data.datasets import at_root

    if name and not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(f"--name {name}: a plain name (letters, digits, . _ -), not a path")
    opened = open_run(folder)
    if overrides:
        beyond = [text for text in overrides if not text.startswith(("retrain.", "device="))]
        if beyond:
            raise UsageError(f"retrain can override retrain.* and device only, got {beyond[0]}")
        opened = Run(folder, load_config(folder / "config.yaml", overrides))
    return Run(folder, opened.config.model_copy(update={"data": at_root(opened.config.data, data)}))
