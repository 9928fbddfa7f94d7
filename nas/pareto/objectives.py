"""Every quantity that can be an objective, a constraint or a column, with the one way to read it."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from difflib import get_close_matches
from math import inf, isfinite, isnan
from typing import Literal

from nas.base.errors import UsageError
from nas.base.records import Costs, Evaluation, TrialRecord

Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Metric:
    """A number of a finished trial: its better direction, its unit, its best possible value."""

    name: str
    direction: Direction
    unit: str
    title: str
    best: float
    """Ideal value, finite; hypervolumes are shares of the box between it and the reference point."""
    read: Callable[[TrialRecord], float | None]
    """None where it was not measured or could not be. Raises ValueError for a trial without an evaluation, where one is
    needed."""
    is_sensitivity: bool = False
    """Whether it says how far outputs move with the image: least of all in a network that has learned nothing."""
    low: float = 0.0
    """Least value that it can have."""
    high: float = inf
    """Largest value that it can have."""

    def loss(self, value: float) -> float:
        """`value` turned so that less is better."""
        return value if self.direction == "minimize" else -value

    def loss_of(self, record: TrialRecord) -> float:
        """Value of `record` turned so that less is better; infinite, worse than every number, where it has none."""
        value = self.read(record)
        return inf if value is None or isnan(value) else self.loss(value)

    def check(self, value: float) -> None:
        """Raises UsageError where `value` is none that this metric can have."""
        if isfinite(value) and self.low <= value <= self.high:
            return
        bounds = f"{self.low:g} to {self.high:g}" if isfinite(self.high) else f"{self.low:g} or more"
        allowed = bounds if isfinite(self.low) else "any finite number"
        is_percent = self.unit == "fraction" and self.high < value <= 100
        hint = f"; did you mean {value / 100:g}?" if is_percent else ""
        raise UsageError(f"{self.name} cannot be {value:g} (allowed: {allowed}{hint})")


def metric(name: str) -> Metric:
    """Metric by name. Raises UsageError with the nearest names for an unknown one."""
    if name not in METRICS:
        near = get_close_matches(name, METRICS, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"unknown metric {name!r}{hint} (allowed: {', '.join(METRICS)})")
    return METRICS[name]


def _cost(name: str, unit: str, title: str) -> Metric:
    return Metric(name, "minimize", unit, title, 0.0, lambda record: float(getattr(record.costs, name)))


def _score(name: str, direction: Direction, unit: str, title: str, best: float) -> Metric:
    def read(record: TrialRecord) -> float | None:
        value = getattr(_evaluated(record), name)
        return None if value is None or isnan(value) else float(value)

    low = -inf if unit.startswith("log10") else 0.0
    high = 1.0 if unit == "fraction" else inf
    return Metric(name, direction, unit, title, best, read, name.startswith(("instability", "lipschitz")), low, high)


def _evaluated(record: TrialRecord) -> Evaluation:
    if record.evaluation is None:
        raise ValueError(f"trial {record.number} is {record.state} and has no evaluation")
    return record.evaluation


_METRICS = (
    _score("robust_accuracy", "maximize", "fraction", "robust accuracy", 1.0),
    _score("natural_accuracy", "maximize", "fraction", "natural accuracy", 1.0),
    _score("instability", "minimize", "nats", "instability", 0.0),
    _score("instability_scaled", "minimize", "nats per pixel unit", "instability (paper's scale)", 0.0),
    _score("lipschitz_bound_log10", "minimize", "log10", "Lipschitz bound (log10)", 0.0),
    _score("lipschitz_maximised", "minimize", "logits per pixel unit, l2/l2", "empirical Lipschitz, maximised", 0.0),
    _score("lipschitz_certified_log10", "minimize", "log10, l2/l2", "certified Lipschitz (log10)", 0.0),
    _score("lipschitz_empirical", "minimize", "logits per pixel unit, l2/l2", "empirical Lipschitz", 0.0),
    _score(
        "lipschitz_empirical_scaled",
        "minimize",
        "logits per pixel unit, l1/linf",
        "empirical Lipschitz (paper's scale)",
        0.0,
    ),
    _cost("params", "parameters", "parameters"),
    _cost("macs", "multiply-accumulates per image", "MACs"),
    _cost("weight_bytes", "bytes", "weight bytes"),
    _cost("peak_activation_bytes", "bytes", "peak activation bytes"),
)
METRICS: dict[str, Metric] = {entry.name: entry for entry in _METRICS}


ACCURACIES = ("robust_accuracy", "natural_accuracy")
"""Metrics that an Evaluation holds with their 95 % intervals."""
_STORED = {field.name for kind in (Costs, Evaluation) for field in fields(kind)}


def is_derived(name: str) -> bool:
    """Whether the metric `name` is stored nowhere but computed from a record."""
    return name not in _STORED


def number_of(metric: Metric, record: TrialRecord) -> float | None:
    """Number of `record`, None where it has none: it is not evaluated, or the number was not measured or proved."""
    try:
        value = metric.read(record)
    except ValueError:
        return None
    return value if value is not None and isfinite(value) else None


def derived_of(record: TrialRecord) -> dict[str, float | None]:
    """Every derived metric of `record`, by name."""
    return {name: number_of(entry, record) for name, entry in METRICS.items() if is_derived(name)}


def metrics_of(evaluation: Evaluation) -> dict[str, float]:
    """Scores of `evaluation` by the names of their metrics; those that were not measured are left out."""
    values = {name: getattr(evaluation, name, None) for name in METRICS}
    return {name: value for name, value in values.items() if value is not None}
