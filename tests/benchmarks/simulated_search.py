"""Searches in a world whose truth is known: a regression of real trainings, with their noise put back.

`python -m tests.benchmarks.simulated_search CONFIG CSV... --vary '{}' --vary '{"exploit": 14}'`: the CSVs are of
`nas.open(RUN).trials().to_csv()`; what robust accuracy (under the first attack that each has met) and
natural accuracy depend on is learned from them, by ridge regression and by a Gaussian process, in logarithms of the
multipliers. In each of these worlds every variant of `search` settings searches `--searches` times.

Prints, as means over the searches with their standard error: the true hypervolume of all that was trained, and, within
each limit on parameters, the true robust and natural accuracy of what `--pick expected:robust_accuracy` picks; above
them those of the uniform network with the highest true robust accuracy. A search takes seconds.
"""

import argparse
import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas.base.records import Candidate, Evaluation, Interval, Outcome, TrialRecord, TrialState
from nas.base.seeding import derive_seed
from nas.measures import measure
from nas.pareto import front_of, hypervolume
from nas.runs import make_space
from nas.runs.config import RunConfig, load_config
from nas.runs.problem import costs_of, reference_point
from nas.search.engine import run_search
from nas.search.problem import Problem
from nas.search.samplers import make_sampler
from nas.search.samplers.prescreen import Foreknown
from nas.search.settings import SearchSettings
from nas.search.start import starts_of
from nas.search.study import StudyFile
from nas.studies.picks import expected_scores
from nas.workers.local import InProcess
from search_spaces import Genotype, SearchSpace

Array = NDArray[np.float64]
Fit = Callable[[Array, Array], tuple[Callable[[Array], float], float]]
"""Regression of features (N, F) and targets (N,): the function, and the standard deviation of what it leaves."""
METRICS = ("robust_accuracy", "natural_accuracy")


def ridge(features_NF: Array, targets_N: Array) -> tuple[Callable[[Array], float], float]:
    """Linear, with a penalty of 1 on every coefficient."""
    mean, level = features_NF.mean(0), targets_N.mean()
    centred = features_NF - mean
    slope = np.linalg.solve(centred.T @ centred + np.eye(centred.shape[1]), centred.T @ (targets_N - level))
    rest = targets_N - level - centred @ slope
    return lambda row: float(level + (row - mean) @ slope), float(rest.std())


def gaussian_process(features_NF: Array, targets_N: Array) -> tuple[Callable[[Array], float], float]:
    """A smooth function and a linear one, their sizes fitted."""
    from sklearn.gaussian_process import GaussianProcessRegressor, kernels

    kernel = kernels.ConstantKernel(1) * kernels.RBF(3) + kernels.ConstantKernel(0.1) * kernels.DotProduct()
    model = GaussianProcessRegressor(kernel + kernels.WhiteKernel(0.1), normalize_y=True, random_state=0)
    model.fit(features_NF, targets_N)
    noise = math.sqrt(model.kernel_.k2.noise_level) * float(targets_N.std())
    return lambda row: float(model.predict(row[None])[0]), noise


WORLDS: dict[str, Fit] = {"ridge": ridge, "gaussian_process": gaussian_process}


