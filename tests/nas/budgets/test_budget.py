"""Limits on costs."""

import dataclasses
import json

import pytest
from pydantic import ValidationError

from nas.base.records import Costs
from nas.budgets import COSTS, Budget

SPENT = Costs(params=1200, macs=50_000, weight_bytes=4800, peak_activation_bytes=640)


def test_every_cost_can_be_limited_and_nothing_else() -> None:
    assert set(Budget.model_fields) == set(COSTS) == {field.name for field in dataclasses.fields(Costs)}


def test_overrun_is_the_relative_excess_of_every_limit() -> None:
    found = Budget(params=1000, macs=100_000, weight_bytes=4800).overrun(SPENT)
    assert found == pytest.approx({"params": 0.2, "macs": -0.5, "weight_bytes": 0.0})


def test_without_limits_everything_is_allowed() -> None:
    assert Budget().overrun(SPENT) == {}
    assert Budget().allows(SPENT)


@pytest.mark.parametrize("name", COSTS)
def test_a_limit_is_kept_at_equality_and_broken_by_one(name: str) -> None:
    spent = getattr(SPENT, name)
    assert Budget(**{name: spent}).allows(SPENT)
    assert not Budget(**{name: spent - 1}).allows(SPENT)


def test_one_broken_limit_is_enough() -> None:
    assert not Budget(params=10**9, macs=1).allows(SPENT)


@pytest.mark.parametrize("limit", [0, -5, 1.5])
def test_impossible_limits_are_refused(limit: float) -> None:
    with pytest.raises(ValidationError, match="params"):
        Budget(params=limit)


@pytest.mark.parametrize(
    ("field", "written", "value"),
    [("params", "100k", 100_000), ("macs", "8M", 8_000_000), ("macs", "1.5 G", 1_500_000_000),
     ("params", "1_000", 1000), ("weight_bytes", "64KB", 64_000), ("peak_activation_bytes", "64 KiB", 65_536),
     ("weight_bytes", "64k", 64_000)],
)  # fmt: skip
def test_a_limit_may_have_a_unit(field: str, written: str, value: int) -> None:
    limits = json.dumps({field: written})
    assert getattr(Budget.model_validate_json(limits, strict=True), field) == value


@pytest.mark.parametrize(
    ("field", "written"),
    [("params", "64KB"), ("params", "8m"), ("params", "k"), ("params", "1.5"), ("weight_bytes", "64Kb"),
     ("macs", "-1k"), ("macs", "1e999M"), ("macs", "1e999999999"), ("params", "1/0"), ("params", "")],
)  # fmt: skip
def test_a_limit_that_is_no_whole_number_with_its_unit_is_refused(field: str, written: str) -> None:
    with pytest.raises(ValidationError):
        Budget.model_validate_json(json.dumps({field: written}), strict=True)
