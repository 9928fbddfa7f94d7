"""Genotypes beyond a sampler's proposals, for when these train nothing new."""

from collections.abc import Iterator, Sequence
from itertools import product
from random import Random

from search_spaces import Genotype, SearchSpace

MAX_DRAWS = 10_000
"""Random genotypes tried to find a fresh one; spaces up to this size are enumerated."""


def draws(space: SearchSpace, seed: int, known: Sequence[Genotype]) -> Iterator[Genotype]:
    """All genotypes of a small `space` in random order; of a large one, random ones and neighbours of those `known`."""
    rng = Random(seed)
    if space.size <= MAX_DRAWS:
        indices = list(product(*(range(len(choice.options)) for choice in space.choices)))
        rng.shuffle(indices)
        yield from map(space.decode, indices)
        return
    yield from (space.sample(rng) for _ in range(MAX_DRAWS))
    # A tight budget holds too small a share of the space to be hit at random: look around what fits.
    fitting = [space.smallest(), *known]
    for _ in range(MAX_DRAWS):
        near = list(space.encode(rng.choice(fitting)))
        for place in rng.sample(range(len(near)), min(len(near), rng.choice((1, 1, 2, 3)))):
            near[place] = rng.randrange(len(space.choices[place].options))
        yield space.decode(near)
