"""The simulated world: its truth is what the trainings follow, and its searches see that truth with noise."""

import math
import statistics
from random import Random

import pandas as pd
import pytest

from nas.runs.config import load_config
from nas.search.settings import SearchSettings
from search_spaces import Genotype
from tests.benchmarks.simulated_search import WORLDS, World, problem_of, trainings
from tests.conftest import ROOT

PROBLEM = problem_of(load_config(ROOT / "configs/cifar10_mcu.yaml"), (3, 32, 32), 10)


def rows(count: int = 60) -> pd.DataFrame:
    """Trainings whose accuracies are linear in the logarithms of two multipliers."""
    rng = Random(0)
    genotypes = [PROBLEM.space.sample(rng) for _ in range(count)]
    scores = [truth(genotype) for genotype in genotypes]
    return pd.DataFrame(
        {
            **{f"genotype.{c.name}": [one.values[c.name] for one in genotypes] for c in PROBLEM.space.choices},
            "natural_accuracy": [natural for _, natural in scores],
            "ladder": [f"pgd {robust:.6f} > apgd 0.1" for robust, _ in scores],
        }
    )


def truth(genotype: Genotype) -> tuple[float, float]:
    wide, deep = (math.log2(float(genotype.values[name])) for name in ("width_1", "expand_4"))
    return 0.3 + 0.02 * wide, 0.4 + 0.03 * deep


@pytest.mark.filterwarnings("ignore:The optimal value:Warning")  # there is no noise to be found
@pytest.mark.parametrize("world", WORLDS)
def test_the_world_follows_the_trainings(world: str) -> None:
    found = World.of(PROBLEM, rows(), WORLDS[world])
    for genotype in (PROBLEM.space.smallest(), PROBLEM.space.largest()):
        assert found.true(genotype) == pytest.approx(truth(genotype), abs=0.003)
    costs = {one: PROBLEM.costs(one) for one in PROBLEM.space.uniform()}
    small = [one for one, cost in costs.items() if cost.params <= 10_000 and PROBLEM.budget.allows(cost)]
    assert found.uniform(10_000)[0] == pytest.approx(max(truth(one)[0] for one in small), abs=0.003)


def test_rejected_and_reused_trials_are_no_trainings() -> None:
    found = pd.DataFrame({"ladder": ["pgd 0.3", None, "pgd 0.3"], "natural_accuracy": [0.1, 0.2, 0.1],
                          "reused_from": [None, None, 0]})  # fmt: skip
    assert trainings(found).index.tolist() == [0]
    assert len(trainings(found.drop(columns="reused_from"))) == 2


def test_its_searches_see_noise_of_the_size_that_the_trainings_have() -> None:
    noisy, rng = rows(), Random(1)
    noisy["natural_accuracy"] += [rng.gauss(0, 0.02) for _ in range(len(noisy))]
    world, genotype = World.of(PROBLEM, noisy, WORLDS["ridge"]), PROBLEM.space.largest()
    seen = [world.evaluation(genotype, Random(seed)).natural_accuracy for seed in range(400)]
    assert statistics.stdev(seen) == pytest.approx(0.02, rel=0.25)
    assert statistics.fmean(seen) == pytest.approx(world.true(genotype)[1], abs=0.004)
    assert world.evaluation(genotype, None).natural_accuracy == world.true(genotype)[1]


def test_a_search_in_it_is_judged_by_the_truth() -> None:
    world = World.of(PROBLEM, rows(), WORLDS["ridge"])
    settings = SearchSettings(trials=16, population=4, exploit=6, anchors=False)
    trained = world.searched(settings)
    assert len(trained) == 16
    judged = world.found(trained, [10**6], 0)
    best = max(world.true(one.genotype) for one in trained)
    assert judged[1] == pytest.approx(best[0], abs=0.01)
    assert 0 < judged[0] < best[0], "a share of the box that accuracy 1 at no parameters would fill"
