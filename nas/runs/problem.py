"""What a config searches: its space, its costs, and the worst value of every objective."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

from nas.base.errors import ConfigError, EmptyBudget
from nas.base.records import Costs
from nas.budgets import count_costs, over_budget_text
from nas.evaluation.closed_form import lipschitz_bound_log10
from nas.pareto import Metric, metric
from nas.runs.config import RunConfig
from nas.search.problem import Problem
from search_spaces import SPACES, Genotype, SearchSpace

if TYPE_CHECKING:
    from nas.data.datasets import SearchData


def make_space(config: RunConfig, input_shape: tuple[int, int, int], num_classes: int) -> SearchSpace:
    """Search space of `config` for images of this shape."""
    return SPACES[config.space.name].constructor(config.space, input_shape, num_classes)


def make_problem(config: RunConfig, data: SearchData) -> Problem:
    """What the engine searches, from the config and the shape of the data."""
    config.threat.check_fits(data.input_shape)
    for name, threat in config.evaluation.threats.items():
        threat.check_fits(data.input_shape, f"evaluation.threats.{name}")
    space = make_space(config, data.input_shape, data.num_classes)
    return Problem(
        space=space,
        costs=lambda genotype: costs_of(config, space, genotype),
        budget=config.budget,
        objectives=config.parsed_objectives,
        constraints=config.parsed_constraints,
        reference_point=reference_point(config, space, config.parsed_objectives),
        epochs=config.training.epochs,
        rungs=config.evaluation.ladder.search_rungs,
        reject_untrusted=config.search.reject_untrusted,
    )


def costs_of(config: RunConfig, space: SearchSpace, genotype: Genotype) -> Costs:
    """Costs of `genotype` in the config's number formats."""
    return count_costs(space.spec(genotype), config.deployment)


def reference_point(config: RunConfig, space: SearchSpace, objectives: Sequence[Metric]) -> tuple[float, ...]:
    """Worst value of each objective for the hypervolume, in its own direction.

    Accuracies 0; costs their limit, else 1.1 times the largest genotype's; the closed-form bound 1.1 times
    the largest genotype's; instability ln(classes) nats, that of a certain prediction becoming uniform
    (divided by epsilon on the paper's scale). `search.reference_point` overrides; the empirical and the
    certified Lipschitz constants have no worst value known before training and need it. Raises ConfigError
    where it is missing.
    """
    spec = space.spec(space.largest())
    uniform = math.log(space.num_classes)
    worst = {
        "robust_accuracy": 0.0,
        "natural_accuracy": 0.0,
        "instability": uniform,
        "instability_scaled": uniform / config.threat.epsilon,
        "lipschitz_bound_log10": 1.1 * lipschitz_bound_log10(spec),
    }
    for name, largest in dataclasses.asdict(count_costs(spec, config.deployment)).items():
        worst[name] = float(getattr(config.budget, name) or 1.1 * largest)
    for name, value in config.search.reference_point.items():
        best = metric(name).best
        if metric(name).loss(value) <= metric(name).loss(best):
            raise ConfigError(f"search.reference_point: {name} {value:g} must be worse than the best value, {best:g}")
        worst[name] = value
    missing = [o.name for o in objectives if o.name not in worst]
    if missing:
        raise ConfigError(
            f"objective {missing[0]} has no natural worst value: set search.reference_point: "
            f"{{{missing[0]}: VALUE}} for the hypervolume"
        )
    return tuple(worst[objective.name] for objective in objectives)


def check_budget(problem: Problem) -> None:
    """Raises EmptyBudget where even the smallest genotype exceeds the budget, with its size."""
    costs = problem.costs(problem.space.smallest())
    rng = Random(0)
    if any(problem.budget.allows(problem.costs(problem.space.sample(rng))) for _ in range(200)):
        return  # the smallest network need not have the lowest peak: a residual that it opens holds memory
    if text := over_budget_text(problem.space.spec(problem.space.smallest()), costs, problem.budget):
        raise EmptyBudget(f"no genotype fits the budget: the smallest network of the space has {text}")
