"""Whether two revisions of the project give the same records and weights, bit for bit.

    python -m tests.benchmarks.identical HEAD~3 HEAD
    python -m tests.benchmarks.identical cc59678 HEAD --parts digits supernet

Each revision is checked out beside this one and run in this environment, in one process of one worker. Compared are the
weights of every trial and what both revisions write about it; what only one of them writes is named. Exit code 1 where
anything differs.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

ALONE = ("--set", "search.workers=1", "--set", "search.executor=in_process", "--set", "device=cpu")
PARTS: dict[str, tuple[str, ...]] = {
    "digits": ("search", "configs/digits.yaml"),
    "mousavi_digits": ("sweep", "configs/paper/mousavi_digits.yaml", "--set", "training.epochs=4"),
    "supernet": ("search", "configs/one_shot_digits.yaml", "--set", "supernet.epochs=3", "--set", "search.trials=20"),
}
"""Verbs that a revision runs, by the name of the part."""
CLOCK = ("seconds", "scoring_seconds", "traceback", "finished")
"""Fields that two runs of one revision do not share."""


def run_part(root: Path, part: str, folder: Path) -> dict[str, Any]:
    """Facts of every trial that the revision in `root` writes in `folder`, by number, and of the supernet's file."""
    verb, config, *changes = PARTS[part]
    folder.mkdir(parents=True)
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "nas", verb, str(root / config), *changes, *ALONE, "--run", part]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")
    if ended.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{ended.stderr[-2000:]}")
    run = folder / "runs" / part
    found: dict[str, Any] = {}
    for trial in sorted((run / "trials").iterdir()):
        stored = json.loads((trial / "evaluation.json").read_bytes())
        found[trial.name] = {"stored": stored, "weights": _digest(trial / "model.safetensors")}
    found |= {path.name: {"weights": _digest(path)} for path in sorted(run.glob("supernet/*.safetensors"))}
    return found


def _digest(path: Path) -> str:
    """Names the tensors of a file, without what is said about them."""
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(path).items()):
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode() + np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()[:16]


def differences(old: Any, new: Any, place: str = "") -> Iterator[tuple[str, bool]]:
    """Places where `old` and `new` differ, and whether it is for a value (False: only one of them has the place)."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if key not in CLOCK:
                inside = f"{place}.{key}" if place else key
                if key in old and key in new:
                    yield from differences(old[key], new[key], inside)
                else:
                    yield inside, False
    elif old != new:
        yield place, True


def compare(old: dict[str, Any], new: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Places with other values, and places that only one side has, without the trials' numbers."""
    changed, alone = [], set()
    if old.keys() != new.keys():
        changed.append(f"trials {sorted(old.keys() ^ new.keys())}")
    for trial in old.keys() & new.keys():
        for place, is_value in differences(old[trial], new[trial]):
            if is_value:
                changed.append(f"{trial}: {place}")
            else:
                alone.add(place)
    return sorted(changed), sorted(alone)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    chosen = parser.parse_args()
    is_same = True
    with tempfile.TemporaryDirectory() as temporary:
        roots = {}
        for side in ("old", "new"):
            roots[side] = Path(temporary, side)
            revision = getattr(chosen, side)
            subprocess.run(["git", "worktree", "add", "-q", "--detach", str(roots[side]), revision], check=True)
        try:
            for part in chosen.parts:
                old, new = (run_part(root, part, Path(temporary, "runs", side, part)) for side, root in roots.items())
                changed, alone = compare(old, new)
                is_same &= not changed
                print(f"{part}: {len(old)} trials, {len(changed)} differences", flush=True)
                for line in changed[:20]:
                    print(f"  {line}")
                if alone:
                    print(f"  only one revision writes: {', '.join(alone)}")
        finally:
            for root in roots.values():
                subprocess.run(["git", "worktree", "remove", "--force", str(root)], check=True)
    return 0 if is_same else 1


if __name__ == "__main__":
    sys.exit(main())