@dataclass
class World:
    """What training gives a genotype: a truth for each metric, and noise."""

    problem: Problem
    truth: dict[str, tuple[Callable[[Array], float], float]]

    @classmethod
    def of(cls, problem: Problem, rows: pd.DataFrame, fit: Fit) -> "World":
        """Learned from the trainings in `rows`."""
        space = problem.space
        names = [choice.name for choice in space.choices]
        genotypes = [space.genotype(dict(zip(names, row, strict=True))) for row in
                     rows[[f"genotype.{name}" for name in names]].itertuples(index=False)]  # fmt: skip
        features = np.array([_features(space, one) for one in genotypes])
        first = rows["ladder"].map(lambda text: float(text.split(" > ")[0].split()[-1]))
        targets = dict(zip(METRICS, (first, rows["natural_accuracy"]), strict=True))
        return cls(problem, {name: fit(features, values.to_numpy(float)) for name, values in targets.items()})

    def true(self, genotype: Genotype) -> tuple[float, ...]:
        """Robust and natural accuracy without noise."""
        row = _features(self.problem.space, genotype)
        return tuple(self.truth[name][0](row) for name in METRICS)

    def evaluation(self, genotype: Genotype, rng: Random | None) -> Evaluation:
        """With noise where there is an `rng`."""
        robust, natural = self.true(genotype)
        if rng is not None:
            robust += rng.gauss(0, self.truth[METRICS[0]][1])
            natural += rng.gauss(0, self.truth[METRICS[1]][1])
        anywhere = Interval(0, 1)
        return Evaluation(
            split="validation", num_images=0, natural_accuracy=natural, natural_interval=anywhere,
            robust_accuracy=robust, robust_interval=anywhere, instability=0.0, instability_scaled=0.0,
            lipschitz_empirical=1.0, lipschitz_empirical_scaled=1.0, lipschitz_maximised=1.0,
            lipschitz_certified_log10=1.0, lipschitz_bound_log10=1.0, attack={}, threat={},
        )  # fmt: skip

    def searched(self, settings: SearchSettings) -> list[TrialRecord]:
        """Trained trials of one search."""
        problem = self.problem

        def trained(candidate: Candidate) -> Outcome:
            rng = Random(derive_seed(settings.seed, "noise", candidate.genotype.key))
            return Outcome(self.evaluation(candidate.genotype, rng), 0.0)

        starts = starts_of(settings.start_from, problem, lambda _: ())
        problem = replace(problem, first=tuple(start.genotype for start in starts))
        known = Foreknown(problem.space, problem.costs, problem.objectives)
        directions = [objective.direction for objective in problem.objectives]
        study = StudyFile(None, problem.space, directions, partial(make_sampler, settings, known=known))
        run_search(problem, study, InProcess(trained), settings, lambda _: None)
        return [one for one in study.records() if one.state is TrialState.COMPLETE and one.reused_from is None]

    def found(self, trained: Sequence[TrialRecord], limits: Sequence[int], seed: int) -> list[float]:
        """True hypervolume of what was `trained`, then true accuracies of the pick within each limit."""
        honest = [replace(one, evaluation=self.evaluation(one.genotype, None)) for one in trained]
        members = front_of(honest, self.problem.objectives).records
        expected = expected_scores(trained, measure("robust_accuracy"), self.problem.space, seed)
        row = [hypervolume(members, self.problem.objectives, self.problem.reference_point)]
        for limit in limits:
            best = max((one for one in trained if one.costs.params <= limit), key=lambda one: expected[one.number])
            row += self.true(best.genotype)
        return row

    def uniform(self, limit: int) -> tuple[float, ...]:
        """True accuracies of the uniform network within `limit` and the budget whose robust accuracy is highest."""
        costs = self.problem.costs
        fitting = [one for one in self.problem.space.uniform() if self.problem.budget.allows(costs(one))]
        return max(self.true(one) for one in fitting if costs(one).params <= limit)


def trainings(rows: pd.DataFrame) -> pd.DataFrame:
    """Those of `rows` that are trainings of their own: not rejected, failed or reused."""
    scored = rows.dropna(subset=["ladder", "natural_accuracy"])
    return scored[scored["reused_from"].isna()] if "reused_from" in scored else scored


def _features(space: SearchSpace, genotype: Genotype) -> Array:
    return np.array([math.log2(float(genotype.values[choice.name])) for choice in space.choices])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("trainings", type=Path, nargs="+", help="CSV of nas.open(RUN).trials()")
    parser.add_argument("--vary", action="append", type=json.loads, required=True, help="fields of search, as JSON")
    parser.add_argument("--shape", nargs=3, type=int, default=[3, 32, 32])
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--searches", type=int, default=16)
    parser.add_argument("--limits", nargs="+", type=int, default=[30200, 54000, 81000])
    arguments = parser.parse_args()
    config = load_config(arguments.config)
    problem = problem_of(config, arguments.shape, arguments.classes)
    rows = trainings(pd.concat([pd.read_csv(path) for path in arguments.trainings]))
    titles = [
        "world",
        "search",
        "hypervolume",
        *(f"{limit:,} parameters: robust, natural" for limit in arguments.limits),
    ]
    print(f"| {' | '.join(titles)} |\n{'|---' * len(titles)}|")
    for name, fit in WORLDS.items():
        world = World.of(problem, rows, fit)
        best = [", ".join(f"{value:.4f}" for value in world.uniform(limit)) for limit in arguments.limits]
        print(f"| {name} | best uniform | | {' | '.join(best)} |")
        for fields in arguments.vary:
            base = config.search.model_dump()
            settings = [
                SearchSettings.model_validate({**base, **fields, "seed": seed}) for seed in range(arguments.searches)
            ]
            found = [world.found(world.searched(one), arguments.limits, one.seed) for one in settings]
            cells = [f"{statistics.fmean(column):.4f} ± {_error(column):.4f}" for column in zip(*found, strict=True)]
            pairs = [", ".join(pair) for pair in zip(cells[1::2], cells[2::2], strict=True)]
            print(f"| {name} | {json.dumps(fields)} | {cells[0]} | {' | '.join(pairs)} |", flush=True)


def problem_of(config: RunConfig, shape: Sequence[int], classes: int) -> Problem:
    """Problem of the config on images of the shape; the costs of each genotype are counted once."""
    channels, height, width = shape
    space = make_space(config, (channels, height, width), classes)
    objectives = config.parsed_objectives
    return Problem(
        space=space,
        costs=lru_cache(None)(partial(costs_of, config, space)),
        budget=config.budget,
        objectives=objectives,
        constraints=(),
        reference_point=reference_point(config, space, objectives),
    )


def _error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else math.nan


if __name__ == "__main__":
    main()
