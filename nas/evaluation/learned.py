"""The constraint that keeps networks off a front that have learned nothing."""

from collections.abc import Sequence

from torch import Tensor

from nas.evaluation.accuracy import wilson_interval
from nas.evaluation.classes import chance_of
from nas.pareto import Measure, parse_condition

LEARNED, ODDS = "natural_accuracy", 1.5
"""What must lie above chance by default, and by which factor of the odds at least: 0.143 with ten even classes, 0.6
with two."""


def above_chance(constraints: tuple[str, ...], objectives: Sequence[Measure], labels: Tensor) -> tuple[str, ...]:
    """`constraints`, and natural accuracy above chance wherever a network that has learned nothing would do well.

    An untrained network has the least instability and slope, so where one of them is an objective and no constraint is
    on natural accuracy, natural_accuracy >= a is added. Chance c is the share of the largest class among the images
    that a search scores on, with these `labels`; a is the larger of two: a / (1 − a) = ODDS · c / (1 − c), and the
    least accuracy on so many images whose 95 % interval lies above c, though not more than halfway from c to 1.
    """
    if not _is_needed(constraints, objectives):
        return constraints
    chance, count = chance_of(labels), len(labels)
    surely = next((right / count for right in range(count) if wilson_interval(right, count).low > chance), 1.0)
    limit = max(ODDS * chance / (1 + (ODDS - 1) * chance), min(surely, (1 + chance) / 2))
    return (*constraints, f"{LEARNED} >= {limit:.4g}")


def as_begun(constraints: tuple[str, ...], objectives: Sequence[Measure], begun: tuple[str, ...]) -> tuple[str, ...]:
    """`begun`, the constraints of a run, where they are `constraints` and what `above_chance` added to them."""
    *own, last = begun or ("",)
    is_same = _is_needed(constraints, objectives) and tuple(own) == constraints and last.startswith(LEARNED)
    return begun if is_same else constraints


def _is_needed(constraints: Sequence[str], objectives: Sequence[Measure]) -> bool:
    constrained = {parse_condition(text).metric.name for text in constraints}
    return LEARNED not in constrained and any(objective.is_sensitivity for objective in objectives)
