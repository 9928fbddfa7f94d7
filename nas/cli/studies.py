"""Verbs that study the trials of a run: table, curves, insights."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import Format, PlainFormat, RunPath, app, err, out, print_json, write


class TableFormat(StrEnum):
    """Ways to print the paper's table."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


@app.command(epilog="Example: nas table runs/mousavi_digits --format markdown")
def table(run: RunPath, format: TableFormat = TableFormat.TABLE) -> None:
    """Show the networks of a run with the columns of Mousavi 2023, beside its printed values."""
    from nas.report.study_tables import paper_markdown, paper_table
    from nas.runs import open_run
    from nas.study import table_rows
    from nas.study.paper import PAPER

    opened = open_run(run)
    rows = table_rows(opened.records, opened.space.input_shape, opened.space.num_classes)
    if format is TableFormat.JSON:
        print_json(rows)
    elif format is TableFormat.CSV:
        import pandas as pd

        sys.stdout.write(pd.DataFrame(rows).to_csv(index=False))
    elif format is TableFormat.MARKDOWN:
        sys.stdout.write(paper_markdown(rows, PAPER["source"]))
    else:
        out.print(paper_table(rows, PAPER["source"]))


@app.command(epilog="Example: nas curves runs/mousavi_digits --png curves.png")
def curves(
    run: RunPath,
    png: Annotated[Path | None, typer.Option(help="Write a picture.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write an interactive page, readable offline.")] = None,
    format: Format = Format.TABLE,
) -> None:
    """Show the scores after every epoch: figures 2, 3 and 4 of Mousavi 2023."""
    from nas.report.evaluations import protocol_text
    from nas.report.study_plots import curves_html, curves_png
    from nas.report.study_tables import curve_table
    from nas.runs import open_run
    from nas.study import curve_rows
    from nas.study.curves import CURVES

    opened = open_run(run)
    rows = curve_rows(opened.records, opened.trials_folder)
    title = f"{run.name}: scores after every epoch"
    scored = next(record.evaluation for record in opened.records if record.evaluation)
    note = f"line: mean over seeds, band: lowest to highest; {protocol_text(scored)}"
    if png:
        write(png, curves_png(rows, CURVES, title, note))
    if html:
        write(html, curves_html(rows, CURVES, title, note).encode())
    if format is Format.JSON:
        print_json(rows)
    elif format is Format.CSV:
        import pandas as pd

        sys.stdout.write(pd.DataFrame(rows).to_csv(index=False))
    else:
        out.print(curve_table(rows, CURVES))
        if not (png or html):
            err.print("draw them with --png FILE or --html FILE")


@app.command(epilog="Example: nas insights runs/mousavi_digits --format json")
def insights(run: RunPath, format: PlainFormat = PlainFormat.TABLE) -> None:
    """Say what width, expand ratio and depth do in a run, and what predicts robustness."""
    from nas.report.study_tables import insight_tables
    from nas.runs import open_run
    from nas.study import insights as find

    opened = open_run(run)
    found = find(opened.records, lambda record: opened.space.spec(record.genotype))
    print_json(found) if format is PlainFormat.JSON else out.print(insight_tables(found))
