"""What is asked of a run from outside, by a verb or a program: where it is, with which settings it retrains."""

import re
from collections.abc import Sequence
from pathlib import Path

from nas.base.errors import UsageError
from nas.runs.config import NAME_PATTERN, RunConfig, load_config
from nas.runs.folder import Run, open_run


def run_folder(config: RunConfig, name: str = "", suffix: str = "") -> Path:
    """Folder of the run of `config`: runs/`name`, by default its own name and `suffix`.

    Raises UsageError where `name` is no plain one.
    """
    if name and not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(f"--run {name}: a run has a plain name (letters, digits, . _ -), not a path")
    return Path("runs") / (name or config.name + suffix)


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
