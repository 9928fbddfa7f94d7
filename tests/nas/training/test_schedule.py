"""Learning rates at known points."""

import pytest

from nas.training.schedule import SCHEDULES, Schedule, learning_rate


@pytest.mark.parametrize(
    ("schedule", "epoch", "expected"),
    [
        ("cosine", 0, 0.1),
        ("cosine", 25, 0.0853553),  # 0.05 * (1 + cos 45 degrees)
        ("cosine", 50, 0.05),
        ("cosine", 100, 0.0),
        ("one_cycle", 0, 0.004),  # 1/25
        ("one_cycle", 15, 0.052),  # half-way up: the mean of 0.004 and 0.1
        ("one_cycle", 30, 0.1),
        ("one_cycle", 65, 0.05),
        ("one_cycle", 100, 0.0),
        ("piecewise", 0, 0.1),
        ("piecewise", 49.9, 0.1),
        ("piecewise", 50, 0.01),
        ("piecewise", 74.9, 0.01),
        ("piecewise", 75, 0.001),
        ("piecewise", 100, 0.001),
        ("late_drops", 90, 0.1),
        ("late_drops", 91, 0.01),
        ("late_drops", 95, 0.01),
        ("late_drops", 96, 0.001),
        ("constant", 0, 0.1),
        ("constant", 100, 0.1),
    ],
)
def test_known_points_of_a_hundred_epochs(schedule: Schedule, epoch: float, expected: float) -> None:
    assert learning_rate(0.1, schedule, epoch, 100, 0) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warm_up_is_a_straight_line_and_the_schedule_starts_after_it(schedule: Schedule) -> None:
    rates = [learning_rate(0.1, schedule, epoch, 20, 4) for epoch in (0, 1, 2, 3)]
    assert rates == pytest.approx([0, 0.025, 0.05, 0.075])
    for epoch in (4, 8, 12, 20):
        shifted = learning_rate(0.1, schedule, epoch - 4, 16, 0)
        assert learning_rate(0.1, schedule, epoch, 20, 4) == pytest.approx(shifted)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rates_never_leave_the_range_from_zero_to_the_peak(schedule: Schedule) -> None:
    for tenth in range(0, 121):
        assert 0 <= learning_rate(0.3, schedule, tenth / 10, 12, 2.5) <= 0.3 + 1e-12


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [3, 5])
def test_a_warm_up_as_long_as_the_training_is_only_a_line(schedule: Schedule, warmup: int) -> None:
    assert learning_rate(0.1, schedule, 2, 3, warmup) == pytest.approx(0.2 / warmup)
