"""Whether a run goes on as it began: with the same config, on the same data."""

import json
from pathlib import Path
from typing import Any

from nas.config import RunConfig, differences
from nas.data.datasets import SearchData, check_same_classes
from nas.data.facts import read_facts
from nas.errors import RunMismatch
from nas.files import write_json
from nas.settings import AS_WRITTEN

MAY_CHANGE = (
    "data.root",
    "data.download",
    "search.trials",
    "search.workers",
    "search.executor",
    "search.ray_address",
    "search.trial_timeout",
    "search.max_failures",
    "search.reference_point",
    "evaluation.ladder.final",
    "evaluation.final_images",
    "evaluation.seeds",
    "sweep.seeds",
    "retrain",
    "device",
)
"""Fields that do not change what the finished trials mean; all others are fixed once a run exists."""


def check_same_config(ours: RunConfig, theirs: RunConfig, folder: Path) -> None:
    """Raises RunMismatch where `ours` would change what the finished trials of the run in `folder`, `theirs`, mean."""
    free_now = MAY_CHANGE if ours.search.evaluator != "scratch" else (*MAY_CHANGE, "supernet")  # which nothing uses
    mine, stored = (one.model_dump(mode="json", context=AS_WRITTEN) for one in (ours, theirs))
    changed = [
        (field, new, old)
        for field, new, old in differences(mine, stored)
        if not any(field == free or field.startswith(f"{free}.") for free in free_now)
    ]
    if changed:
        lines = [f"  {field}: the run has {_brief(old)}, the config has {_brief(new)}" for field, new, old in changed]
        raise RunMismatch(
            f"{folder} was made with another config:\n" + "\n".join(lines) + f"\nto see its trials by other objectives "
            f"or limits: nas front {folder} --objectives … --where …; to search anew from its front: --run NAME --set "
            f"'search.start_from.runs=[{folder}]'; or use --run NAME alone, or make the fields equal (free to change: "
            f"{', '.join(MAY_CHANGE)})"
        )


def check_same_data(data: SearchData, path: Path) -> None:
    """Writes what identifies `data` to `path`, or compares with what is there. Raises RunMismatch."""
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
    changed = [f"{field} {_brief(old)} → {_brief(facts.get(field))}" for field, old in stored.items()
               if old != facts.get(field)]  # fmt: skip
    if changed:
        raise RunMismatch(
            f"the data set has changed since this run began ({'; '.join(changed)}): its results could not be compared; "
            f"restore the data or use --run NAME for a new run"
        )


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else text[:97] + "..."
