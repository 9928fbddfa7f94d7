"""What a search spends besides training, at many trials: proposals, storage, resuming, memory.

    python -m tests.benchmarks.search_overhead --trials 5000
    python -m tests.benchmarks.search_overhead --trials 5000 --samplers nsga2 tpe --objectives robust_accuracy params

Toy scores in microseconds, seven choices of eight options, a budget that rejects the largest networks. Every sampler
has a process of its own. Times are of the engine's whole loop: proposal, front and hypervolume, journal.
"""

import argparse
import contextlib
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from nas.search.engine import Progress
from nas.search.samplers import SAMPLERS
from tests.toy import OBJECTIVES, search, settings, toy_problem, toy_space

BATCH = 200
"""Finished trials among which one time is measured: its median is reported."""


def measure(sampler: str, trials: int, objectives: tuple[str, ...], proposals: int) -> dict[str, Any]:
    """Milliseconds a trial among the last 200, journal size, seconds to resume, growth of the resident set.

    Of the clock, and of the processor (`cpu`), which leaves out the waiting for the disk.
    """
    problem = toy_problem(toy_space(7, tuple(range(1, 9))), objectives=objectives, params=4500)
    others = {"prescreen": {"proposals": proposals}}
    path = Path(tempfile.mkdtemp()) / "study.journal"
    ends: list[float] = []
    worked: list[float] = []
    resident: list[int] = []

    def note(progress: Progress) -> None:
        if progress.latest is not None:
            ends.append(time.perf_counter())
            worked.append(time.process_time())
            resident.append(_resident())
            if progress.latest.number + 1 >= trials:
                raise KeyboardInterrupt

    began = time.perf_counter()
    with contextlib.suppress(KeyboardInterrupt):
        search(path, problem, settings(1_000_000, sampler=sampler, population=16, workers=1, **others), report=note)
    total = time.perf_counter() - began
    last = [1000 * (b - a) for a, b in pairwise(ends[-BATCH - 1 :])]
    cpu = [1000 * (b - a) for a, b in pairwise(worked[-BATCH - 1 :])]
    began = time.perf_counter()

    def stop(_: Progress) -> None:
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        search(path, problem, settings(1_000_000, sampler=sampler, population=16, workers=1, **others), report=stop)
    half = len(resident) // 2
    return {
        "sampler": sampler, "proposals": proposals, "objectives": len(objectives), "trials": len(ends),
        "ms_per_trial": round(statistics.median(last), 2), "ms_per_trial_mean": round(statistics.mean(last), 2),
        "cpu_ms_per_trial": round(statistics.median(cpu), 2), "cpu_ms_per_trial_mean": round(statistics.mean(cpu), 2),
        "seconds": round(total, 1),
        "journal_mb": round(path.stat().st_size / 1e6, 2), "resume_seconds": round(time.perf_counter() - began, 2),
        "rss_growth_mb": round((resident[-1] - resident[0]) / 1e6, 1),
        "rss_growth_second_half_mb": round((resident[-1] - resident[half]) / 1e6, 1),
    }  # fmt: skip


def _resident() -> int:
    """Bytes of memory that the process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _measured(arguments: tuple[str, int, tuple[str, ...], int]) -> dict[str, Any]:
    return measure(*arguments)


def main() -> None:
    """Prints one JSON line for each sampler."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--samplers", nargs="+", default=[name for name in SAMPLERS if name != "gp"], choices=SAMPLERS)
    parser.add_argument("--objectives", nargs="+", default=list(OBJECTIVES))
    parser.add_argument("--proposals", type=int, default=1, help="of search.prescreen; 1: off")
    chosen = parser.parse_args()
    for sampler in chosen.samplers:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            task = (sampler, chosen.trials, tuple(chosen.objectives), chosen.proposals)
            print(json.dumps(pool.map(_measured, [task])[0]), flush=True)


if __name__ == "__main__":
    main()
