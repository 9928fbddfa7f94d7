"""Kendall's τ-b: known rankings, against scipy, and intervals that contain the truth as often as they say."""

from math import pi, sin

import numpy as np
import pytest
from scipy.stats import kendalltau

from nas.pareto.luck import MIN_NETWORKS
from nas.studies.kendall import tau_of, taus


def names(count: int) -> list[str]:
    return [f"network {index}" for index in range(count)]


@pytest.mark.parametrize(
    ("order", "expected"),
    [([1, 2, 3, 4], 1), ([4, 3, 2, 1], -1), ([2, 1, 3, 4], 4 / 6), ([2, 1, 4, 3], 2 / 6), ([1, 1, 2, 2], 4 / 24**0.5)],
)
def test_tau_of_known_rankings(order: list[float], expected: float) -> None:
    found = tau_of([1, 2, 3, 4], order, names(4))
    assert found.value == pytest.approx(expected)
    assert (found.pairs, found.networks, found.interval) == (4, 4, None)


def test_each_resample_has_the_tau_of_scipy() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, (2, 30)).astype(float)
    chosen = rng.integers(0, 30, (50, 30))
    found = taus(x, y, np.stack([np.bincount(one, minlength=30) for one in chosen]))
    assert found == pytest.approx([kendalltau(x[one], y[one]).statistic for one in chosen])
    # Copies change nothing, also where their number needs double precision.
    assert taus(x, y, np.full((1, 30), 1001)) == pytest.approx(taus(x, y, np.ones((1, 30))), rel=1e-12)


def test_nine_intervals_in_ten_and_more_contain_the_truth() -> None:
    rng, truth, hits = np.random.default_rng(1), 0.5, 0
    rho = sin(pi / 2 * truth)  # of a Gaussian copula
    for _ in range(100):
        x, noise = rng.normal(size=(2, 50))
        interval = tau_of(list(x), list(rho * x + (1 - rho**2) ** 0.5 * noise), names(50)).interval
        assert interval is not None
        hits += interval.low <= truth <= interval.high
    assert hits >= 90


def test_trainings_of_one_network_are_no_independent_pairs() -> None:
    rng = np.random.default_rng(2)
    x, y = list(rng.normal(size=8)), list(rng.normal(size=8))
    once, often = tau_of(x, y, names(8)), tau_of(9 * x, 9 * y, 9 * names(8))
    assert often.value == pytest.approx(once.value)
    assert often.interval == once.interval, "nine copies of eight networks tell what eight networks tell"
    assert (often.pairs, often.networks) == (72, 8)


def test_the_same_pairs_have_the_same_interval() -> None:
    x, y = np.random.default_rng(3).normal(size=(2, 20))
    assert tau_of(x, y, names(20)) == tau_of(x, y, names(20))


@pytest.mark.parametrize("count", range(MIN_NETWORKS + 1))
def test_below_five_networks_there_is_no_interval(count: int) -> None:
    found = tau_of(range(count), range(count), names(count))
    assert (found.interval is None) == (count < MIN_NETWORKS)
    assert (found.value is None) == (count < 2)


def test_where_a_side_does_not_vary_there_is_no_tau() -> None:
    found = tau_of([1.0] * 9, range(9), names(9))
    assert (found.value, found.interval, found.pairs) == (None, None, 9)
