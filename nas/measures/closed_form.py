"""The closed-form Lipschitz bound of Mousavi 2023, of the architecture alone."""

from math import log10, sqrt

from search_spaces import NetworkSpec


def lipschitz_bound_log10(spec: NetworkSpec) -> float:
    """log10 of Π (√(W·h) + √(E·m)) over the inverted bottlenecks: Mousavi 2023, eq. 5, per block.

    W·h is the block's output width and E·m its number of middle channels, both as built (rounded). Eq. 5
    raises one factor to the number of blocks n; with a width and ratio per block it becomes a product, with
    one factor for each inverted bottleneck. A row of n layers gives n factors, although width and ratio are
    chosen per row: the layers are composed, their middle widths differ, and the paper concludes from eq. 5
    that depth adds factors. It speaks of dense layers at unit-variance initialisation: a prior over
    architectures, not a certificate of a trained network.
    Blocks of other kinds, which the paper does not have, enter by the same rule with the channels between their two
    convolutions, their shortcut left out as in eq. 5; stem and head never do.
    """
    blocks = [block for block in spec.blocks if block.kind != "conv"]
    return sum(log10(sqrt(block.out_channels) + sqrt(block.hidden_channels)) for block in blocks)
