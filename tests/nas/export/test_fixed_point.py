"""Fixed-point multiplication: near the real product, and exactly what TFLite's kernels round to."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from nas.export.fixed_point import Multiplier, mean_multiplier, multiplied, multiplied_once, multiplier_of
from nas.export.integers import Grid

RNG = np.random.default_rng(0)
NUMBERS = np.concatenate([RNG.integers(-(2**30), 2**30, 500), np.arange(-40, 41), RNG.integers(-5000, 5000, 500)])


def value_of(by: Multiplier) -> float:
    return float(by.fraction[0]) * 2.0 ** (int(by.shift[0]) - 31)


@pytest.mark.parametrize("value", [1.0, 0.5, 0.75, 1e-3, 0.1 / 3, 2**-20, 1.7, 3.9, 1 - 1e-12])
def test_a_multiplier_is_the_number_to_30_bits(value: float) -> None:
    found = multiplier_of(value)
    assert value_of(found) == pytest.approx(value, rel=2**-30)
    assert 2**30 <= found.fraction[0] < 2**31


def test_known_multipliers() -> None:
    found = multiplier_of(np.array([1.0, 0.5, 0.75, 2.0**-32, 2.0**-33]))
    assert found.fraction.tolist() == [2**30, 2**30, 3 * 2**29, 2**30, 0]
    assert found.shift.tolist() == [1, 0, 0, -31, 0]


@pytest.mark.parametrize("value", [0.9, 0.31, 0.0123, 1.6e-5])
def test_a_product_is_the_nearest_integer_or_its_neighbour_at_a_near_tie(value: float) -> None:
    by = multiplier_of(value)
    exact = [Fraction(int(x)) * int(by.fraction[0]) / 2 ** int(31 - by.shift[0]) for x in NUMBERS]
    twice, once = multiplied(NUMBERS, by), multiplied_once(NUMBERS, by)
    for x, found, single in zip(exact, twice.tolist(), once.tolist(), strict=True):
        assert single == floor(x + Fraction(1, 2))
        assert abs(found - x) <= Fraction(1, 2) + Fraction(1, 2 ** int(1 - by.shift[0]))


def test_two_roundings_are_those_of_the_reference_kernels() -> None:
    """SaturatingRoundingDoublingHighMul then RoundingDivideByPOT, in Python's integers."""

    def reference(x: int, fraction: int, shift: int) -> int:
        product = x * 2 ** max(shift, 0) * fraction
        sum_ = product + (2**30 if product >= 0 else 1 - 2**30)
        high = abs(sum_) // 2**31 * (1 if sum_ >= 0 else -1)  # C's division cuts off
        bits = max(-shift, 0)
        mask = 2**bits - 1
        return (high >> bits) + ((high & mask) > (mask >> 1) + (high < 0))

    for value in (0.5, 0.25, 0.1, 0.007, 1.9):
        by, numbers = multiplier_of(value), NUMBERS // 4
        wanted = [reference(x, int(by.fraction[0]), int(by.shift[0])) for x in numbers.tolist()]
        assert multiplied(numbers, by).tolist() == wanted


def test_ties() -> None:
    half = multiplier_of(0.5)
    assert multiplied(np.array([3, -3, 1, -1]), half).tolist() == [2, -1, 1, 0]  # half up: the high half of the product
    quarter = multiplier_of(0.25)
    assert multiplied(np.array([6, -6]), quarter).tolist() == [2, -2]  # half away from zero: the power of two
    assert multiplied_once(np.array([6, -6]), quarter).tolist() == [2, -1]


@pytest.mark.parametrize("count", [1, 4, 9, 12, 64])
def test_the_average_is_within_a_unit_of_the_true_one(count: int) -> None:
    source, output = Grid(0.0235, -128), Grid(0.0115, -128)
    sums = RNG.integers(0, 255 * count, 200)
    wanted = sums * source.scale / output.scale / count
    assert np.abs(multiplied(sums, mean_multiplier(source, output, count)) - wanted).max() <= 1
