"""Multiplication by a real number in 32-bit integers, as the reference kernels of TFLite do it, bit for bit.

A multiplier m > 0 is a fraction of 31 bits and a power of two: m ≈ fraction · 2^(shift − 31), 2^30 ≤ fraction < 2^31
(tensorflow/lite/kernels/internal/quantization_util.cc, common.h). All kernels round twice, but FULLY_CONNECTED of
LiteRT, which rounds once: where it rounds twice, too (TFLite Micro), one logit of some thousands differs by one.
"""

from dataclasses import dataclass
from math import floor, frexp

import numpy as np
from numpy.typing import NDArray

from nas.export.integers import Floats, Grid, IntConv, IntDense, Ints

Int64 = NDArray[np.int64]
ADD_SHIFT = 20
"""Bits to the left that summands of int8 get before they are scaled to a common grid."""


@dataclass(frozen=True, eq=False)
class Multiplier:
    """Real numbers (of one shape) as fractions and shifts."""

    fraction: Int64
    shift: Int64


def multiplier_of(values: float | Floats) -> Multiplier:
    """`values` (≥ 0, float64) as multipliers; below 2^-32 it is 0."""
    found = [_parts(float(value)) for value in np.atleast_1d(np.asarray(values, np.float64))]
    return Multiplier(*(np.array(column, np.int64) for column in zip(*found, strict=True)))


def _parts(value: float) -> tuple[int, int]:
    share, shift = frexp(value)
    fraction = floor(share * 2**31 + 0.5)  # half away from zero, of a number ≥ 0
    if fraction == 2**31:
        fraction, shift = fraction // 2, shift + 1
    return (0, 0) if shift < -31 else (fraction, shift)


def multiplied(x: Ints, by: Multiplier) -> Int64:
    """Products x · by of int32 numbers `x`; the last axis has a multiplier for each, or one for all.

    The high half of twice the product, rounded to the nearest and half up, then divided by a power of two, rounded to
    the nearest and half away from zero.
    """
    left, right = np.maximum(by.shift, 0), np.maximum(-by.shift, 0)
    product = (x.astype(np.int64) << left) * by.fraction
    product += np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    high = (product + ((product >> 63) & ((1 << 31) - 1))) >> 31  # a division that cuts off
    mask = (np.int64(1) << right) - 1
    found: Int64 = (high >> right) + ((high & mask) > (mask >> 1) + (high < 0))
    return found


def multiplied_once(x: Ints, by: Multiplier) -> Int64:
    """As `multiplied`, rounded once: to the nearest, and half up."""
    shift = 31 - by.shift
    found: Int64 = (x.astype(np.int64) * by.fraction + (np.int64(1) << (shift - 1))) >> shift
    return found


def conv_multiplier(step: IntConv, source: Grid) -> Multiplier:
    """From the accumulator of each output channel to the grid of the output: s_x · s_w / s_y in float64."""
    return multiplier_of(source.scale * step.scales.astype(np.float64) / step.output.scale)


def dense_multiplier(step: IntDense, source: Grid) -> Multiplier:
    """From the accumulators to the grid of the logits."""
    return multiplier_of(source.scale * step.scale / step.output.scale)


def mean_multiplier(source: Grid, output: Grid, count: int, unit: int = 1) -> Multiplier:
    """From the sum over `count` pixels, times `unit`, to their average on the grid of the output.

    The division by `count` is part of the fraction, as in present kernels; older ones round once more. With a `unit`
    above 1, it is that of a depthwise convolution whose weights are all `unit` steps of `mean_scale`.
    """
    if unit > 1:
        return multiplier_of(source.scale * mean_scale(unit, count) / output.scale)
    whole = multiplier_of(source.scale / output.scale)
    shift = min(count.bit_length() - 1, 31 + int(whole.shift[0]))
    return Multiplier((whole.fraction << shift) // count, whole.shift - shift)


def mean_scale(unit: int, count: int) -> float:
    """1 / (unit · count), a float32 number."""
    return float(np.float32(1 / (unit * count)))


def sum_multipliers(left: Grid, right: Grid, output: Grid) -> tuple[Multiplier, Multiplier, Multiplier]:
    """Of the two summands, shifted by ADD_SHIFT, to half of the coarser grid; of their sum to the output."""
    twice = 2 * max(left.scale, right.scale)
    scales = (left.scale / twice, right.scale / twice, twice / (2**ADD_SHIFT * output.scale))
    first, second, third = map(multiplier_of, scales)
    return first, second, third
