"""How much better a front's members look by the training that they were selected by: known answers."""

import numpy as np
import pytest

from nas.pareto import MEASURES, selection_effects, selection_words
from nas.pareto.luck import MIN_NETWORKS

OBJECTIVES = tuple(MEASURES[name] for name in ("robust_accuracy", "instability", "params"))


def trained(own: float, *fresh: float) -> np.ndarray:
    """Trainings of one network: robust accuracy as given, an instability that is worse in the search's own."""
    return np.array([[own, 0.3, 1000.0], *([one, 0.2, 1000.0] for one in fresh)])


def test_the_effect_is_the_mean_over_networks_of_own_minus_fresh_trainings() -> None:
    robust, instability = selection_effects([trained(0.8, 0.7, 0.74), trained(0.6, 0.6), trained(0.9)], OBJECTIVES)
    assert (robust.objective.name, robust.networks, robust.mean) == ("robust_accuracy", 2, pytest.approx(0.04))
    assert instability.mean == pytest.approx(-0.1), "negative: the search's own looks worse"
    assert robust.interval is None, "two networks are too few"


def test_the_interval_resamples_networks_and_not_trainings() -> None:
    gains = np.linspace(0.0, 0.07, MIN_NETWORKS)
    once = selection_effects([trained(0.5 + gain, 0.5) for gain in gains], OBJECTIVES)[0]
    often = selection_effects([trained(0.5 + gain, *[0.5] * 20) for gain in gains], OBJECTIVES)[0]
    assert once.interval is not None
    assert once.mean == pytest.approx(0.035)
    assert often.interval == once.interval
    # The standard error of a mean of eight networks is 0.0081.
    assert once.interval.low == pytest.approx(0.035 - 0.016, abs=0.003)
    assert once.interval.high == pytest.approx(0.035 + 0.016, abs=0.003)


def test_a_front_of_lone_trainings_has_no_effect_but_is_said_to_be_selected() -> None:
    assert selection_effects([trained(0.8), trained(0.9)], OBJECTIVES) == ()
    assert "tends to score worse than shown (evaluation.seeds" in selection_words(())


def test_the_effect_is_one_line_with_its_networks_and_its_interval() -> None:
    many = selection_effects([trained(0.54, 0.5)] * MIN_NETWORKS, OBJECTIVES)
    assert "same 8 networks by robust accuracy 0.04 (0.04 to 0.04), instability -0.1" in selection_words(many)
    few = selection_effects([trained(0.54, 0.5)], OBJECTIVES)
    assert "robust accuracy 0.04, instability -0.1 (mean; an interval needs 8 networks)" in selection_words(few)
