"""A search that is killed again and again: nothing finished is lost, nothing is trained twice.

    python -m tests.benchmarks.kills --kills 50 --seed 0
    python -m tests.benchmarks.kills --kills 20 --set search.halting.epochs=[]

`nas search` on digits, in worker processes, with early halting, the attack ladder, reused and rejected candidates and
pre-screening, ended by SIGKILL at random moments: while it starts, while trials run, and between the lines of the
journal that tell one. What every kill leaves is compared with what was there before (tests/left_behind.py) and opened
with Optuna's own reader; after the last one the search ends by itself. Prints what was found as JSON; exits with 1
where anything was violated.
"""

import argparse
import io
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from random import Random
from typing import Any

from nas.base.machine import available_cores
from nas.data.datasets import load_search_data
from nas.runs import open_run
from tests.left_behind import Left, flaws, look, mark, violations
from tests.running import Process, nas_process, seconds_until_ended, wait_for
from tests.tiny_run import call

CONFIG = """\
name: killed
data: {name: digits, limit: 400, test_limit: 100}
space:
  name: mobilenet_tiny
  stem_channels: 8
  blocks:
    - {channels: 8, stride: 1, expand_ratio: 1}
    - {channels: 16, stride: 2}
    - {channels: 24, stride: 1}
  head_channels: 16
  width_multipliers: [0.25, 0.5, 0.75, 1.0]
  expand_ratios: [1, 2, 3, 4]
  tie: none
  divisor: 4
threat: {norm: linf, epsilon: 0.1}
training:
  attack: {steps: 2, step_size: 0.05}
  epochs: 4
  batch_size: 40
  learning_rate: 0.2
  schedule: one_cycle
  ema_decay: 0.9
  augmentation: {crop_padding: 0, flip: false}
evaluation:
  attack: {name: pgd, steps: 10}
  ladder: {front: [{name: apgd, loss: dlr, steps: 10}, {name: square, queries: 20}], trust_images: 20}
objectives: [robust_accuracy, params]
budget: {params: 4000}
search:
  population: 8
  prescreen: {proposals: 4, trees: 8}
  halting: {epochs: [1, 2], keep: 0.6}
device: cpu
"""
EPOCHS = 4
"""Of a full training."""
MOMENTS = ("run", "start", "tell", "run")
"""In turn: while trials run, while the search starts, while a trial is told."""
ENDS_WITHIN = 10.0
"""Seconds that workers may outlive a killed search; longest lives their server, where it is still importing torch."""
AHEAD = 40
"""Full trainings that every start has to do: more than it lives to."""
LAST = 10
"""Full trainings after the last kill."""


def kill(process: Process, moment: str, run: Path, rng: Random) -> None:
    """Kills the search `process` at a random `moment`; one in five times its workers with it."""
    if moment == "start":
        time.sleep(rng.uniform(0, 4))
    else:
        wanted = _finished_parts(run) + rng.randint(1, 5)
        wait_for(lambda: _finished_parts(run) >= wanted, process)
        if moment == "tell":
            journal = run / "study.journal"
            size = journal.stat().st_size
            wait_for(lambda: journal.stat().st_size > size, process, pause=0)
        else:
            time.sleep(rng.uniform(0, 0.5))
    if rng.random() < 0.2:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _finished_parts(run: Path) -> int:
    """Rungs of all trials that are scored."""
    return sum(1 for _ in run.glob("trials/*/images_*.safetensors"))


def kill_again_and_again(
    kills: int, seed: int, overrides: Sequence[str] = (), ends_within: float = ENDS_WITHIN, last: int = LAST
) -> dict[str, Any]:
    """What a search comes to that is killed `kills` times, then trains the `last` ones undisturbed; every violation."""
    rng, began, wrong, left, slowest = Random(seed), time.monotonic(), list[str](), Left(), 0.0
    moments, caught = Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as place:
        folder, run = Path(place), Path(place, "runs", "killed")
        (folder / "killed.yaml").write_text(CONFIG)
        for number in range(kills):
            moment = MOMENTS[number % len(MOMENTS)]
            with _search(folder, left.spent(EPOCHS) + AHEAD, seed, overrides) as process:
                kill(process, moment, run, rng)
                outlived = seconds_until_ended(process.pid, limit=60)
            after, of_study = look(run)
            found = [*of_study, *violations(left, after)]
            found += [f"its workers lived for {outlived:.1f} s"] if outlived > ends_within else []
            wrong += [f"kill {number + 1} ({moment}): {text}" for text in found]
            moments[moment], slowest = moments[moment] + 1, max(slowest, outlived)
            caught.update(after.caught)
            mark(run, after)
            left, _ = look(run)
            print(f"kill {number + 1} ({moment}): {len(left.records)} trials told; {found or 'fine'}", file=sys.stderr)
        target, ends = left.spent(EPOCHS) + last, [left]
        for end in (_ended, _ended_here):  # the second time there is nothing left to do
            code, printed = end(folder, _arguments(target, seed, overrides))
            after, of_study = look(run)
            ends.append(after)
            wrong += [*of_study, *violations(ends[-2], after)]
            wrong += [f"the search ended with {code}: {printed}"] if code else []
        wrong += ["a search that was done did something more"] if ends[1] != ends[2] else []
        ended = open_run(run)
        wrong += flaws(ended, ends[2], load_search_data(ended.config.data))
    states = Counter("reused" if r.reused_from is not None else r.state.value for r in ends[2].records.values())
    return {
        "kills": kills, "seed": seed, "moments": dict(moments), "caught": dict(caught),
        "finished": len(ends[2].records), **states, "workers_ended_within": round(slowest, 2),
        "seconds": round(time.monotonic() - began, 1), "violations": wrong,
    }  # fmt: skip


def _arguments(trials: int, seed: int, overrides: Sequence[str]) -> list[str]:
    workers = min(2, available_cores())
    sets = (f"search.trials={trials}", f"search.workers={workers}", f"search.seed={seed}", *overrides)
    return ["search", "killed.yaml", *(part for one in sets for part in ("--set", one))]


def _search(folder: Path, trials: int, seed: int, overrides: Sequence[str]) -> AbstractContextManager[Process]:
    return nas_process(folder, *_arguments(trials, seed, overrides))


def _ended(folder: Path, arguments: Sequence[str]) -> tuple[int, str]:
    """Exit code and output of `nas ARGUMENTS` in a process of its own."""
    with nas_process(folder, *arguments) as process:
        printed = "".join(process.communicate())
    return process.returncode, printed


def _ended_here(folder: Path, arguments: Sequence[str]) -> tuple[int, str]:
    """The same in this process, which has imported everything."""
    printed = io.StringIO()
    with chdir(folder), redirect_stdout(printed), redirect_stderr(printed):
        code = call(arguments)
    return code, printed.getvalue()


def main() -> None:
    """Prints the summary; ends with 1 where something was violated."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the kills and of the search")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="FIELD=VALUE")
    chosen = parser.parse_args()
    found = kill_again_and_again(chosen.kills, chosen.seed, chosen.overrides)
    print(json.dumps(found, indent=2))
    sys.exit(bool(found["violations"]))


if __name__ == "__main__":
    main()
