"""Conditions: how they are written and what they measure."""

import pytest

from nas.base.errors import UsageError
from nas.base.records import TrialState
from nas.pareto import parse_condition
from tests.builders import trial


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("params<=100000", "params <= 100000"),
        ("  params  <=  1e5 ", "params <= 100000"),
        ("natural_accuracy>=0.9", "natural_accuracy >= 0.9"),
        ("natural_accuracy >= .9", "natural_accuracy >= 0.9"),
        ("lipschitz_bound_log10 <= -1.5", "lipschitz_bound_log10 <= -1.5"),
        ("params <= 100_000", "params <= 100000"),
        ("params<=100k", "params <= 100000"),
        ("macs <= 0.5M", "macs <= 500000"),
        ("weight_bytes <= 64KB", "weight_bytes <= 64000"),
        ("peak_activation_bytes<=64 KiB", "peak_activation_bytes <= 65536"),
        ("instability <= 1/4", "instability <= 0.25"),
    ],
)
def test_conditions_are_read_and_shown(text: str, shown: str) -> None:
    assert str(parse_condition(text)) == shown
    assert parse_condition(shown) == parse_condition(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "params",
        "params=5",
        "params<=",
        "<=5",
        "params<=five",
        "params<=1<=2",
        "params<=nan",
        "params<=1-2",
        "params<=64KB",
        "params<=8m",
        "params => 5",
    ],
)
def test_what_is_no_condition_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="METRIC<=NUMBER"):
        parse_condition(text)


def test_an_unknown_metric_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="did you mean params"):
        parse_condition("param<=5")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("natural_accuracy >= 90", r"natural_accuracy cannot be 90 \(allowed: 0 to 1; did you mean 0\.9\?\)"),
        ("robust_accuracy <= -0.1", r"robust_accuracy cannot be -0\.1 \(allowed: 0 to 1\)"),
        ("robust_accuracy >= 101", r"cannot be 101 \(allowed: 0 to 1\)"),
        ("natural_accuracy >= 1e999", r"'natural_accuracy >= 1e999': natural_accuracy cannot be inf"),
        ("params <= 1e999", r"params cannot be inf \(allowed: 0 or more\)"),
        ("params <= -5", r"params cannot be -5 \(allowed: 0 or more\)"),
        ("instability <= -1", r"instability cannot be -1 \(allowed: 0 or more\)"),
        ("lipschitz_certified_log10 <= -1e999", r"cannot be -inf \(allowed: any finite number\)"),
    ],
)
def test_a_limit_that_the_metric_cannot_have_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_condition(text)


@pytest.mark.parametrize("text", ["natural_accuracy >= 1", "robust_accuracy >= 0", "params >= 0", "macs <= 1e12"])
def test_the_ends_of_a_range_are_allowed(text: str) -> None:
    assert parse_condition(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("params<=1000", 0.0),
        ("params<=800", 0.25),
        ("params<=2000", -0.5),
        ("params>=2000", 0.5),
        ("params>=1000", 0.0),
        ("robust_accuracy>=0.4", -0.25),
        ("robust_accuracy>=0", -0.5),  # absolute where the limit is 0
        ("robust_accuracy<=0", 0.5),
        ("lipschitz_bound_log10<=-2", 2.5),  # (3 - -2) / 2
        ("lipschitz_bound_log10>=-2", -2.5),
    ],
)
def test_violation_is_the_signed_relative_distance_to_the_limit(text: str, expected: float) -> None:
    assert parse_condition(text).violation(trial(1, robust=0.5, bound=3.0)) == pytest.approx(expected)


def test_a_trial_without_the_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="no evaluation"):
        parse_condition("robust_accuracy>=0.4").violation(trial(1, state=TrialState.FAILED))


@pytest.mark.parametrize("comparison", ["<=", ">="])
def test_what_was_not_measured_holds_no_condition(comparison: str) -> None:
    unmeasured = trial(0, lipschitz_maximised=None)  # type: ignore[arg-type]
    assert parse_condition(f"lipschitz_maximised {comparison} 2").violation(unmeasured) == 1.0
