"""What identifies the images of a run, as it is kept in the run's folder (data.json)."""

from pathlib import Path
from typing import Any

from nas.files import read_json


def read_facts(path: Path) -> dict[str, Any]:
    """Facts in the file at `path`, shape and number of classes among them. Raises UsageError where it is damaged."""
    return read_json(path, _facts, REMEDY)


REMEDY = (
    "restore it, or remove it and run `nas search CONFIG` with the images of this run, which writes it again; all "
    "trials are kept"
)


def _facts(data: Any) -> dict[str, Any]:
    channels, height, width = map(int, data["input_shape"])
    return {**data, "input_shape": [channels, height, width], "num_classes": int(data["num_classes"])}
