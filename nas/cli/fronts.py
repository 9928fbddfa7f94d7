"""Verbs that look at a run: front, show."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.base.errors import UsageError
from nas.cli.options import Format, PlainFormat, RunPath, Where, app, err, out, print_json, write
from nas.cli.printing import print_baseline, print_front, print_members
from nas.cli.questions import print_two, print_what_if

if TYPE_CHECKING:
    from nas.base.records import TrialRecord
    from nas.evaluation.certified import CertifiedBound
    from nas.pareto import Measure, ParetoFront
    from nas.runs import Run
    from nas.studies.baseline import Versus


@app.command(epilog='Example: nas front runs/digits --where "params<=10000" --png front.png')
def front(
    run: RunPath,
    format: Format = Format.TABLE,
    objectives: Annotated[str, typer.Option(help="Subset of metrics, comma-separated.")] = "",
    where: Where = None,
    pick: Annotated[str, typer.Option(help="Mark the trial that this rule picks (knee, best:METRIC, …).")] = "",
    png: Annotated[Path | None, typer.Option(help="Write a picture of the front.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write an interactive page, readable offline.")] = None,
    intervals: Annotated[bool, typer.Option("--intervals", help="Say how sure it is: 95 % intervals, ties.")] = False,
    baseline: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Compare with the networks of `nas sweep CONFIG --uniform`.")
    ] = None,
    cost: Annotated[
        str, typer.Option("--what-if", metavar="COST", help="Instead: what does more of params, macs, … buy?")
    ] = "",
) -> None:
    """Show the Pareto front of a run, or with --what-if the best member within every budget."""
    from nas.pareto import meeting, parse_condition
    from nas.report.plots import front_png
    from nas.report.rows import csv_text, front_row, member_row
    from nas.report.tables import tie_notes
    from nas.runs import open_run
    from nas.runs.members import SureFront, front_notes, sure_front
    from nas.studies.picks import picked

    if baseline and (format is Format.CSV or (png and intervals)):
        raise UsageError("--baseline is shown as a table or as JSON, and drawn without --intervals: leave one out")
    if cost and (baseline or intervals or png or html or pick):
        raise UsageError("--what-if is an answer of its own: leave out --baseline, --intervals, --png, --html, --pick")
    opened = open_run(run)
    against = _against(opened, baseline) if baseline else None
    conditions = [parse_condition(text) for text in where or ()]
    chosen = _objectives(opened, objectives)
    records = meeting(conditions, opened.records)
    found = opened.front(chosen, records)
    if cost:
        return print_what_if(opened, found, cost, format)
    chosen_one = picked(opened, pick, found, records) if pick else None
    marked = chosen_one.record if chosen_one else None
    if chosen_one and format is not Format.TABLE:
        err.print(f"picked: trial {chosen_one.record.number} ({chosen_one.reason})", soft_wrap=True)
    title = f"Pareto front of {run.name}"
    sure = sure_front(opened, found) if intervals else None
    members = sure.members if sure else ()
    said = front_notes(opened, found, [condition.metric for condition in conditions])
    notes = [*said, *(sure.notes if sure else tie_notes(found))]
    if png and against:
        write(png, front_png(*_at_common(found, records, against), title, marked, (), said, against.baseline))
    elif png:
        write(png, front_png(found, records, title, marked, members, said))
    if html:
        from nas.page import Asked, run_page

        asked = Asked(chosen, tuple(conditions), chosen_one, open_run(baseline) if baseline else None)
        write(html, run_page(opened, asked).encode())
    if format is not Format.TABLE:
        for note in notes:
            err.print(note, soft_wrap=True, highlight=False)
    if format is Format.JSON:
        rows = [member_row(member) for member in members] if sure else [front_row(r) for r in found.records]
        whole = [row | {"notes": said} for row in rows]
        print_json({"front": whole, "baseline": against.facts} if against else whole)
    elif format is Format.CSV:
        sys.stdout.write(csv_text(found.records, members))
    elif sure and members:
        print_members(opened, chosen, records, SureFront(members, tuple(notes)))
        if chosen_one:
            out.print(f"picked: trial {chosen_one.record.number} ({chosen_one.reason})", soft_wrap=True)
    else:
        print_front(opened, chosen, [str(condition) for condition in conditions], records, said)
        if chosen_one:
            out.print(f"picked: trial {chosen_one.record.number} ({chosen_one.reason})", soft_wrap=True)
    if against and format is Format.TABLE:
        print_baseline(against)


def _against(run: "Run", folder: Path) -> "Versus":
    from nas.runs import open_run
    from nas.studies import versus

    return versus(run, open_run(folder))


def _at_common(
    front: "ParetoFront", records: "Sequence[TrialRecord]", against: "Versus"
) -> "tuple[ParetoFront, list[TrialRecord]]":
    """The front's members and all trials by the scores that the baseline is compared under."""
    by_number = {record.number: record for record in against.searched}
    kept, shown = ([by_number[r.number] for r in some if r.number in by_number] for some in (front.records, records))
    return dataclasses.replace(front, records=tuple(kept)), shown


