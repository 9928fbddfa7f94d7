"""A search space of the size that a budget allows, for `nas init`.

Rule: the rows of configs/cifar10_mcu.yaml, all channels times one factor, which is the largest of SCALES at which at
least half of random genotypes are within the budget. Resolution is halved as long as 4 pixels are left.
"""

from dataclasses import dataclass
from random import Random

from nas.base.errors import EmptyBudget
from nas.budgets import Budget, Deployment, count_costs, over_budget_text
from search_spaces import SPACES, SearchSpace
from search_spaces.mobilenet_tiny import MobileNetTiny, Row

SCALES = tuple(2 ** (step / 4) for step in range(12, -9, -1))
"""Factors of the channels, 8 down to 1/4."""
DRAWN, SHOWN = 200, 2000
"""Random genotypes that the share within the budget is counted on: of every space that is tried, and of the chosen one,
where it is that of `nas check`."""
WANTED, LEAST = 0.5, 0.2
"""Share of them within the budget: at least, and below which a space is refused."""

ROWS = ((16, 1), (24, 1), (32, 2), (64, 2), (96, 1))
"""Channels and layers of the rows at factor 1; the first never expands."""
STEM, HEAD, DIVISOR = 16, 192, 4
HALVED = (3, 4, 0, 2, 1, 5)
"""Rows that halve the resolution, in the order in which larger images need them; 0 is the stem. 32 pixels: the first
three, as in configs/cifar10_mcu.yaml."""


@dataclass(frozen=True)
class FittedSpace:
    """A space and the share of its random genotypes within the budget."""

    settings: MobileNetTiny
    space: SearchSpace
    share: float


def scaled_space(scale: float, image_size: int) -> MobileNetTiny:
    """Settings of the space whose channels are `scale` times those of ROWS, multiples of 4."""
    halvings = sum(image_size >= 4 * 2**times for times in range(1, len(HALVED) + 1))
    halved = HALVED[:halvings]

    def channels(count: int) -> int:
        return max(DIVISOR, round(count * scale / DIVISOR) * DIVISOR)

    return MobileNetTiny(
        blocks=tuple(
            Row(channels(width), layers, 2 if number in halved else 1, 1 if number == 1 else None)
            for number, (width, layers) in enumerate(ROWS, 1)
        ),
        stem_channels=channels(STEM), stem_stride=2 if 0 in halved else 1, head_channels=channels(HEAD),
        scale_head=True, width_multipliers=(0.25, 0.5, 0.75, 1.0, 1.25), expand_ratios=(1, 2, 3, 4, 6),
        divisor=DIVISOR,
    )  # fmt: skip


def _fitted(
    settings: MobileNetTiny, input_shape: tuple[int, int, int], classes: int, budget: Budget, deployment: Deployment,
    drawn: int = DRAWN,
) -> FittedSpace:  # fmt: skip
    space = SPACES["mobilenet_tiny"].constructor(settings, input_shape, classes)
    rng = Random(0)
    costs = (count_costs(space.spec(space.sample(rng)), deployment) for _ in range(drawn))
    return FittedSpace(settings, space, sum(map(budget.allows, costs)) / drawn)


def fitted_space(
    input_shape: tuple[int, int, int], classes: int, budget: Budget, deployment: Deployment
) -> FittedSpace:
    """Space for images of `input_shape` (C, H, H) by the rule above.

    Its share is above 95 % where the budget allows more than the largest of SCALES. Raises EmptyBudget where less than
    a fifth of the smallest space is within the budget.
    """
    low, high, found = 0, len(SCALES) - 1, None  # all below `low` are too large
    while low < high:
        middle = (low + high) // 2
        fitted = _fitted(scaled_space(SCALES[middle], input_shape[1]), input_shape, classes, budget, deployment)
        if fitted.share >= WANTED:
            high, found = middle, fitted
        else:
            low = middle + 1
    if found is not None:
        return _fitted(found.settings, input_shape, classes, budget, deployment, SHOWN)
    found = _fitted(scaled_space(SCALES[-1], input_shape[1]), input_shape, classes, budget, deployment)
    if found.share >= LEAST:
        return found
    spec = found.space.spec(found.space.smallest())
    over = over_budget_text(spec, count_costs(spec, deployment), budget).partition("; try")[0]
    smallest = f"the smallest network of the smallest space has {over}" if over else (
        f"of the smallest space, {100 * found.share:.0f} % of random networks fit"
    )  # fmt: skip
    raise EmptyBudget(
        f"the budget is too small for images of {input_shape[1]} × {input_shape[2]} pixels: {smallest}; "
        f"use a smaller --image-size or a larger budget"
    )
