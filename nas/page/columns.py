"""Columns of the page's views: choices, objectives, costs and every other score, with a value for each trial."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

from nas.base.records import TrialRecord
from nas.budgets import COSTS
from nas.measures import MEASURES, Measure, number_of
from nas.pareto import Member
from nas.report.names import BALANCED, column_name
from nas.runs import Run
from search_spaces import Choice

Kind = Literal["choice", "objective", "cost", "score"]
SECONDS = "seconds"
"""Column of a trial's training and scoring time."""


@dataclass(frozen=True)
class Column:
    """What a column means, and how its numbers are written."""

    name: str
    title: str
    short: str
    unit: str
    kind: Kind
    direction: str = ""
    """`minimize`, `maximize`, or empty where neither is better."""
    options: tuple[str, ...] = ()
    """Of a choice, as text; its values are their indices."""
    note: str = ""
    is_static: bool = False
    """Whether it depends on the architecture alone."""
    is_cost: bool = False
    """Whether it is a count, drawn on a logarithmic axis."""


def columns_of(run: Run, records: Sequence[TrialRecord], objectives: Sequence[Measure]) -> tuple[Column, ...]:
    """Choices, then objectives, costs and the other scores that some trial has; measures on the paper's scale last."""
    choices = tuple(_of_choice(choice) for choice in run.space.choices)
    others = [one for one in MEASURES.values() if one not in objectives]
    measured = [one for one in others if one.name in COSTS or any(number_of(one, r) is not None for r in records)]
    measured.sort(key=lambda one: (one.name not in COSTS, one.is_rescaled))
    kinds = {one.name: "objective" for one in objectives}
    scores = tuple(_of_measure(one, kinds.get(one.name)) for one in (*objectives, *measured))
    balanced = tuple(
        Column(name, f"{short} accuracy", short, "fraction", "score", "maximize", note="mean over the classes")
        for name, short in BALANCED.items()
        if any(r.evaluation and r.evaluation.score(name) is not None for r in records)
    )
    time = Column(SECONDS, "training and scoring time", "time", "s", "score", "minimize")
    return (*choices, *scores, *balanced, time)


def _of_choice(choice: Choice) -> Column:
    options = tuple(f"{one:g}" if isinstance(one, float) else str(one) for one in choice.options)
    title = choice.name.replace("_", " ")
    return Column(choice.name, title, title, "", "choice", options=options)


def _of_measure(one: Measure, kind: str | None) -> Column:
    chosen: Kind = "objective" if kind else "cost" if one.name in COSTS else "score"
    return Column(
        one.name, one.title, column_name(one.name), one.unit, chosen, one.direction, note=one.note,
        is_static=one.is_static, is_cost=one.name in COSTS,
    )  # fmt: skip


def values_of(
    run: Run, records: Sequence[TrialRecord], columns: Sequence[Column], members: Mapping[int, Member]
) -> dict[str, list[float | None]]:
    """Values of every column, one for each trial: means over trainings where a member of the front has several."""
    places = {choice.name: {o: i for i, o in enumerate(choice.options)} for choice in run.space.choices}
    found: dict[str, list[float | None]] = {}
    for column in columns:
        if column.kind == "choice":
            place = places[column.name]
            found[column.name] = [place.get(record.genotype.values.get(column.name, "")) for record in records]
        elif column.name == SECONDS:
            found[SECONDS] = [rounded(record.seconds) for record in records]
        else:
            found[column.name] = [_value(column.name, record, members.get(record.number)) for record in records]
    return found


def _value(name: str, record: TrialRecord, member: Member | None) -> float | None:
    if member is not None and name in member.values:
        return rounded(member.mean(name))
    if name in MEASURES:
        return rounded(number_of(MEASURES[name], record))
    return rounded(record.evaluation.score(name)) if record.evaluation else None


def intervals_of(
    records: Sequence[TrialRecord], members: Mapping[int, Member]
) -> dict[str, dict[str, list[float | None]]]:
    """95 % intervals by column, as lists of ends: of the members of the front, and of accuracies of all others."""
    with_interval = [one for one in MEASURES.values() if one.interval]
    names = dict.fromkeys(
        [*(name for member in members.values() for name in member.intervals), *(one.name for one in with_interval)]
    )
    found: dict[str, dict[str, list[float | None]]] = {name: {"low": [], "high": []} for name in names}
    for record in records:
        known: dict[str, Any] = {
            one.name: getattr(record.evaluation, one.interval) for one in with_interval if record.evaluation
        }
        if (member := members.get(record.number)) is not None:
            known |= member.intervals
        for name, ends in found.items():
            interval = known.get(name)
            ends["low"].append(rounded(interval.low if interval else None))
            ends["high"].append(rounded(interval.high if interval else None))
    return {name: ends for name, ends in found.items() if any(value is not None for value in ends["low"])}


def rounded(value: float | None) -> float | None:
    """`value` to nine digits, more than any view shows; None for what JSON cannot say."""
    if value is None or not isfinite(value):
        return None
    whole = int(value)
    return whole if whole == value and abs(value) < 1e15 else float(f"{value:.9g}")


def all_rounded(values: Iterable[float | None]) -> list[float | None]:
    """`rounded` of each."""
    return [rounded(value) for value in values]
