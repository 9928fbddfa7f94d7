"""`nas study replay`: ways to search, compared on a table of finished trainings."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import Overrides, err, out, print_json, study, write
from nas.workers.fork_server import start_server


class ReplayFormat(StrEnum):
    """Ways to print a comparison."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


@study.command(
    epilog="Example: nas study replay runs/reference/digits_bench.csv configs/digits_bench.yaml "
    "--vary 'search.sampler=\\[nsga2, random, tpe]' --vary 'search.halting.epochs=\\[\\[], \\[3]]'"
)
def replay(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="CSV of `nas study curves` on a sweep of the space.")],
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of the search, with the table's space.")],
    overrides: Overrides = None,
    vary: Annotated[
        list[str] | None,
        typer.Option("--vary", metavar="FIELD=[A, B]", help="Compare these values of a search field; repeatable."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=10_000, help="Searches of each variant.")] = 20,
    png: Annotated[Path | None, typer.Option(help="Write a picture: hypervolume over epochs.")] = None,
    format: ReplayFormat = ReplayFormat.TABLE,
) -> None:
    """Compare samplers and halting rules on a table of finished trainings: whole searches in seconds.

    The first variant is the baseline of the others.
    """
    start_server("nas.studies.replay")
    from nas.report.replays import replay_markdown, replay_png, replay_table
    from nas.studies.replay import compare, variants

    chosen = variants(vary or ())
    with err.status("replaying …") as status:
        summaries = compare(
            table, config, overrides or (), chosen, seeds,
            lambda done, total: status.update(f"replayed {done} of {total} searches …"),
        )  # fmt: skip
    rows = [summary.row(summaries[0]) for summary in summaries]
    points = [point for summary in summaries for point in summary.curve()]
    if png:
        note = f"mean of {seeds} searches, 95 % bootstrap interval; table {table.name}"
        write(png, replay_png(points, f"{config.stem}: more front per epoch", note))
    if format is ReplayFormat.JSON:
        print_json({"variants": rows, "curves": points})
    elif format is ReplayFormat.CSV:
        import pandas as pd

        sys.stdout.write(pd.DataFrame(points).to_csv(index=False))
    elif format is ReplayFormat.MARKDOWN:
        sys.stdout.write(replay_markdown(rows))
    else:
        out.print(replay_table(rows))
