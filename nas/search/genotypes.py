"""Genotypes out of many: different architectures, within the budget, spread over a cost."""

import math
from collections.abc import Iterable, Iterator, Sequence

from nas.search.problem import Problem
from search_spaces import Genotype


def spread_over(problem: Problem, cost: str, pool: Sequence[Genotype], count: int) -> list[Genotype]:
    """`count` of `pool`, cheapest first: those nearest to evenly spaced logarithms of `cost`, ends included."""
    sizes = {genotype: math.log(getattr(problem.costs(genotype), cost)) for genotype in pool}
    low, high = min(sizes.values()), max(sizes.values())
    found = dict[Genotype, float]()
    for index in range(count):
        wanted = low + (high - low) * index / max(1, count - 1)
        nearest = min(sizes, key=lambda genotype: abs(sizes[genotype] - wanted))
        found[nearest] = sizes.pop(nearest)
    return sorted(found, key=found.__getitem__)


def within_budget(problem: Problem, genotypes: Iterable[Genotype]) -> Iterator[Genotype]:
    """Different architectures among `genotypes`, those within the budget."""
    return distinct(genotype for genotype in genotypes if problem.budget.allows(problem.costs(genotype)))


def distinct(genotypes: Iterable[Genotype]) -> Iterator[Genotype]:
    """The first genotype of every architecture."""
    seen = set[str]()
    for genotype in genotypes:
        if genotype.key not in seen:
            seen.add(genotype.key)
            yield genotype
