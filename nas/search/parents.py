"""Whose weights a candidate starts from, where it inherits any (`search.inherit`)."""

from collections.abc import Iterable
from math import lcm

from nas.base.records import TrialRecord
from search_spaces import Genotype, SearchSpace


def parent_of(genotype: Genotype, trained: Iterable[TrialRecord], space: SearchSpace) -> int | None:
    """Number of the trial among `trained` whose genotype is nearest; None where none left a scored network.

    The distance is the sum over the choices of |difference of the option's index| / (number of options - 1); among
    equals the first trial is taken.
    """
    steps = [max(1, len(choice.options) - 1) for choice in space.choices]
    shared = lcm(*steps)  # in whole numbers, so that equal distances are equal
    own = space.encode(genotype)

    def distance(record: TrialRecord) -> int:
        theirs = space.encode(record.genotype)
        return sum(abs(a - b) * shared // step for a, b, step in zip(own, theirs, steps, strict=True))

    scored = [record for record in trained if record.evaluation is not None]
    nearest = min(scored, key=lambda record: (distance(record), record.number), default=None)
    return None if nearest is None else nearest.number
