"""`nas study table`, `curves`, `insights`, `agreement`: questions asked of the trials of a run."""

import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.base.errors import UsageError
from nas.cli.options import Format, PlainFormat, RunPath, err, out, print_json, study, write
from nas.cli.printing import print_common, print_safety

if TYPE_CHECKING:
    from nas.runs import Run
    from nas.studies.agreement import Agreement, Verdict


class TableFormat(StrEnum):
    """Ways to print the paper's table."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


@study.command(epilog="Example: nas study table runs/mousavi_digits --format markdown")
def table(run: RunPath, format: TableFormat = TableFormat.TABLE) -> None:
    """Show the networks of a run with the columns of Mousavi 2023, beside its printed values."""
    from nas.report.study_tables import paper_markdown, paper_table
    from nas.runs import open_run
    from nas.studies import at_common_rung, table_rows
    from nas.studies.paper import COLUMNS, PAPER

    opened = open_run(run)
    common = at_common_rung([(opened.trials_folder, opened.records)], needed=COLUMNS)
    rows = table_rows(common.runs[0], opened.space.input_shape, opened.space.num_classes)
    print_common(common, out if format is TableFormat.TABLE else err)
    if format is TableFormat.JSON:
        print_json(rows)
    elif format is TableFormat.CSV:
        import pandas as pd

        sys.stdout.write(pd.DataFrame(rows).to_csv(index=False))
    elif format is TableFormat.MARKDOWN:
        sys.stdout.write(paper_markdown(rows, PAPER["source"]))
    else:
        out.print(paper_table(rows, PAPER["source"]))


@study.command(epilog="Example: nas study curves runs/mousavi_digits --png curves.png")
def curves(
    run: RunPath,
    png: Annotated[Path | None, typer.Option(help="Write a picture.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write an interactive page, readable offline.")] = None,
    format: Format = Format.TABLE,
) -> None:
    """Show the scores after every epoch: figures 2, 3 and 4 of Mousavi 2023."""
    from nas.page import curves_page
    from nas.report.evaluations import protocol_text
    from nas.report.study_plots import curves_png
    from nas.report.study_tables import curve_table
    from nas.runs import open_run
    from nas.studies import curve_rows
    from nas.studies.curves import CURVES, tracked_evaluation

    opened = open_run(run)
    rows = curve_rows(opened.records, opened.trials_folder)
    title = f"{run.name}: scores after every epoch"
    protocol = protocol_text(tracked_evaluation(opened.records, opened.trials_folder))
    note = f"line: mean over seeds, band: lowest to highest; {protocol}"
    if png:
        write(png, curves_png(rows, CURVES, title, note))
    if html:
        write(html, curves_page(rows, CURVES, title, note).encode())
    if format is Format.JSON:
        print_json(rows)
    elif format is Format.CSV:
        import pandas as pd

        # The choices say it all: with the label, a table of a whole space would be twice as large.
        sys.stdout.write(pd.DataFrame(rows).drop(columns="network").to_csv(index=False, float_format="%.6g"))
    else:
        out.print(curve_table(rows, CURVES))
        if not (png or html):
            err.print("draw them with --png FILE or --html FILE")


@study.command(epilog="Example: nas study insights runs/mousavi_digits --format json")
def insights(
    run: RunPath,
    png: Annotated[Path | None, typer.Option(help="Draw what the front is made of.")] = None,
    format: PlainFormat = PlainFormat.TABLE,
) -> None:
    """Say which choices matter, what width, expand ratio and depth do, and what the front is made of."""
    from nas.measures import measure
    from nas.report.evaluations import protocol_text
    from nas.report.one_shot import composition_png, composition_table
    from nas.report.study_tables import choice_sentences, insight_tables
    from nas.runs import open_run
    from nas.studies import at_common_rung, compositions
    from nas.studies import insights as find
    from nas.studies.choices import choice_effects

    opened = open_run(run)
    common = at_common_rung([(opened.trials_folder, opened.records)])
    found = find(common.runs[0], lambda record: opened.space.spec(record.genotype))
    found["compared_under"] = protocol_text(common.evaluation)
    robust = measure("robust_accuracy")
    found["choices"] = choice_effects(common.runs[0], robust)
    print_common(common, out if format is PlainFormat.TABLE else err)
    front = opened.front().records
    found["composition"] = compositions(opened.space, opened.records, front)
    if png:
        note = f"{len(front)} members of the front, {found['networks']} networks evaluated; bars: 95 % Wilson"
        write(png, composition_png(found["composition"], f"{run.name}: what the front is made of", note))
    if format is PlainFormat.JSON:
        return print_json(found)
    for sentence in choice_sentences(found["choices"], robust.title):
        out.print(sentence, soft_wrap=True, highlight=False)
    out.print(insight_tables(found))
    out.print(composition_table(found["composition"]))


@study.command(epilog="Example: nas study agreement runs/digits_halted --png agreement.png")
def agreement(
    run: RunPath,
    other: Annotated[
        Path | None, typer.Option("--with", metavar="RUN", help="Another run with networks in common.")
    ] = None,
    png: Annotated[Path | None, typer.Option(help="Draw the agreement at every stage of epochs.")] = None,
    format: Format = Format.TABLE,
) -> None:
    """Say how alike networks rank early and at the end, predicted and measured, here and in another run."""
    from nas.base.bootstrap import RESAMPLES
    from nas.report.study_plots import agreement_png
    from nas.report.study_tables import agreement_tables
    from nas.runs import open_run
    from nas.studies.agreement import SAFE_TAU, rows_of

    opened = open_run(run)
    found, verdicts = _agreement(opened, open_run(other) if other else None)
    rows = rows_of(found)
    if png:
        note = f"bars: 95 % bootstrap over networks, {RESAMPLES:,} resamples"
        write(png, agreement_png(rows, SAFE_TAU, f"{run.name}: early ranks against the final ones", note))
    if format is Format.JSON:
        print_json({
            "run": str(run), "with": str(other) if other else None, "resamples": RESAMPLES, "safe_tau": SAFE_TAU,
            "halting": opened.config.search.halting.model_dump(mode="json"),
            "verdicts": [asdict(verdict) for verdict in verdicts], "agreement": rows,
        })  # fmt: skip
    elif format is Format.CSV:
        import pandas as pd

        sys.stdout.write(pd.DataFrame(rows).to_csv(index=False))
    else:
        out.print(agreement_tables(rows, RESAMPLES))
        print_safety(verdicts, out)


def _agreement(run: "Run", other: "Run | None") -> "tuple[list[Agreement], tuple[Verdict, ...]]":
    """All that can be compared in `run` and with `other`, and whether halting is safe there."""
    from nas.search.finished import read_predictions
    from nas.studies import agreement as ranks
    from nas.studies import check_same_images

    objectives, halting, folder = run.config.parsed_objectives, run.config.search.halting, run.trials_folder
    samples, metrics = ranks.samples_of(run.records, halting.spared), ranks.measured(objectives)
    found = ranks.rung_agreement(samples, folder, metrics)
    found += ranks.prediction_agreement(samples, folder, read_predictions(run.study), objectives)
    if other is not None:
        check_same_images({str(run.folder): run.folder, str(other.folder): other.folder})
        others = ranks.samples_of(other.records, other.config.search.halting.spared)
        found += ranks.run_agreement(samples, folder, others, other.trials_folder, metrics)
    if not found:
        raise UsageError(
            f"{run.folder} has no ranks to compare: no stages of epochs (search.halting.epochs, or "
            f"training.track_every_epoch=true), no predictions (search.prescreen.proposals); or compare it --with RUN"
        )
    return found, ranks.safety(run.records, halting, objectives, folder)
