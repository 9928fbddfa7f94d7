"""Wilson intervals against hand-computed values and against scipy's."""

import pytest
from scipy.stats import binomtest

from nas.evaluation.accuracy import wilson_interval


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [
        (8, 10, 0.490162, 0.943318),
        (0, 10, 0.0, 0.277533),  # z^2 / (n + z^2) = 3.841459 / 13.841459
        (10, 10, 0.722467, 1.0),
        (450, 1000, 0.419415, 0.480967),  # plus and minus 3.1 points
        (4500, 10000, 0.440270, 0.459768),  # plus and minus 1.0 points
        (1, 1, 0.206549, 1.0),
    ],
)
def test_known_intervals(successes: int, count: int, low: float, high: float) -> None:
    interval = wilson_interval(successes, count)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=2e-6)


@pytest.mark.parametrize("count", [1, 7, 100])
def test_intervals_hold_their_proportion_and_stay_in_zero_to_one(count: int) -> None:
    for successes in range(count + 1):
        interval = wilson_interval(successes, count)
        assert 0 <= interval.low <= successes / count + 1e-12
        assert successes / count - 1e-12 <= interval.high <= 1
        mirrored = wilson_interval(count - successes, count)
        assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("count", [1, 2, 3, 10, 97, 360, 1000, 10_000])
def test_intervals_are_scipys(count: int) -> None:
    for successes in sorted({0, 1, count // 3, count // 2, count - 1, count}):
        expected = binomtest(successes, count).proportion_ci(confidence_level=0.95, method="wilson")
        found = wilson_interval(successes, count)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-12, abs=1e-15)