@app.command(epilog="Example: nas show runs/digits 17")
def show(
    run: RunPath,
    pick: Annotated[str, typer.Argument(metavar="PICK", help="Trial number, knee, best:METRIC, expected, …")],
    other: Annotated[str, typer.Argument(metavar="[B]", help="Another PICK: is the first really better?")] = "",
    where: Where = None,
    lipschitz: Annotated[bool, typer.Option(help="Add the factors of the certified Lipschitz constant.")] = False,
    format: PlainFormat = PlainFormat.TABLE,
) -> None:
    """Show one candidate (blocks, costs, scores, warnings), or two: paired differences with 95 % intervals."""
    from nas.base.records import to_json
    from nas.pareto import MEASURES, derived_of, meeting, parse_condition
    from nas.report.evaluations import certified_table, evaluation_view
    from nas.report.intervals import seeds_table
    from nas.report.tables import bits_text, block_table, broken_texts, bytes_text, genotype_text, number_text
    from nas.runs import open_run
    from nas.runs.members import trainings_of
    from nas.runs.pruned import deployed_spec, pruning_text
    from nas.runs.quantized import quantization_text

    opened = open_run(run)
    record = _record(opened, pick, where)
    if other:
        if lipschitz:
            raise UsageError("--lipschitz shows the factors of one network: leave out the second PICK")
        front = opened.front(records=meeting([parse_condition(text) for text in where or ()], opened.records))
        return print_two(opened, front, record, _record(opened, other, where), format)
    bound = _certified(opened, record) if lipschitz else None
    trainings = trainings_of(opened, record) if record.evaluation else {}
    derived = derived_of(record)
    if format is PlainFormat.JSON:
        more: dict[str, Any] = {"certified": dataclasses.asdict(bound)} if bound else {}
        if derived:
            more["derived"] = derived
        if len(trainings) > 1:
            more["seeds"] = {str(repeat): to_json(evaluation) for repeat, evaluation in trainings.items()}
        return print_json(to_json(record) | more)
    costs = record.costs
    out.print(f"[bold]trial {record.number}[/bold] {record.state.value}, architecture {record.genotype.key}")
    if record.inherits is not None:
        out.print(f"trained from the weights of trial {record.inherits}, not from random ones")
    out.print(genotype_text(record.genotype.values), highlight=False)
    deployment = opened.config.deployment
    spec = deployed_spec(opened.space.spec(record.genotype), opened.config.treatments)
    out.print(block_table(spec, deployment))
    out.print(
        f"weights {bytes_text(costs.weight_bytes)} at {bits_text(map(deployment.weights_of, spec.blocks))} bits, "
        f"peak activation {bytes_text(costs.peak_activation_bytes)} at "
        f"{bits_text(map(deployment.activations_of, spec.blocks))} bits (batch 1, layer by layer)"
    )
    for said in filter(None, (quantization_text(opened.config), pruning_text(opened.config.treatments))):
        out.print(said, soft_wrap=True)
    if record.evaluation:
        out.print(evaluation_view(record.evaluation))
    for name, value in derived.items():
        out.print(f"{MEASURES[name].title} {'none' if value is None else number_text(value)} {MEASURES[name].unit}")
    if len(trainings) > 1:
        out.print(seeds_table(trainings))
    if bound:
        out.print(certified_table(bound))
    for text in broken_texts(record):
        out.print(f"[yellow]{text}[/yellow]")
    if record.error:
        out.print(record.error.strip(), markup=False, style="red")


def _record(run: "Run", pick: str, where: list[str] | None) -> "TrialRecord":
    """Trial of that number, trained or not, or the one that the rule `pick` picks; says why on stderr."""
    from nas.studies.picks import picked_from

    numbered = [record for record in run.records if str(record.number) == pick]
    if numbered:
        return numbered[0]
    found = picked_from(run, pick, where)
    err.print(f"trial {found.record.number}: {found.reason}", soft_wrap=True)
    return found.record


def _certified(run: "Run", record: "TrialRecord") -> "CertifiedBound":
    """Certified Lipschitz constant of a trial's network, by layer."""
    from nas.evaluation.certified import certified_lipschitz
    from nas.runs.work import trained_network

    return certified_lipschitz(trained_network(run, record))


def _objectives(run: "Run", text: str) -> "tuple[Measure, ...]":
    """Objectives named in `text` (comma-separated), all of the run's when empty."""
    from nas.pareto import measure

    if not text:
        return run.config.parsed_objectives
    chosen = tuple(measure(name.strip()) for name in text.split(","))
    if len(set(chosen)) < len(chosen):
        raise UsageError(f"--objectives names a metric twice: {text}")
    return chosen
