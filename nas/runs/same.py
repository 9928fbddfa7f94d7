"""Whether a run goes on with the config that it began with."""

from pathlib import Path

from nas.base.errors import RunMismatch
from nas.base.settings import AS_WRITTEN
from nas.data.facts import brief
from nas.runs.config import RunConfig, differences

MAY_CHANGE = (
    "plugin_folder",
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
        lines = [f"  {field}: the run has {brief(old)}, the config has {brief(new)}" for field, new, old in changed]
        raise RunMismatch(
            f"{folder} was made with another config:\n" + "\n".join(lines) + f"\nto see its trials by other objectives "
            f"or limits: nas front {folder} --objectives … --where …; to search anew from its front: --run NAME --set "
            f"'search.start_from.runs=[{folder}]'; or use --run NAME alone, or make the fields equal (free to change: "
            f"{', '.join(MAY_CHANGE)})"
        )
