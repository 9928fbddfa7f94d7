"""Conditions on metrics, such as `params<=100000`: constraints of a search and filters of a front."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nas.base.errors import UsageError
from nas.base.records import TrialRecord
from nas.base.settings import amount, nearest
from nas.measures import Measure, measure

_PATTERN = re.compile(r"\s*(\w+)\s*(<=|>=)\s*(.+)")


@dataclass(frozen=True)
class Condition:
    """`metric` compared with `limit`."""

    metric: Measure
    comparison: Literal["<=", ">="]
    limit: float

    def __str__(self) -> str:
        return f"{self.metric.name} {self.comparison} {self.limit:g}"

    def violation(self, record: TrialRecord) -> float:
        """Relative distance to the limit, <= 0 where the condition holds; absolute where the limit is 0.

        1 where the metric was not measured: what is not known holds no condition. Raises ValueError for a trial without
        an evaluation, where one is needed.
        """
        value = self.metric.read(record)
        return 1.0 if value is None else self.distance(value)

    def distance(self, value: float) -> float:
        """As `violation`, of a value of the metric."""
        excess = value - self.limit
        signed = excess if self.comparison == "<=" else -excess
        return signed / (abs(self.limit) or 1.0)


def meeting(conditions: Sequence[Condition], records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Evaluated trials of `records` that hold all of `conditions`."""
    evaluated = [record for record in records if record.evaluation is not None]
    return [record for record in evaluated if all(one.violation(record) <= 0 for one in conditions)]


def _limit(text: str, name: str) -> float:
    return nearest(amount(text, in_bytes=name.endswith("_bytes")))


def parse_condition(text: str) -> Condition:
    """Condition written as METRIC <= NUMBER or METRIC >= NUMBER and nothing else.

    Raises UsageError for anything else, and for a number that the metric cannot be.
    """
    match = _PATTERN.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        name, comparison, limit = match[1], match[2], _limit(match[3], match[1])
    except ValueError:
        raise UsageError(
            f"cannot read condition {text!r}: write METRIC<=NUMBER or METRIC>=NUMBER, e.g. params<=100k or "
            f"weight_bytes<=64KB"
        ) from None
    chosen = measure(name)
    try:
        chosen.check(limit)
    except UsageError as error:
        raise UsageError(f"condition {text.strip()!r}: {error}") from None
    return Condition(chosen, "<=" if comparison == "<=" else ">=", limit)
