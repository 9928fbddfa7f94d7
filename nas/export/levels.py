"""Levels and grids that a network was trained with, as the integers of its files."""

from dataclasses import dataclass

import numpy as np

from nas.base.errors import UsageError
from nas.export.integers import HIGH, LOW, Coding, Floats, Grid, Ints
from nas.networks.grids import WeightGrid
from nas.networks.plain import PlainGrid, PlainLevels
from nas.networks.treatments.settings import weight_bits

LARGEST_UNIT = 2**15 - 1


@dataclass(frozen=True, eq=False)
class Coded:
    """Weights of one layer as integers."""

    weight: Ints
    """(O, …), unit · level: int8, or int32 where the unit is larger than int8 has room for."""
    scales: Floats
    """float32 (O,)."""
    coding: Coding


def grid_of(own: PlainGrid) -> Grid:
    """The int8 grid with the levels of `own`, from -128 on.

    A symmetric one of 8 bits has 255 levels and gets one more at its upper end, instead of an operator that clips it.
    """
    high = LOW + own.high - own.low
    return Grid(float(np.float32(own.step)), LOW - own.low, LOW, HIGH if high >= HIGH - 1 else high)


def coding_of(grid: WeightGrid, unit: int = 0) -> Coding:
    """How weights on `grid` are stored, with `unit` or, where that is larger, the largest that int8 has room for."""
    coding = Coding(weight_bits(grid), odd=grid in ("binary", 1, 2))
    return Coding(coding.bits, coding.odd, max(unit, HIGH // coding.largest))


def fine_unit(levels: PlainLevels, output: Grid) -> int:
    """A unit with which sums of products take 28 of 32 bits; 0 where int8 weights and outputs are fine enough."""
    coding, taps = coding_of(levels.grid), levels.values[0].numel()
    if coding.bits == 8 and output.high == HIGH:
        return 0
    return min(2**28 // (255 * taps * coding.largest), LARGEST_UNIT)


def coded(weight: Floats, levels: PlainLevels, least: Floats, unit: int = 0) -> Coded:
    """Integers of weights (O, …) that are scale · level in each channel, with scales (O,) of at least `least`.

    `unit` is that of `coding_of`, less where a bias would not fit beside weights that it leaves fine enough for int8.
    A scale is enlarged where a bias would not fit otherwise, beside which such weights are nothing, or where all are
    0; if the levels have no 0 then, they get one bit more. Raises UsageError where `weight` is not on its levels.
    """
    axes = tuple(range(1, weight.ndim))
    values = levels.values.numpy()
    each = (-1, *(1 for _ in axes))
    own = np.abs(weight).max(axes) / np.maximum(np.abs(values).max(axes), 1)
    if not np.allclose(weight, values * own.reshape(each), rtol=1e-4, atol=1e-5 * float(np.abs(weight).max())):
        raise UsageError(
            "the weights of a quantized layer are not on its grid: the network was changed after its training (of a "
            "first layer, the deviations that images are divided by belong to its grid)"
        )
    coding = _coding_with_room(levels.grid, unit, own, least)
    scales = np.maximum(own / coding.unit, least)
    scales[scales == 0] = 1  # neither weights nor a bias
    enlarged = scales > own / coding.unit
    if enlarged.any():
        coding = Coding(coding.bits + 1, unit=coding.unit) if coding.odd else coding
        values = np.where(enlarged.reshape(each), np.rint(weight / (scales * coding.unit).reshape(each)), values)
    kind = np.int8 if coding.unit * coding.largest <= HIGH else np.int32
    return Coded((values * coding.unit).astype(kind), scales.astype(np.float32), coding)


def _coding_with_room(grid: WeightGrid, unit: int, own: Floats, least: Floats) -> Coding:
    """`coding_of` with the largest unit up to `unit` that enlarges no scale but those that every unit enlarges."""
    whole = coding_of(grid)
    room = own[least > 0] / least[least > 0]
    return coding_of(grid, int(min([unit, *room[room >= whole.unit]])))
