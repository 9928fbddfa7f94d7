"""Verb `retrain`."""

from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

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
    warn,
)

if TYPE_CHECKING:
    from nas.base.records import Evaluation
    from nas.pareto import Pick


class InitialWeights(StrEnum):
    """Weights that a retraining begins with."""

    SCRATCH = "scratch"
    INHERITED = "inherited"


@app.command(epilog="Example: nas retrain runs/digits --pick best:robust_accuracy --where 'params<=10k'")
def retrain(
    run: RunPath,
    pick: Annotated[
        str,
        typer.Option(
            help="knee, best:METRIC, expected, expected:METRIC, weights:METRIC=W,METRIC=W, a trial number, or front: "
            "all its members in turn."
        ),
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
    from nas.runs.asked import to_be_retrained
    from nas.studies.picks import all_picked_from
    from nas.timing.watched import watched_retraining

    opened = to_be_retrained(run, overrides or (), data, name)
    chosen = all_picked_from(opened, pick, where)
    results: list[dict[str, Any]] = []
    for picked in chosen:
        with says_what_is_kept(run):
            folder, evaluation = watched_retraining(
                opened, picked, err, inherited=start is InitialWeights.INHERITED, name=name
            )
        results.append(_row(folder, picked, start, evaluation))
        if format is PlainFormat.TABLE:
            _print_retrained(folder, picked, start, evaluation)
    if format is PlainFormat.JSON:
        return print_json(results if pick == "front" else results[0])
    what = f"--front {quote(str(run))}" if pick == "front" else quote(str(folder))
    out.print(f"next: nas export {what} --format tflite   (or onnx, c, torch)", soft_wrap=True, highlight=False)
    if len(results) > 1:
        warn(f"{len(results)} networks have met the test images: choose among them by the search's scores (nas "
             "front), as the best of several test scores overrates its network")  # fmt: skip


def _row(folder: Path, picked: "Pick", start: InitialWeights, evaluation: "Evaluation") -> dict[str, Any]:
    from nas.base.records import to_json

    return {"folder": str(folder), "trial": picked.record.number, "picked": picked.reason, "from": start.value,
            "evaluation": to_json(evaluation)}  # fmt: skip


def _print_retrained(folder: Path, picked: "Pick", start: InitialWeights, evaluation: "Evaluation") -> None:
    from nas.report.evaluations import evaluation_view

    begun = f"retrained from {'scratch' if start is InitialWeights.SCRATCH else 'inherited weights'}"
    out.print(f"[bold]trial {picked.record.number}, {begun}[/bold] ({picked.reason})", soft_wrap=True)
    out.print(evaluation_view(evaluation))
    out.print(
        f"in {folder}: model.safetensors, genotype.json, evaluation.json, curve.csv, curve.png",
        soft_wrap=True,
    )
