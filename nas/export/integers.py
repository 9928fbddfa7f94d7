"""The integer network: int8 tensors and weights, int32 biases, and the numbers that connect them.

An integer q of a tensor stands for the real number scale · (q − zero) of the tensor's `Grid`; weights have one scale
for each output channel and zero 0, biases the scale of input times weight (TFLite's int8 specification). Tensor 0 is
the image, 255 levels from the darkest to the brightest; step i makes tensor i + 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from search_spaces.spec import Pair

Ints: TypeAlias = NDArray[np.integer[Any]]
Floats: TypeAlias = NDArray[np.floating[Any]]
Shape: TypeAlias = tuple[int, int, int]
"""(channels, height, width)."""
LOW, HIGH = -128, 127
"""Of int8."""


@dataclass(frozen=True)
class Grid:
    """Real numbers scale · (q − zero) that the integers q of a tensor stand for."""

    scale: float
    """A float32 number."""
    zero: int
    """Integer that stands for 0."""
    low: int = LOW
    """Smallest integer of the tensor."""
    high: int = HIGH
    """Largest integer of the tensor: of b bits, low + 2^b − 1, or low + 2^b − 2 where the grid is symmetric."""


@dataclass(frozen=True)
class Coding:
    """What weights are stored as: codes of `bits` bits for levels, the integer weights being unit · level.

    A level is its code in two's complement or, where `odd`, 2 · code − (2^bits − 1): one of the odd integers, as
    binary (±1) and four-level weights (±1, ±3) have no 0. A `unit` above 1 makes sums of products large, so that
    multipliers of 32-bit kernels, which round twice, seldom round otherwise than once (docs/export.md).
    """

    bits: int = 8
    odd: bool = False
    unit: int = 1

    @property
    def largest(self) -> int:
        """Largest level that is used."""
        return (1 << self.bits) - 1 if self.odd else max((1 << self.bits >> 1) - 1, 1)


INT8 = Coding()
PIXEL_GRID = Grid(float(np.float32(1 / 255)), LOW)
"""Of an image with pixels in [0, 1]: q is the stored value 0 … 255, less 128."""


@dataclass(frozen=True, eq=False)
class IntConv:
    """A convolution; its output is clipped to its grid, which is ReLU6 where the grid says so."""

    source: int
    weight: Ints
    """(O, I / groups, k_h, k_w) int8 in [-127, 127]; int32 where the unit of its coding is larger."""
    scales: Floats
    """float32 (O,), of the weights."""
    bias: Ints
    """int32 (O,)."""
    stride: Pair
    padding: Pair
    groups: int
    border: Ints
    """int8 (I,): what each channel is padded with; the integer that stands for 0 in the float network."""
    output: Grid
    relu6: bool
    coding: Coding = INT8


@dataclass(frozen=True)
class IntSum:
    """The sum of two tensors, clipped to its grid."""

    left: int
    right: int
    output: Grid
    relu6: bool


@dataclass(frozen=True)
class IntMean:
    """Averages of a tensor over its pixels: one pixel for each channel."""

    source: int
    output: Grid
    unit: int = 1
    """What sums are multiplied by before they are scaled, as `Coding.unit`."""


@dataclass(frozen=True, eq=False)
class IntDense:
    """The linear layer that makes the logits. One scale for all weights, as older TFLite Micro knows no more."""

    source: int
    weight: Ints
    """int8 (K, C)."""
    scale: float
    bias: Ints
    """int32 (K,)."""
    output: Grid


IntStep: TypeAlias = IntConv | IntSum | IntMean | IntDense


@dataclass(frozen=True, eq=False)
class IntNetwork:
    """An integer network for images of `input_shape` with pixels in [0, 1]; the last tensor has the logits."""

    input_shape: Shape
    steps: tuple[IntStep, ...]

    @property
    def grids(self) -> tuple[Grid, ...]:
        """Grid of every tensor."""
        return (PIXEL_GRID, *(step.output for step in self.steps))

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Shape of every tensor; the logits are (K, 1, 1)."""
        found = [self.input_shape]
        for step in self.steps:
            found.append(_shape(step, found))
        return tuple(found)

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights, packed, and biases, and 4 for each of the weights' scales."""
        return self.weight_bytes_with(lambda step: step.coding.bits)

    def weight_bytes_with(self, bits: Callable[[IntConv], int]) -> int:
        """`weight_bytes` where the weights of a convolution have `bits` of it each, and those of others 8."""
        found = 0
        for step in self.steps:
            if isinstance(step, IntConv | IntDense):
                scales, each = (len(step.scales), bits(step)) if isinstance(step, IntConv) else (1, 8)
                found += ceil(step.weight.size * each / 8) + 4 * (step.bias.size + scales)
        return found

    @property
    def is_packed(self) -> bool:
        """Whether anything has less than 8 bits: weights, or a tensor."""
        convs = (step for step in self.steps if isinstance(step, IntConv))
        return any(conv.coding != INT8 for conv in convs) or any(
            (grid.low, grid.high) != (LOW, HIGH) for grid in self.grids
        )


def sources(step: IntStep) -> tuple[int, ...]:
    """Numbers of the tensors that `step` takes."""
    return (step.left, step.right) if isinstance(step, IntSum) else (step.source,)


def _shape(step: IntStep, shapes: Sequence[Shape]) -> Shape:
    channels, *size = shapes[sources(step)[0]]
    if isinstance(step, IntSum):
        return shapes[step.left]
    if isinstance(step, IntMean):
        return channels, 1, 1
    if isinstance(step, IntDense):
        return len(step.weight), 1, 1
    axes = zip(size, step.padding, step.weight.shape[2:], step.stride, strict=True)
    height, width = ((length + 2 * pad - kernel) // stride + 1 for length, pad, kernel, stride in axes)
    return len(step.weight), height, width


def to_levels(x: Floats) -> Ints:
    """Integers of tensor 0 for pixels `x` in [0, 1], of any shape; beyond, the nearest."""
    found: Ints = np.clip(np.rint(np.asarray(x, np.float64) * 255) + LOW, LOW, HIGH).astype(np.int8)
    return found


def to_reals(q: Ints, grid: Grid) -> Floats:
    """float32 numbers that the integers `q` of a tensor stand for."""
    found: Floats = (np.float32(grid.scale) * (q.astype(np.int32) - grid.zero)).astype(np.float32)
    return found
