"""A front as text on stdout."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from nas.cli.options import out

if TYPE_CHECKING:
    from rich.console import Console

    from nas.base.records import TrialRecord
    from nas.pareto import Measure
    from nas.runs import Run
    from nas.runs.members import SureFront
    from nas.studies.agreement import Verdict
    from nas.studies.baseline import Versus
    from nas.studies.common_rung import Common


def print_front(
    run: "Run",
    objectives: "tuple[Measure, ...]",
    conditions: Sequence[str],
    records: "Sequence[TrialRecord] | None" = None,
    notes: Sequence[str] | None = None,
) -> None:
    """Prints the front of `run` for `objectives`, with its warnings, its protocol, its size and `notes`.

    Without `notes`, what `front_notes` says of it.
    """
    from nas.report.tables import front_table, warnings_of
    from nas.runs.front_words import front_lines
    from nas.runs.members import front_notes

    objectives = objectives or run.config.parsed_objectives
    records = run.records if records is None else records
    found = run.front(objectives, records)
    notes = front_notes(run, found) if notes is None else notes
    if not found.records:
        states = Counter(record.state.value for record in run.records)
        finished = ", ".join(f"{count} {state}" for state, count in states.items()) or "none finished yet"
        limits = ", ".join([*run.config.constraints, *conditions])
        within = f"every limit{f', {limits}' if limits else ''}"
        out.print(f"the front is empty: no trial is complete and within {within} (trials: {finished})", soft_wrap=True)
        for text in warnings_of(records):
            out.print(f"[yellow]{text}[/yellow]", soft_wrap=True)
        for text in notes:
            out.print(text, soft_wrap=True, highlight=False)
        return
    budgeted = [name for name, limit in run.config.budget.model_dump().items() if limit is not None]
    see = f"`nas front {run.folder} --format csv`"
    out.print(front_table(found, f"Pareto front of {run.folder.name}", budgeted, see))
    warned, said = front_lines(run, found, records, notes)
    for text in warned:
        out.print(f"[yellow]{text}[/yellow]", soft_wrap=True)
    for text in said:
        out.print(text, style="dim", soft_wrap=True)


def print_baseline(against: "Versus") -> None:
    """Prints what searching bought at every step of the baseline, and what must be said about it."""
    from nas.report.baselines import baseline_table, baseline_words

    out.print(baseline_table(against.facts))
    for text in baseline_words(against.facts):
        out.print(text, style="dim", soft_wrap=True, highlight=False)


def print_common(common: "Common", console: "Console") -> None:
    """Prints on `console` under which attacks the trials are compared, and how many met further ones."""
    from nas.report.evaluations import protocol_text

    if any(common.runs):
        text = "; ".join(filter(None, (f"compared under {protocol_text(common.evaluation)}", common.words)))
        console.print(text, style="dim", soft_wrap=True, highlight=False, markup=False)


def print_safety(verdicts: "Iterable[Verdict]", console: "Console") -> None:
    """Prints on `console` what is said of halting at each rung; what is said of several only once."""
    from nas.studies.agreement import verdict_lines

    for text, warns in verdict_lines(verdicts):
        console.print(f"[yellow]{text}[/yellow]" if warns else text, soft_wrap=True, highlight=False)


def print_members(
    run: "Run", objectives: "tuple[Measure, ...]", records: "Sequence[TrialRecord]", front: "SureFront"
) -> None:
    """Prints the members of a front with their intervals, ranks and ties, and what these mean."""
    from nas.report.evaluations import protocol_text
    from nas.report.intervals import intervals_table
    from nas.runs.front_words import front_summary

    out.print(intervals_table(front.members, objectives, f"Pareto front of {run.folder.name}"))
    for note in front.notes:
        out.print(f"[yellow]{note}[/yellow]", soft_wrap=True, highlight=False)
    first = front.members[0].record.evaluation
    if first:
        out.print(protocol_text(first), style="dim", soft_wrap=True)
    out.print(front_summary(run, objectives, records), style="dim", soft_wrap=True)
