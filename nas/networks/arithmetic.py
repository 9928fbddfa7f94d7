"""What both arithmetics offer, and which one a network gets.

Letters: N images, C channels (O out, I in), H × W pixels in, H' × W' out, k_h × k_w window, G batches of M pixels each.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from nas.networks import images, maps
from nas.networks.layer import Layer


class Arithmetic(Protocol):
    """Forwards and backwards through one layer. What flows between layers has a form of the arithmetic's own."""

    def enter(self, x: Tensor) -> Tensor:
        """The form of images (N, C, H, W)."""

    def leave(self, gradient: Tensor, x: Tensor) -> Tensor:
        """Gradient by images `x` (N, C, H, W), from its own form."""

    def matrix_of(self, layer: Layer, weight: Tensor) -> Tensor:
        """What the layer multiplies by or convolves with, from a weight (O, I/groups, k_h, k_w)."""

    def convolve(self, layer: Layer, h: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
        """Output of the layer's convolution for its input `h`, plus `bias` (O,)."""

    def convolve_back(self, layer: Layer, gradient: Tensor, h: Tensor, matrix: Tensor, turned: Tensor | None) -> Tensor:
        """Gradient by the input `h`, from the one by the output; `turned`: see `images.flipped`."""

    def weight_gradient(self, layer: Layer, gradient: Tensor, h: Tensor) -> Tensor:
        """Gradient (shape of the weight) by the weight, from the one by the output, for the input `h`."""

    def pool(self, h: Tensor) -> Tensor:
        """Means (N, C) over the pixels."""

    def unpool(self, gradient: Tensor, h: Tensor) -> Tensor:
        """Gradient by `h` from the one (N, C) by its means."""

    def by_channel(self, h: Tensor, groups: int) -> Tensor:
        """Channel-major `h` of G batches as (1, C·G, M): a view."""


def arithmetic_of(layers: Sequence[Layer]) -> Arithmetic:
    """`maps` where all windows are dense, `images` otherwise."""
    return maps if layers[0].channel_major_in else images  # only dense networks begin so


def clamp_back_(gradient: Tensor, output: Tensor, low: float, high: float) -> None:
    """In place: `gradient` where `low` < `output` < `high`, else 0."""
    torch.ops.aten.hardtanh_backward.grad_input(gradient, output, low, high, grad_input=gradient)
