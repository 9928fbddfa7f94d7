"""Verb `retrain`."""

from enum import StrEnum
from typing import Annotated

import typer

from nas.cli.ending import says_what_is_kept
from nas.cli.options import (
    DataRoot,
    Overrides,
    PlainFormat,
    RunPath,
    Where,
    app,
    err,
    out,
    print_json,
)


class InitialWeights(StrEnum):
    """Weights that a retraining begins with."""

    SCRATCH = "scratch"
    INHERITED = "inherited"


@app.command(epilog="Example: nas retrain runs/digits --pick best:robust_accuracy --where 'params<=10k'")
def retrain(
    run: RunPath,
    pick: Annotated[
        str, typer.Option(help="knee, best:METRIC, weights:METRIC=W,METRIC=W, or a trial number.")
    ] = "knee",
    where: Where = None,
    start: Annotated[
        InitialWeights, typer.Option("--from", help="Random weights, or the network's part of the run's supernet.")
    ] = InitialWeights.SCRATCH,
    name: Annotated[str, typer.Option(help="Keep it beside other retrainings of the trial, in NUMBER-NAME.")] = "",
    data: DataRoot = None,
    overrides: Overrides = None,
    format: PlainFormat = PlainFormat.TABLE,
) -> None:
    """Train a picked network for long, then evaluate it once on the test set."""
    from nas.base.records import to_json
    from nas.report.evaluations import evaluation_view
    from nas.runs.asked import picked_from, to_be_retrained
    from nas.timing.watched import watched_retraining

    opened = to_be_retrained(run, overrides or (), data, name)
    picked = picked_from(opened, pick, where, over_budget=True)
    with says_what_is_kept(run):
        folder, evaluation = watched_retraining(
            opened, picked, err, inherited=start is InitialWeights.INHERITED, name=name
        )
    if format is PlainFormat.JSON:
        return print_json({"folder": str(folder), "trial": picked.record.number, "picked": picked.reason,
                            "from": start.value, "evaluation": to_json(evaluation)})  # fmt: skip
    begun = f"retrained from {'scratch' if start is InitialWeights.SCRATCH else 'inherited weights'}"
    out.print(f"[bold]trial {picked.record.number}, {begun}[/bold] ({picked.reason})", soft_wrap=True)
    out.print(evaluation_view(evaluation))
    out.print(
        f"in {folder}: model.safetensors, genotype.json, evaluation.json, curve.csv, curve.png",
        soft_wrap=True,
    )
