"""Verbs about one network: retrain, evaluate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.options import Overrides, PlainFormat, RunPath, SplitName, app, err, out, print_json
from nas.errors import UsageError

if TYPE_CHECKING:
    pass


@app.command(epilog="Example: nas retrain runs/digits --pick best:robust_accuracy")
def retrain(
    run: RunPath,
    pick: Annotated[
        str, typer.Option(help="knee, best:METRIC, weights:METRIC=W,METRIC=W, or a trial number.")
    ] = "knee",
    overrides: Overrides = None,
    format: PlainFormat = PlainFormat.TABLE,
) -> None:
    """Train a picked network from scratch for long, then evaluate it once on the test set."""
    from nas.config import load_config
    from nas.pareto import pick as pick_rule
    from nas.records import to_json
    from nas.report.live import retraining_progress
    from nas.report.tables import evaluation_view
    from nas.retrain import retrain as run_retrain
    from nas.runs import Run, open_run

    opened = open_run(run)
    if overrides:
        beyond = [text for text in overrides if not text.startswith(("retrain.", "device="))]
        if beyond:
            raise UsageError(f"retrain can override retrain.* and device only, got {beyond[0]}")
        opened = Run(run, load_config(run / "config.yaml", overrides))
    picked = pick_rule(pick, opened.front(), opened.records)
    err.print(f"retraining trial {picked.record.number} ({picked.reason})", soft_wrap=True)
    for warning in picked.record.evaluation.warnings if picked.record.evaluation else ():
        err.print(f"[yellow]warning of trial {picked.record.number}: {warning}[/yellow]", soft_wrap=True)
    with retraining_progress(err) as report:
        folder, evaluation = run_retrain(opened, picked, report)
    if format is PlainFormat.JSON:
        return print_json({"folder": str(folder), "trial": picked.record.number, "picked": picked.reason,
                            "evaluation": to_json(evaluation)})  # fmt: skip
    out.print(f"[bold]trial {picked.record.number}, retrained[/bold] ({picked.reason})", soft_wrap=True)
    out.print(evaluation_view(evaluation))
    out.print(
        f"in {folder}: model.safetensors, genotype.json, evaluation.json, curve.csv, curve.png",
        soft_wrap=True,
    )


@app.command(epilog="Example: nas evaluate runs/digits/retrained/00017 --steps 100 --restarts 5")
def evaluate(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="Folder that `nas retrain` made.")],
    attack: Annotated[str, typer.Option(help="pgd or fgsm; the checkpoint's own when left out.")] = "",
    steps: Annotated[int | None, typer.Option(help="Steps of pgd.")] = None,
    restarts: Annotated[int | None, typer.Option(help="Restarts of pgd.")] = None,
    step_size: Annotated[
        str | None, typer.Option(help="Step size of pgd in pixel units, may be written 2/255.")
    ] = None,
    split: SplitName = SplitName.TEST,
    device: str = "auto",
    format: PlainFormat = PlainFormat.TABLE,
) -> None:
    """Repeat the evaluation of a retrained network from its files, or attack it otherwise."""
    from nas.checkpoint import evaluate_checkpoint, load_checkpoint, other_attack
    from nas.machine import resolve_device
    from nas.records import to_json
    from nas.report.tables import evaluation_view

    loaded = load_checkpoint(checkpoint)
    changes = {"steps": steps, "restarts": restarts, "step_size": step_size}
    changed = other_attack(loaded.evaluation.attack, attack, {k: v for k, v in changes.items() if v is not None})
    with err.status(f"evaluating on the {split.value} images …"):
        found = evaluate_checkpoint(loaded, split_name=split.value, attack=changed, device=resolve_device(device))
    print_json(to_json(found)) if format is PlainFormat.JSON else out.print(evaluation_view(found))
