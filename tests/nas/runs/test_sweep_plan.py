"""What a sweep plans: the networks of a config, of the grid, of a sample or of a front, each from several seeds."""

from pathlib import Path

import numpy as np
import pytest

from nas.base.errors import UsageError
from nas.data.datasets import load_search_data
from nas.runs import front_in, make_problem
from nas.runs.config import load_config
from nas.runs.work import sweep
from tests.tiny_run import plan_of, sweep_config


def test_the_plan_is_every_network_for_the_first_seed_then_for_the_next(tmp_path: Path) -> None:
    plan = plan_of(sweep_config(tmp_path, "sweep.seeds=3"))
    assert [genotype.values for genotype, _ in plan] == 3 * [
        {"width": 0.5, "expand": 2}, {"width": 1.0, "expand": 2}, {"width": 0.5, "expand": 4}
    ]  # fmt: skip
    assert len({seed for _, seed in plan}) == 9
    assert plan_of(sweep_config(tmp_path, "sweep.seeds=2")) == plan[:6], "more seeds are appended"
    assert {seed for _, seed in plan_of(sweep_config(tmp_path, "search.seed=1"))}.isdisjoint(seed for _, seed in plan)


def test_without_genotypes_the_plan_is_the_grid(tmp_path: Path) -> None:
    plan = plan_of(sweep_config(tmp_path, "sweep={seeds: 1}"))
    assert sorted((g.values["width"], g.values["expand"]) for g, _ in plan) == [
        (width, expand) for width in (0.5, 1.0) for expand in (1, 2, 3, 4)
    ]


def test_an_architecture_of_two_genotypes_is_in_the_plan_once_a_seed(tmp_path: Path) -> None:
    # 0.5 and 0.55 round to the same channels: a second training from the same seed would be counted as a repeat.
    plan = plan_of(sweep_config(tmp_path, "sweep={seeds: 2}", "space.width_multipliers=[0.5, 0.55, 1.0]"))
    assert len(plan) == len({seed for _, seed in plan}) == 2 * 2 * 4


@pytest.mark.parametrize(
    ("genotype", "named"),
    [
        ("{width: 0.7, expand: 2}", ["width = 0.7", "[0.5, 1.0]"]),
        ("{width: 0.5, expand: 9}", ["expand = 9", "[1.0, 2.0, 3.0, 4.0]"]),
        ("{width: 0.5}", ["'expand'", "'width'"]),
        ("{width: 0.5, expand: 2, depth: 3}", ["depth"]),
    ],
)
def test_a_genotype_outside_the_space_is_refused_before_anything_is_written(
    tmp_path: Path, genotype: str, named: list[str]
) -> None:
    with pytest.raises(UsageError, match=r"sweep\.genotypes") as caught:
        sweep(sweep_config(tmp_path, f"sweep.genotypes=[{genotype}]"), tmp_path / "runs" / "swept", lambda _: None)
    assert [text for text in named if text not in str(caught.value)] == []
    assert not (tmp_path / "runs").exists(), "the corrected config must not be another one than the run's"


def test_a_space_too_large_for_a_grid_needs_genotypes(tmp_path: Path) -> None:
    large = sweep_config(tmp_path, "sweep={seeds: 1}", f"space.expand_ratios={[1 + n / 100 for n in range(501)]}")
    with pytest.raises(UsageError, match=r"sweep\.genotypes: needed.*1,002 networks"):
        plan_of(large)


def test_a_sample_is_drawn_within_the_budget_by_the_seed(tmp_path: Path) -> None:
    limit = ("sweep={seeds: 2, sample: 5}", "budget.params=1500")
    plan = plan_of(sweep_config(tmp_path, *limit))
    keys = [genotype.key for genotype, _ in plan]
    assert len(set(keys)) == 5
    assert keys == 2 * keys[:5]
    assert plan == plan_of(sweep_config(tmp_path, *limit))
    assert [g.key for g, _ in plan_of(sweep_config(tmp_path, *limit, "search.seed=3"))] != keys
    config = sweep_config(tmp_path, *limit)
    problem = make_problem(config, load_search_data(config.data))
    assert all(problem.costs(genotype).params <= 1500 for genotype, _ in plan)
    with pytest.raises(UsageError, match=r"sweep\.sample: 9 networks are wanted, only \d+ within the budget"):
        plan_of(sweep_config(tmp_path, "sweep={sample: 9}", "budget.params=1500"))


def test_a_sample_can_be_spread_over_a_cost(tmp_path: Path) -> None:
    def params(*overrides: str) -> list[int]:
        config = sweep_config(tmp_path, *overrides)
        problem = make_problem(config, load_search_data(config.data))
        return [problem.costs(genotype).params for genotype, _ in plan_of(config)]

    every = sorted(params("sweep={seeds: 1}"))
    spread = params("sweep={seeds: 1, sample: 4, spread: params}")
    assert (spread[0], spread[-1]) == (every[0], every[-1]), "from the smallest network to the largest"
    wanted = np.geomspace(every[0], every[-1], 4)
    nearest = [min(every, key=lambda size: abs(np.log(size) - np.log(goal))) for goal in wanted]
    assert spread == nearest
    assert max(params("sweep={seeds: 1, sample: 3, spread: params}", "budget.params=1500")) <= 1500
    with pytest.raises(UsageError, match=r"sweep\.sample: 9 networks are wanted, only \d+ within the budget"):
        plan_of(sweep_config(tmp_path, "sweep={sample: 9, spread: params}", "budget.params=1500"))


def test_the_front_of_another_run_is_a_plan(copy: Path) -> None:
    front = front_in(copy / "runs" / "tiny")
    plan = plan_of(load_config(copy / "tiny.yaml", ("sweep={seeds: 1, front_of: runs/tiny}",)))
    assert [genotype.key for genotype, _ in plan] == [record.genotype.key for record in front]
    both = plan_of(load_config(copy / "tiny.yaml", ("sweep={seeds: 1, front_of: runs/tiny, sample: 3}",)))
    assert both[: len(front)] == plan, "the sample follows"
    with pytest.raises(UsageError, match=r"sweep\.front_of: runs/tiny: "):
        plan_of(load_config(copy / "tiny.yaml", ("sweep={front_of: runs/tiny}", "space.width_multipliers=[0.3, 0.4]")))
