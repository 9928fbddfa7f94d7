"""Training with all cores on a machine that does something else: `python -m tests.benchmarks.busy_machine`.

Images per second of one process with a thread on every core, on idle cores and beside one busy process, for waiting
policies of OpenMP's idle threads (libgomp, which torch's wheels bring): its own default, passive, and a finite number
of spins before a thread sleeps. A process cannot change it, so every figure is of a process of its own. Every round
measures everything once; ratios are taken within a round, to the default on idle cores.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence

MEASURED = """
import json, sys
from nas.base.machine import available_cores, claim_threads
from nas.timing.bench import engine_speed, paper_workload, plain_speed
from dataclasses import replace
side, seconds = sys.argv[1], float(sys.argv[2])
workload = replace(paper_workload("mousavi_w0.35_e6", 32, 32, 3, "cpu"), seconds=seconds)
claim_threads(available_cores())
print(json.dumps({"engine": engine_speed, "plain": plain_speed}[side](workload)()["training"]))
"""
BUSY = "while True: pass"
OURS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def policies(spins: Sequence[int]) -> dict[str, dict[str, str]]:
    """Environments by name."""
    counted = {f"{count} spins": {"GOMP_SPINCOUNT": str(count)} for count in spins}
    return {"libgomp": {"GOMP_SPINCOUNT": "300000"}, "passive": {"OMP_WAIT_POLICY": "PASSIVE"}, **counted, "nas": {}}


def speed(side: str, seconds: float, policy: dict[str, str], busy: bool) -> float:
    """Images per second of a new process, beside a busy one where asked."""
    environment = {name: value for name, value in os.environ.items() if name not in OURS} | policy
    other = subprocess.Popen([sys.executable, "-c", BUSY]) if busy else None
    try:
        command = [sys.executable, "-c", MEASURED, side, str(seconds)]
        return float(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
    finally:
        if other is not None:
            other.kill()
            other.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--spins", type=int, nargs="*", default=[100, 1000, 10_000, 30_000])
    arguments = parser.parse_args()
    cases = [("engine", name, busy) for name in policies(arguments.spins) for busy in (False, True)]
    cases += [("plain", "libgomp", busy) for busy in (False, True)]
    found: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}
    for number in range(arguments.rounds):
        round_of = {
            (side, name, busy): speed(side, arguments.seconds, policies(arguments.spins)[name], busy)
            for side, name, busy in cases
        }
        for (side, name, busy), value in round_of.items():
            label = f"{side}, {name}, {'beside a busy process' if busy else 'idle'}"
            found.setdefault(label, []).append(value)
            ratios.setdefault(label, []).append(value / round_of[side, "libgomp", False])
        print(f"round {number + 1}", {label: round(values[-1], 1) for label, values in found.items()}, file=sys.stderr)
    print(json.dumps({label: {"images_per_second": _spread(found[label]), "ratio": _spread(ratios[label])}
                      for label in found}, indent=1))  # fmt: skip


def _spread(values: Sequence[float]) -> list[float]:
    return [round(value, 3) for value in (statistics.median(values), min(values), max(values))]


if __name__ == "__main__":
    main()
