"""What a config searches: its space, its costs, and the worst value of every objective."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import lru_cache, partial
from random import Random
from typing import TYPE_CHECKING

from nas.base.errors import ConfigError, EmptyBudget
from nas.base.records import Costs
from nas.budgets import count_costs, over_budget_text
from nas.measures import Measure, Setting, measure
from nas.runs.config import RunConfig
from nas.runs.pruned import check_channels, deployed_spec
from nas.search.problem import Problem
from search_spaces import SPACES, Genotype, SearchSpace, with_bits, with_sparsity

if TYPE_CHECKING:
    from nas.data.datasets import SearchData


KNOWN_COSTS = 20_000
"""Genotypes of which the costs are kept: a search asks for the same ones again and again."""


def make_space(config: RunConfig, input_shape: tuple[int, int, int], num_classes: int) -> SearchSpace:
    """Search space of `config` for images of this shape, with the bits and the sparsities that are chosen."""
    space = SPACES[config.space.name].constructor(config.space, input_shape, num_classes)
    return with_sparsity(with_bits(space, config.bits), config.sparsity)


def make_problem(config: RunConfig, data: SearchData) -> Problem:
    """What the engine searches, from the config and the shape of the data."""
    from nas.evaluation.acting import check_threats  # imports torch

    check_threats(config.threat, config.evaluation.threats, data.validation)
    space = make_space(config, data.input_shape, data.num_classes)
    check_channels(space.spec(space.largest()), config.treatments)
    return Problem(
        space=space,
        costs=lru_cache(KNOWN_COSTS)(partial(costs_of, config, space)),
        budget=config.budget,
        objectives=config.parsed_objectives,
        constraints=config.parsed_constraints,
        reference_point=reference_point(config, space, config.parsed_objectives),
        epochs=config.training.epochs,
        rungs=config.evaluation.ladder.search_rungs,
        reject_untrusted=config.search.reject_untrusted,
    )


def costs_of(config: RunConfig, space: SearchSpace, genotype: Genotype) -> Costs:
    """Costs of `genotype` in the config's number formats, without channels that are pruned."""
    return count_costs(deployed_spec(space.spec(genotype), config.treatments), config.deployment)


def reference_point(config: RunConfig, space: SearchSpace, objectives: Sequence[Measure]) -> tuple[float, ...]:
    """Worst value of each objective for the hypervolume, in its own direction.

    `search.reference_point` has it, or the objective's measure says it (`Measure.worst`). Raises ConfigError where it
    is missing or not worse than the best value: where a measure has none, none is known before training.
    """
    spec = space.spec(space.largest())
    costs = dataclasses.asdict(count_costs(deployed_spec(spec, config.treatments), config.deployment))
    limits = {name: float(getattr(config.budget, name) or 1.1 * largest) for name, largest in costs.items()}
    setting, own = Setting(space.num_classes, config.threat.epsilon, spec, limits), config.search.reference_point
    for one, value in [(measure(name), value) for name, value in own.items()]:
        if one.loss(value) <= one.loss(one.best):
            raise ConfigError(
                f"search.reference_point: {one.name} {value:g} must be worse than the best value, {one.best:g}"
            )
    worst = []
    for one in objectives:
        found = own.get(one.name, one.worst_in(setting))
        if found is None or one.loss(found) <= one.loss(one.best):  # a box without a width has no hypervolume
            raise ConfigError(
                f"objective {one.name} has no natural worst value here: set search.reference_point: {{{one.name}: "
                "VALUE}} for the hypervolume"
            )
        worst.append(found)
    return tuple(worst)


def check_budget(problem: Problem) -> None:
    """Raises EmptyBudget where even the smallest genotype exceeds the budget, with its size."""
    costs = problem.costs(problem.space.smallest())
    rng = Random(0)
    if any(problem.budget.allows(problem.costs(problem.space.sample(rng))) for _ in range(200)):
        return  # the smallest network need not have the lowest peak: a residual that it opens holds memory
    if text := over_budget_text(problem.space.spec(problem.space.smallest()), costs, problem.budget):
        raise EmptyBudget(f"no genotype fits the budget: the smallest network of the space has {text}")
