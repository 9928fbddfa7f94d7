"""The bootstrap against cases whose answer is known."""

import time

import numpy as np
import pytest

from nas.base.records import Interval
from nas.evaluation.accuracy import wilson_interval
from nas.pareto import MEASURES, Member, Trainings, members_of
from nas.pareto.front import Array
from nas.pareto.uncertainty import degrees_of_freedom, resample
from tests.builders import trial

ROBUST, NATURAL = MEASURES["robust_accuracy"], MEASURES["natural_accuracy"]
INSTABILITY, PARAMS, CERTIFIED = MEASURES["instability"], MEASURES["params"], MEASURES["lipschitz_certified_log10"]


def right(share: float, count: int = 400, seed: int = 0) -> Array:
    """Images of which exactly a `share` is classified correctly, in random order."""
    hits = (np.arange(count) < round(share * count)).astype(np.float64)
    return np.random.default_rng(seed).permutation(hits)


def trainings(*images: Array, params: float = 1000.0) -> Trainings:
    """Trainings with these robust images, and an exact cost."""
    stacked = np.stack(images)
    return Trainings(np.stack([stacked.mean(1), np.full(len(images), params)], 1), (stacked, None))


def test_identical_trials_tie_and_dominate_each_other_never() -> None:
    same = trainings(right(0.5))
    found = resample([same, same, same], (ROBUST, PARAMS))
    assert (found.domination == 0).all()
    assert found.ranks(0).tolist() == [[1, 3]] * 3
    assert found.ranks(1).tolist() == [[1, 3]] * 3


def test_what_is_far_better_dominates_surely_and_costs_are_exact() -> None:
    good, bad, big = trainings(right(0.9)), trainings(right(0.2, seed=1)), trainings(right(0.2, seed=2), params=1001)
    found = resample([good, bad, big], (ROBUST, PARAMS))
    assert found.domination[0, 1] == found.domination[0, 2] == 1
    assert found.domination[1, 0] == found.domination[2, 1] == 0, "one parameter more is never forgiven"
    assert 0.3 < found.domination[1, 2] < 0.7
    assert found.ranks(0).tolist() == [[1, 1], [2, 3], [2, 3]]
    assert found.ranks(1).tolist() == [[1, 2], [1, 2], [3, 3]]
    assert (found.intervals[:, :, 1] == [1000, 1000, 1001]).all()


@pytest.mark.parametrize(("share", "count"), [(0.5, 400), (0.9, 400), (0.2, 2000)])
def test_one_training_has_the_interval_of_a_proportion(share: float, count: int) -> None:
    low, high = resample([trainings(right(share, count))], (ROBUST, PARAMS)).intervals[:, 0, 0]
    wilson = wilson_interval(round(share * count), count)
    assert high - low == pytest.approx(wilson.high - wilson.low, rel=0.15)
    assert (low + high) / 2 == pytest.approx(share, abs=0.01)


def test_trials_on_the_same_images_are_told_apart_where_their_intervals_overlap() -> None:
    a = right(0.5)
    b = a.copy()
    b[np.flatnonzero(a == 1)[:12]] = 0  # three points worse, and never right where a is wrong
    paired = resample([trainings(a), trainings(b)], (ROBUST, PARAMS))
    assert paired.intervals[0, 0, 0] < paired.intervals[1, 1, 0], "the intervals overlap"
    assert paired.ranks(0).tolist() == [[1, 1], [2, 2]]
    assert paired.domination[0, 1] > 0.99
    shuffled = np.random.default_rng(5).permutation(b)
    unpaired = resample([trainings(a), trainings(shuffled)], (ROBUST, PARAMS))
    assert unpaired.ranks(0).tolist() == [[1, 2], [1, 2]], "the same accuracy, on images of its own"


def test_the_spread_between_trainings_widens_the_interval_as_students_t_does() -> None:
    values = np.array([[0.48], [0.52], [0.50], [0.47], [0.53]])
    trials = [Trainings(values + shift, (None,)) for shift in (-0.1, 0.0, 0.1, 0.2)]  # no images: trainings only
    assert degrees_of_freedom(trials) == 16
    low, high = resample(trials, (ROBUST,), 20_000).intervals[:, 1, 0]
    half = 2.12 * values.std(ddof=1) / np.sqrt(5)  # t with 16 degrees of freedom
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)
    assert (low + high) / 2 == pytest.approx(0.5, abs=0.002)


def test_two_trainings_of_one_network_say_little() -> None:
    pair = Trainings(np.array([[0.48], [0.52]]), (None,))
    low, high = resample([pair], (ROBUST,), 20_000).intervals[:, 0, 0]
    assert high - low > 0.2, "t with one degree of freedom"
    many = resample([pair] * 20, (ROBUST,), 20_000).intervals[:, 0, 0]
    assert many[1] - many[0] < 0.1, "the others show the same spread"


