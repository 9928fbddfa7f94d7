"""Accuracies of a quantized network's float twin: the same weights and statistics without rounding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.measures.measure import Attacked

if TYPE_CHECKING:
    from torch import Tensor

    from nas.networks.view import View

NAMES = ("float_natural_accuracy", "float_robust_accuracy")
"""Measured of every network that the treatment `quantize` rounds."""


def natural(attacked: Attacked) -> Tensor:
    """Whether the twin classifies each clean image correctly, (N,) of 0 and 1."""
    correct = _twin(attacked).logits(attacked.images).argmax(1) == attacked.labels
    return correct.double()


def robust(attacked: Attacked) -> Tensor:
    """Whether the twin classifies each image correctly, clean and under the attack behind instability, (N,).

    That attack alone, made on the twin: the number to hold beside it is the quantized network's under the same attack,
    a rung of its ladder, as robust accuracy is the worst case over all of them.
    """
    twin, x, y = _twin(attacked), attacked.images, attacked.labels
    fooled = attacked.attack.run(twin, x, y, attacked.threat, attacked.generator).fooled
    return ((twin.logits(x).argmax(1) == y) & ~fooled).double()


def _twin(attacked: Attacked) -> View:
    from nas.networks.treatments.quantize import float_twin
    from nas.networks.view import view_of

    twin = float_twin(attacked.network)
    if twin is None:
        raise ValueError("the network is not quantized and has no float twin")
    return view_of(twin.eval())
