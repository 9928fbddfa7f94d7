"""What a second worker brings: candidates per hour of two workers with one thread each, against one.

    python -m tests.benchmarks.workers_speedup --rounds 4
    python -m tests.benchmarks.workers_speedup configs/digits.yaml --candidates 32

The same random genotypes within the budget, trained with the settings of the config and scored by the same attack, by
the engine of a search; in rounds of one side and then the other, first in turn. The clock runs from the first candidate
that is given to workers, which have trained one before, to the last one told; what starting the workers takes is given
apart. Near the end some worker has nothing left to do: the more candidates, the less that counts.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from nas.base.machine import available_cores
from nas.base.records import Candidate, Evaluation
from nas.base.seeding import derive_seed
from nas.data.datasets import SearchData, load_search_data
from nas.runs import make_problem
from nas.runs.config import RunConfig, load_config
from nas.runs.trial import TrialPlan
from nas.search.samplers import make_sampler
from nas.search.study import StudyFile
from nas.search.sweep import run_sweep
from nas.workers.fork_server import start_server
from nas.workers.local import Processes
from search_spaces import Genotype

WARM_UP = 1_000_000
"""Number of the first trial that only warms a worker up."""


@dataclass(frozen=True)
class Measured:
    """One side of a round."""

    workers: int
    seconds: float
    """From the first candidate to the last."""
    per_candidate: float
    """Mean seconds that a worker spends on one."""
    starting: float
    """Seconds that the workers took before they trained."""
    evaluations: dict[str, Evaluation]
    """By architecture."""

    @property
    def per_hour(self) -> float:
        """Candidates."""
        return 3600 * len(self.evaluations) / self.seconds

    @property
    def busy(self) -> float:
        """Share of their time that the workers spend on candidates."""
        return self.per_candidate * len(self.evaluations) / (self.workers * self.seconds)


def draw(config: RunConfig, data: SearchData, count: int) -> list[Genotype]:
    """`count` random genotypes within the budget, no two of one architecture."""
    problem, rng = make_problem(config, data), Random(derive_seed(config.search.seed, "workers_speedup"))
    found: dict[str, Genotype] = {}
    while len(found) < count:
        genotype = problem.space.sample(rng)
        if problem.budget.allows(problem.costs(genotype)):
            found.setdefault(genotype.key, genotype)
    return list(found.values())


def measure(config: RunConfig, data: SearchData, genotypes: Sequence[Genotype], workers: int) -> Measured:
    """Trains `genotypes` with so many workers of one thread."""
    problem = replace(make_problem(config, data), rungs=("attack",))  # no climbs: their number depends on the order
    directions = [objective.direction for objective in problem.objectives]
    with tempfile.TemporaryDirectory() as place:
        plan = TrialPlan(problem.space, data, config.threat, config.training, config.evaluation, "cpu", Path(place))
        study = StudyFile(Path(place, "study.journal"), problem.space, directions, partial(make_sampler, config.search))
        created = time.perf_counter()
        with closing(Processes(plan, workers=workers, threads=1, timeout=None)) as executor:
            starting = _warm_up(executor, problem.space.smallest()) - created
            began = time.perf_counter()
            listed = [(genotype, derive_seed(config.search.seed, "trial", genotype.key)) for genotype in genotypes]
            run_sweep(problem, study, executor, config.search, lambda _: None, listed)
            seconds = time.perf_counter() - began
        records = study.records()
    spent = statistics.mean(record.seconds for record in records)
    evaluations = {record.genotype.key: record.evaluation for record in records if record.evaluation is not None}
    assert len(evaluations) == len(genotypes), "a candidate failed"
    return Measured(workers, seconds, spent, starting, evaluations)


def _warm_up(executor: Processes, genotype: Genotype) -> float:
    """When the last worker began with its first candidate; returns when all have finished it."""
    for index in range(executor.capacity):
        executor.submit(Candidate(WARM_UP + index, genotype, index))
    began: list[float] = []
    while len(began) < executor.capacity:
        began += [time.perf_counter() - outcome.seconds for _, outcome in executor.collect(1.0)]
    return max(began)


def compare(config: RunConfig, data: SearchData, candidates: int, number: int) -> dict[str, Any]:
    """Round `number`, JSON-ready: both sides, and how many times as many candidates an hour two workers do."""
    genotypes = draw(config, data, candidates)
    order = (1, 2) if number % 2 == 0 else (2, 1)
    one, two = sorted((measure(config, data, genotypes, n) for n in order), key=lambda side: side.workers)
    assert one.evaluations == two.evaluations, "both sides do the same work"
    sides = {
        f"{side.workers} worker{'s' * (side.workers > 1)}": {
            "per_hour": round(side.per_hour, 1), "seconds": round(side.seconds, 2), "busy": round(side.busy, 3),
            "seconds_per_candidate": round(side.per_candidate, 3), "starting_seconds": round(side.starting, 2),
        }
        for side in (one, two)
    }  # fmt: skip
    return {"round": number + 1, "ratio": round(two.per_hour / one.per_hour, 3), **sides}


def main() -> None:
    """Prints one JSON line for each round, and one with the median and the range of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("config", type=Path, nargs="?", default=Path("configs/digits.yaml"))
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--candidates", type=int, default=16)
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="FIELD=VALUE")
    chosen = parser.parse_args()
    start_server("nas.runs.trial")
    config = load_config(chosen.config, chosen.overrides)
    data, ratios = load_search_data(config.data), []
    for number in range(chosen.rounds):
        found = compare(config, data, chosen.candidates, number)
        ratios.append(found["ratio"])
        print(json.dumps(found), flush=True)
    print(json.dumps({
        "candidates": chosen.candidates, "cores": available_cores(), "rounds": len(ratios),
        "median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