def test_the_spread_is_taken_over_by_a_trial_with_one_training() -> None:
    lone = Trainings(np.array([[0.5]]), (None,))
    pairs = [Trainings(two, (None,)) for two in np.random.default_rng(0).normal(0.5, 0.02, (40, 2, 1))]
    width = np.ptp(resample([lone, *pairs], (ROBUST,), 20_000).intervals[:, :, 0], axis=0)
    assert width[0] == pytest.approx(np.sqrt(2) * width[1], rel=0.1)
    assert np.ptp(resample([lone, lone], (ROBUST,)).intervals) == 0


def test_metrics_without_a_scale_pool_their_relative_spread() -> None:
    small, large = (Trainings(scale * np.array([[0.9], [1.1]]), (None,)) for scale in (1.0, 100.0))
    width = np.ptp(resample([small, large], (INSTABILITY,), 20_000).intervals[:, :, 0], axis=0)
    assert width[1] == pytest.approx(100 * width[0], rel=0.1)


def test_a_bound_that_cannot_be_proved_is_worst_and_has_no_interval() -> None:
    unproved, proved = Trainings(np.array([[np.inf], [np.inf]]), (None,)), Trainings(np.array([[3.0], [3.2]]), (None,))
    found = resample([unproved, proved, unproved], (CERTIFIED,))
    assert found.ranks(0).tolist() == [[2, 3], [1, 1], [2, 3]]
    records = [trial(0), trial(1), trial(2)]
    members = members_of(records, [unproved, proved, unproved], (CERTIFIED,))
    assert [list(member.intervals) for member in members] == [[], ["lipschitz_certified_log10"], []]
    assert members[0].deviation("lipschitz_certified_log10") is None


def test_images_without_a_finite_value_do_not_count() -> None:
    images = np.array([[1.0, 3.0, np.inf, np.nan]])
    draws = resample([Trainings(np.array([[2.0]]), (images,))], (INSTABILITY,)).draws
    assert np.isfinite(draws).all()
    assert draws[draws > 0].mean() == pytest.approx(2, abs=0.1)


def test_different_numbers_of_images_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="400 and 500 images"):
        resample([trainings(right(0.5)), trainings(right(0.5, 500))], (ROBUST, PARAMS))


def test_a_member_states_values_mean_deviation_and_the_mean_of_fresh_seeds() -> None:
    first, second = trial(7, robust=0.6), trial(9, robust=0.5)
    runs = [trainings(right(0.6), right(0.5, seed=1), right(0.52, seed=2)), trainings(right(0.5, seed=3))]
    one, other = members_of([first, second], runs, (ROBUST, PARAMS))
    assert one.values == {"robust_accuracy": (0.6, 0.5, 0.52), "params": (1000.0,) * 3}
    assert (one.seeds, other.seeds) == (3, 1)
    assert one.mean("robust_accuracy") == pytest.approx(0.54)
    assert one.deviation("robust_accuracy") == pytest.approx(np.std([0.6, 0.5, 0.52], ddof=1))
    assert one.fresh_mean("robust_accuracy") == pytest.approx(0.51)
    assert (other.deviation("robust_accuracy"), other.fresh_mean("robust_accuracy")) == (None, None)
    assert other.dominated_by is not None
    assert set(other.dominated_by) == {7}
    assert one.rank == (1, 2)


def test_an_accuracy_of_0_keeps_wilsons_interval() -> None:
    (found,) = members_of([trial(0, robust=0.0)], [trainings(right(0.0))], (ROBUST, PARAMS))
    assert found.intervals["robust_accuracy"] == Interval(-0.05, 0.05), "the record's own"
    assert found.intervals["params"] == Interval(1000, 1000)


def test_no_members_have_no_uncertainty() -> None:
    empty: tuple[Member, ...] = ()
    assert members_of([], [], (ROBUST,)) == empty


def test_the_same_trials_give_the_same_numbers() -> None:
    runs = [trainings(right(0.5), right(0.4, seed=1)), trainings(right(0.45, seed=2), right(0.45, seed=4))]
    a, b = (members_of([trial(0), trial(1)], runs, (ROBUST, PARAMS)) for _ in range(2))
    assert a == b


def test_a_front_of_forty_takes_a_moment() -> None:
    images = [np.stack([right(0.5, 2000, 3 * p + s) for s in range(3)]) for p in range(40)]
    trials = [
        Trainings(np.stack([x.mean(1)] * 3 + [np.full(3, 1000.0)], 1), (x, x, x, None)) for x in images
    ]  # fmt: skip
    began = time.process_time()
    members_of([trial(p) for p in range(40)], trials, (ROBUST, NATURAL, INSTABILITY, PARAMS))
    assert time.process_time() - began < 8, "0.8 s on a free core"
