"""The open box and the linear trend, by numbers that can be worked out by hand."""

import numpy as np
import pytest

from nas.search.samplers.open_box import POINTS, OpenBox
from nas.search.samplers.surrogate import columns_of, fit_surrogate, fit_trend, with_costs


def unit_box(*front: tuple[float, float]) -> OpenBox:
    return OpenBox.of(np.array(front), np.ones(2), np.zeros(2), np.ones(2), np.random.default_rng(0))


def test_a_quarter_of_the_unit_box_is_dominated_by_its_middle() -> None:
    box = unit_box((0.5, 0.5))
    assert len(box.open_SM) / POINTS == pytest.approx(0.75, abs=0.03)
    shares = box.share(np.array([[0.25, 0.25], [0.0, 0.0], [0.5, 0.5], [0.5, 0.0]]))
    added = (0.75**2 - 0.25) / 0.75, 1.0, 0.0, 0.25 / 0.75
    assert shares == pytest.approx(added, abs=0.03)
    assert shares[1:3].tolist() == [1.0, 0.0], "everything, and what is on the front nothing"


def test_the_distance_is_what_is_lacking_in_the_best_objective() -> None:
    box = unit_box((0.2, 0.6), (0.6, 0.2))
    losses = np.array([[0.4, 0.4], [0.7, 0.7], [0.1, 0.5], [0.6, 0.2]])
    assert box.distance(losses) == pytest.approx([-0.2, 0.1, -0.1, 0.0])
    scaled = OpenBox(box.front_PM, np.array([0.5, 1.0]), box.open_SM)
    assert scaled.distance(np.array([[0.7, 0.7]])) == pytest.approx([0.2])


def test_a_trend_is_exact_where_targets_are_linear_and_says_what_it_does_not_know() -> None:
    rng = np.random.default_rng(0)
    features = np.column_stack([rng.random((40, 3)), np.full(40, 7.0)])  # the last one never varies
    targets = np.column_stack([1 + features @ [2, -1, 0, 0], features @ [0, 0, 3, 0] - 1])
    trend = fit_trend(features, targets)
    assert trend.mean(features) == pytest.approx(targets, abs=1e-3)
    noisy = fit_trend(features[:10], targets[:10] + rng.normal(0, 0.3, (10, 2)))
    drawn = noisy.draws(features, noisy.coefficients(300, rng))
    assert drawn.shape == (300, 40, 2)
    assert drawn.mean(0) == pytest.approx(noisy.mean(features), abs=0.1)
    assert drawn.std(0).min() > 0.02


def test_trees_learn_what_a_trend_cannot() -> None:
    rng = np.random.default_rng(1)
    features = rng.random((300, 2))
    targets = (np.abs(features[:, :1] - 0.5) > 0.25).astype(float)  # no slope
    found = fit_surrogate(features, targets, 32, 0)
    assert np.abs(found.draws(features).mean(0) - targets).mean() < 0.15
    assert np.abs(found.trend.mean(features) - targets).mean() > 0.4


def test_options_without_an_order_have_a_column_each() -> None:
    genes = [(0, 2), (3, 1)]
    assert columns_of(genes, (0, 0)).tolist() == [[0, 2], [3, 1]]
    assert columns_of(genes, (0, 3)).tolist() == [[0, 0, 0, 1], [3, 0, 1, 0]]
    found = with_costs(columns_of(genes, (0, 0)), [{"params": 0.0}, {"params": np.e - 1}])
    assert found == pytest.approx(np.array([[0, 2, 0], [3, 1, 1]]))
