"""How sure a front is, and what the trainings of one trial gave, as tables."""

from collections.abc import Mapping, Sequence

import numpy as np

from nas.base.records import Evaluation
from nas.budgets import COSTS
from nas.pareto import Measure, Member
from nas.report.names import column_name
from nas.report.tables import cell
from nas.report.whole_table import WholeTable


def intervals_table(members: Sequence[Member], objectives: Sequence[Measure], title: str) -> WholeTable:
    """Every member with mean ± standard deviation over its trainings and the 95 % interval of each objective.

    Then the ranks by the first objective that noise allows (1–3 is a tie), and the member that is most likely to
    dominate it.
    """
    table = WholeTable(title)
    table.add_column("trial", justify="right")
    table.add_column("seeds", justify="right")
    for objective in objectives:
        arrow = "↓" if objective.direction == "minimize" else "↑"
        table.add_column(f"{column_name(objective.name)} {arrow}", justify="right")
    table.add_column(f"rank by {column_name(objectives[0].name)}", justify="right")
    table.add_column("dominated", justify="right", no_wrap=True)
    for member in members:
        cells = [_cell(member, objective) for objective in objectives]
        table.add_row(str(member.record.number), str(member.seeds), *cells, rank_text(member), _dominated(member))
    return table


def _cell(member: Member, objective: Measure) -> str:
    name = objective.name
    if name in COSTS:
        return cell(name, member.record)
    style = ".3f" if objective.unit == "fraction" else ".3g"
    deviation, interval = member.deviation(name), member.intervals.get(name)
    if not deviation and interval is not None and interval.low == interval.high:
        return f"{member.mean(name):{style}}"  # of the architecture, not of a training
    spread = "" if deviation is None else f" ± {deviation:{'.3f' if objective.unit == 'fraction' else '.2g'}}"
    between = "" if interval is None else f" [dim]{interval.low:{style}}–{interval.high:{style}}[/dim]"
    return f"{member.mean(name):{style}}{spread}{between}"


def rank_text(member: Member) -> str:
    """Ranks as 2 or, in a tie, 1–3."""
    if member.rank is None:
        return "–"
    low, high = member.rank
    return str(low) if low == high else f"{low}–{high}"


def _dominated(member: Member) -> str:
    if member.dominated_by is None:
        return "–"
    if not member.dominated_by:
        return "≤ 0.01"
    other, probability = max(member.dominated_by.items(), key=lambda pair: pair[1])
    return f"{probability:.2f} by {other}"


SEED_COLUMNS = ("robust_accuracy", "natural_accuracy", "instability", "lipschitz_certified_log10",
                "lipschitz_empirical")  # fmt: skip


def seeds_table(trainings: Mapping[int, Evaluation]) -> WholeTable:
    """Scores of every training of a trial, their mean and their sample standard deviation."""
    table = WholeTable("trainings from different seeds")
    table.add_column("seed", justify="right")
    names = dict.fromkeys((*SEED_COLUMNS, *(name for evaluation in trainings.values() for name in evaluation.scores)))
    found = {name: [evaluation.score(name) for evaluation in trainings.values()] for name in names}
    columns = {name: np.array(values, dtype=np.float64) for name, values in found.items() if None not in values}
    for name in columns:
        table.add_column(column_name(name), justify="right")
    for row, repeat in enumerate(trainings):
        label = f"{repeat}, the search's own" if repeat == 0 else str(repeat)
        table.add_row(label, *(f"{values[row]:.4g}" for values in columns.values()))
    table.add_section()
    for label, values_to in (("mean", np.mean), ("standard deviation", lambda values: np.std(values, ddof=1))):
        table.add_row(label, *(f"{values_to(values):.4g}" for values in columns.values()))
    return table
