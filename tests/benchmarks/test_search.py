"""How long the search itself takes between two trainings (`make bench`). Nothing here judges the time."""

from pathlib import Path
from random import Random

import numpy as np
import pytest

from nas.base.records import Costs, TrialRecord
from nas.budgets import Deployment, count_costs
from nas.pareto import MEASURES, front_of, hypervolume
from search_spaces import Genotype
from search_spaces.mobilenet_tiny import MobileNetTiny, mobilenet_tiny
from tests.builders import trial
from tests.toy import open_study, search, settings, toy_problem, toy_space

BenchmarkFixture = pytest.importorskip("pytest_benchmark.fixture").BenchmarkFixture

OBJECTIVES = [MEASURES[name] for name in ("robust_accuracy", "instability", "lipschitz_bound_log10", "params")]


def points(count: int) -> list[TrialRecord]:
    """Trials around a sphere, so that most of them are on the front."""
    normal = np.abs(np.random.default_rng(0).normal(size=(count, 4)))
    rows = 1 - 0.9 * normal / np.linalg.norm(normal, axis=1, keepdims=True)
    return [
        trial(number, round(1000 * row[3]), robust=1 - row[0], instability=row[1], bound=row[2])
        for number, row in enumerate(rows)
    ]


def test_sampling_and_costs(benchmark: BenchmarkFixture) -> None:
    space, rng, deployment = mobilenet_tiny(MobileNetTiny(), (3, 32, 32), 10), Random(0), Deployment()

    def draw() -> tuple[Genotype, Costs]:
        genotype = space.sample(rng)
        return genotype, count_costs(space.spec(genotype), deployment)

    genotype, costs = benchmark(draw)
    assert costs.params > 0
    assert space.genotype(genotype.values) == genotype


def test_proposal_of_nsga2(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    problem, chosen = toy_problem(toy_space(8)), settings(40, population=8)
    search(tmp_path / "j", problem, chosen)
    study = open_study(tmp_path / "j", problem, chosen)
    genotype = benchmark(lambda: study.genotype(study.ask()))
    assert genotype.values.keys() == {choice.name for choice in problem.space.choices}


def test_front_of_500_points(benchmark: BenchmarkFixture) -> None:
    front = benchmark(front_of, points(500), OBJECTIVES)
    assert 100 < len(front.records) <= 500


def test_hypervolume_of_500_points(benchmark: BenchmarkFixture) -> None:
    share = benchmark(hypervolume, points(500), OBJECTIVES, [0.0, 1.0, 1.0, 1000])
    assert 0 < share < 1
