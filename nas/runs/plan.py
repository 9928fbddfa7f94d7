"""What a sweep trains: the networks that a config lists, each from several seeds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice, product, repeat
from pathlib import Path
from random import Random
from typing import Any

from nas.base.errors import UsageError
from nas.base.records import TrialRecord
from nas.base.seeding import derive_seed
from nas.runs.config import RunConfig
from nas.search.genotypes import distinct, spread_over, within_budget
from nas.search.problem import Problem
from search_spaces import Genotype, SearchSpace

MAX_GRID = 1000
"""Networks of a sweep's grid at most."""
MAX_DRAWS = 1000
"""Random draws for each network of a sample at most."""
POOL = 20_000
"""Random draws for a sample that is spread over a cost: a hundred for each network up to this, and ten at least."""

Fronts = Callable[[Path], Sequence[TrialRecord]]
"""Members of the front of the run in a folder."""


def sweep_plan(config: RunConfig, problem: Problem, fronts: Fronts) -> list[tuple[Genotype, int]]:
    """Genotypes of `config.sweep` with their seeds, all genotypes for the first seed, then for the next.

    An architecture is planned once for each seed, also where several genotypes round to it. Raises UsageError where a
    genotype is not of the space, nothing is listed and the grid is too large, or too few fit the budget for the sample,
    or none of the uniform networks does.
    """
    settings, space = config.sweep, problem.space
    listed = [_genotype(space, values, "genotypes") for values in settings.genotypes]
    if settings.front_of is not None:
        members = fronts(settings.front_of)
        listed += [_genotype(space, record.genotype.values, f"front_of: {settings.front_of}") for record in members]
    if settings.sample:
        listed += _sample(problem, settings.sample, settings.spread, config.search.seed)
    if settings.uniform:
        listed += _uniform(problem)
    if not listed:
        listed = list(_grid(space))
    genotypes = list(distinct(listed))
    repeats = range(settings.seeds)
    return [(g, derive_seed(config.search.seed, "sweep", g.key, repeat)) for repeat in repeats for g in genotypes]


def _genotype(space: SearchSpace, values: Mapping[str, Any], where: str) -> Genotype:
    try:
        return space.genotype(values)
    except ValueError as error:
        raise UsageError(f"sweep.{where}: {error}") from None


def _uniform(problem: Problem) -> list[Genotype]:
    found = list(within_budget(problem, problem.space.uniform()))
    if not found:
        raise UsageError("sweep.uniform: no uniform network fits the budget; widen the budget")
    return found


def _sample(problem: Problem, count: int, spread: str | None, seed: int) -> list[Genotype]:
    """Different architectures within the budget, drawn uniformly or, of many such, spread over a cost."""
    space, rng = problem.space, Random(derive_seed(seed, "sweep", "sample"))
    draws = (space.sample(rng) for _ in repeat(None))
    if spread is None:
        found = list(islice(within_budget(problem, islice(draws, MAX_DRAWS * count)), count))
    else:
        drawn = islice(draws, max(min(100 * count, POOL), 10 * count))
        pool = list(within_budget(problem, chain((space.smallest(), space.largest()), drawn)))
        found = pool if len(pool) < count else spread_over(problem, spread, pool, count)
    if len(found) < count:
        raise UsageError(
            f"sweep.sample: {count} networks are wanted, only {len(found)} within the budget were found; ask for fewer"
        )
    return found


def _grid(space: SearchSpace) -> Iterator[Genotype]:
    if space.size > MAX_GRID:
        raise UsageError(
            f"sweep.genotypes: needed, as the grid of this space has {space.size:,} networks; or draw some with "
            "sweep.sample"
        )
    for values in product(*(choice.options for choice in space.choices)):
        yield space.genotype(dict(zip((choice.name for choice in space.choices), values, strict=True)))
