"""What a pick by expectation is worth against one by the luckiest score, after searches on a table of trainings.

`python -m tests.benchmarks.expected_pick TABLE CONFIG [--searches 40] [--trials 24 64 128]`: every search runs as `nas
study replay` runs it. Of its trials within a limit on parameters (of four), `best:` takes the highest robust accuracy
and `expected:` the highest that the regression expects; both are judged by the trainings of the table that the search
did not see. Prints a table: means, and the paired difference with its standard error over searches.
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from nas.base.records import TrialRecord, TrialState
from nas.data.datasets import load_search_data
from nas.measures import measure
from nas.runs.config import load_config
from nas.runs.problem import make_problem
from nas.search.engine import run_search
from nas.search.problem import Problem
from nas.search.samplers import make_sampler
from nas.search.samplers.prescreen import Foreknown
from nas.search.settings import SearchSettings
from nas.search.study import StudyFile
from nas.studies.picks import expected_scores
from nas.studies.replay.table import BenchTable, read_table
from nas.studies.replay.virtual import VirtualTime, draw_of

ROBUST = measure("robust_accuracy")


def searched(table: BenchTable, problem: Problem, settings: SearchSettings) -> list[TrialRecord]:
    """Trained trials of one search on `table`."""
    directions = [objective.direction for objective in problem.objectives]
    sampler = partial(make_sampler, settings, known=Foreknown(problem.space, problem.costs, problem.objectives))
    study = StudyFile(None, problem.space, directions, sampler)
    run_search(problem, study, VirtualTime(table, 1, problem), settings, lambda _: None)
    return [one for one in study.records() if one.state is TrialState.COMPLETE and one.reused_from is None]


def picks(table: BenchTable, problem: Problem, trained: Sequence[TrialRecord], limits: Sequence[int]) -> list[float]:
    """Unseen robust accuracy, in the mean over `limits`: of the best score, then of the best expected one."""
    expected = expected_scores(trained, ROBUST, problem.space, 0)
    found: list[list[float]] = [[], []]
    for limit in limits:
        within = [record for record in trained if record.costs.params <= limit]
        by_score = max(within, key=lambda record: record.evaluation.robust_accuracy if record.evaluation else 0.0)
        by_expectation = max(within, key=lambda record: expected[record.number])
        for column, record in zip(found, (by_score, by_expectation), strict=True):
            column.append(table.unseen(record.genotype, draw_of(record.seed))["robust_accuracy"])
    return [statistics.fmean(column) for column in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("config", type=Path)
    parser.add_argument("--searches", type=int, default=40)
    parser.add_argument("--trials", nargs="+", type=int, default=[24, 64, 128])
    arguments = parser.parse_args()
    config = load_config(arguments.config)
    problem = replace(make_problem(config, load_search_data(config.data)), rungs=("attack",))
    table = read_table(arguments.table, problem.space)
    sizes = sorted(problem.costs(genotype).params for genotype in problem.space.uniform())
    limits = [sizes[len(sizes) * quarter // 4 - 1] for quarter in (1, 2, 3, 4)]
    print(f"limits on parameters: {limits}\n| trials | best: | expected: | difference |\n|---|---|---|---|")
    for trials in arguments.trials:
        found = []
        for seed in range(arguments.searches):
            settings = config.search.model_copy(update={"trials": trials, "seed": seed})
            found.append(picks(table, problem, searched(table, problem, settings), limits))
        by_score, by_expectation = zip(*found, strict=True)
        gains = [second - first for first, second in found]
        error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else float("nan")
        print(f"| {trials} | {statistics.fmean(by_score):.4f} | {statistics.fmean(by_expectation):.4f} | "
              f"{statistics.fmean(gains):+.4f} ± {error:.4f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
