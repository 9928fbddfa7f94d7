"""What identifies the images of a run, as it is kept in the run's folder (data.json)."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.base.errors import RunMismatch
from nas.base.files import read_json, write_json

if TYPE_CHECKING:
    from nas.data.datasets import SearchData


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


def check_same_data(data: "SearchData", path: Path) -> None:
    """Writes what identifies `data` to `path`, or compares with what is there. Raises RunMismatch."""
    from nas.data.datasets import check_same_classes  # imports torch, which reading needs not

    facts = {
        "input_shape": list(data.input_shape),
        "num_classes": data.num_classes,
        "class_names": list(data.class_names),
        "train": len(data.train),
        "validation": len(data.validation),
        "fingerprint": data.fingerprint,
    }
    if not path.exists():
        write_json(path, facts)
        return
    stored = read_facts(path)
    check_same_classes(data.class_names, stored.get("class_names", data.class_names))
    changed = [f"{field} {brief(old)} → {brief(facts.get(field))}" for field, old in stored.items()
               if old != facts.get(field)]  # fmt: skip
    if changed:
        raise RunMismatch(
            f"the data set has changed since this run began ({'; '.join(changed)}): its results could not be compared; "
            f"restore the data or use --run NAME for a new run"
        )


def brief(value: Any) -> str:
    """JSON of `value`, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else text[:97] + "..."
