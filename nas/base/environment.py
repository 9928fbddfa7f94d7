"""What a search ran on: versions, hardware, the state of the checkout."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nas.base.files import read_json, write_json
from nas.base.machine import available_cores, processor


def log_environment(path: Path, workers: int, threads: int) -> None:
    """Appends this start of the search, with versions and hardware, to the list in `path`.

    Raises UsageError where the file is damaged.
    """
    import torch

    starts = read_json(path, _starts, REMEDY) if path.exists() else []
    packages = ("torch", "torchvision", "optuna", "pymoo", "numpy")
    here = Path(__file__).parents[1]  # the package `nas`
    write_json(path, [*starts, {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "system": platform.platform(),
        "processor": processor(),
        "cores": available_cores(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "workers": workers,
        "threads_per_worker": threads,
        "git_revision": _git(here, "rev-parse", "HEAD"),
        "git_changes": bool(_git(here, "status", "--porcelain", "--untracked-files=no")),
    }])  # fmt: skip


def _git(folder: Path, *arguments: str) -> str | None:
    """Answer of git about the checkout that `folder` is the package of; None for an installed package."""
    if not (folder.parent / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(folder), *arguments]
        result = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def _starts(data: Any) -> list[Any]:
    if not isinstance(data, list):
        raise ValueError(f"must be a list, is {type(data).__name__}")
    return data


REMEDY = (
    "restore it, or remove it and run `nas search` again: it only lists what the run was made on; all trials are kept"
)
