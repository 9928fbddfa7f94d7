"""Verbs about one network: retrain, evaluate, audit."""

import dataclasses
import sys
from contextlib import redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nas.base.errors import UsageError
from nas.cli.ending import says_what_is_kept
from nas.cli.exporting import evaluate_file
from nas.cli.options import (
    DataRoot,
    Overrides,
    PlainFormat,
    RunPath,
    SplitName,
    Where,
    app,
    err,
    out,
    print_json,
    write,
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


@app.command(epilog="Example: nas evaluate runs/digits/retrained/00017 --steps 100 --restarts 5")
def evaluate(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="Folder that `nas retrain` made, or an exported file.")
    ],
    attack: Annotated[
        str, typer.Option(help="One attack alone: pgd, apgd, square, autoattack, …; the whole ladder when left out.")
    ] = "",
    steps: Annotated[int | None, typer.Option(help="Steps of pgd or apgd.")] = None,
    restarts: Annotated[int | None, typer.Option(help="Restarts of pgd, apgd or square.")] = None,
    step_size: Annotated[
        str | None, typer.Option(help="Step size of pgd in pixel units, may be written 2/255.")
    ] = None,
    loss: Annotated[str | None, typer.Option(help="Loss of pgd or apgd: cross_entropy, margin, dlr, …")] = None,
    queries: Annotated[int | None, typer.Option(help="Queries of square.")] = None,
    parent: Annotated[
        Path | None, typer.Option(help="Checkpoint that an exported file was made of, where it is not beside it.")
    ] = None,
    split: SplitName = SplitName.TEST,
    data: DataRoot = None,
    device: str = "auto",
    format: PlainFormat = PlainFormat.TABLE,
) -> None:
    """Repeat the evaluation of a retrained network from its files, attack it otherwise, or score an exported file.

    A .tflite or .onnx file is scored itself: on clean images, on adversarial ones of its float parent, and by Square.
    """
    from nas.base.machine import available_cores, claim_threads, resolve_device
    from nas.base.records import to_json
    from nas.data.datasets import at_root
    from nas.report.evaluations import evaluation_view
    from nas.report.live import attack_lines
    from nas.runs.checkpoint import evaluate_checkpoint, load_checkpoint, other_attack

    changes = {"steps": steps, "restarts": restarts, "step_size": step_size, "loss": loss}
    if checkpoint.is_file():
        if attack or any(value is not None for value in changes.values()) or device != "auto":
            raise UsageError("an exported file is scored by its parent's protocol; of the attacks, only --queries")
        return evaluate_file(checkpoint, parent, queries, split, data, format)
    if parent is not None:
        raise UsageError(f"--parent is for exported files, and {checkpoint} is no file")
    loaded = load_checkpoint(checkpoint)
    loaded = dataclasses.replace(loaded, data=at_root(loaded.data, data))
    changes["queries"] = queries
    changed = other_attack(loaded.evaluation.attack, attack, {k: v for k, v in changes.items() if v is not None})
    claim_threads(available_cores())
    with err.status(f"evaluating on the {split.value} images …"):
        found = evaluate_checkpoint(
            loaded, split_name=split.value, attack=changed, device=resolve_device(device), report=attack_lines(err)
        )
    print_json(to_json(found)) if format is PlainFormat.JSON else out.print(evaluation_view(found))


@app.command(epilog="Example: nas audit runs/digits/retrained/00017 --html audit.html")
def audit(
    subject: Annotated[
        str, typer.Argument(metavar="NETWORK", help="Folder that `nas retrain` made, or module:function of yours.")
    ],
    weights: Annotated[Path | None, typer.Option(help="safetensors file that fills module:function.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="Config with the data, threat and attacks that module:function is judged by.")
    ] = None,
    overrides: Overrides = None,
    autoattack: Annotated[bool, typer.Option(help="Add AutoAttack's reference implementation.")] = False,
    transfer_from: Annotated[
        list[Path] | None, typer.Option(help="Checkpoint whose adversarial images are tried, too; repeatable.")
    ] = None,
    images: Annotated[int | None, typer.Option(min=10, help="At most so many images.")] = None,
    split: SplitName = SplitName.TEST,
    data: DataRoot = None,
    device: str = "auto",
    html: Annotated[Path | None, typer.Option(help="Write the page as HTML.")] = None,
    format: PlainFormat = PlainFormat.TABLE,
) -> None:
    """Attack one network with the whole ladder and question the result: a page with the verdict."""
    from nas.base.machine import available_cores, claim_threads, resolve_device
    from nas.base.records import to_json
    from nas.data.datasets import at_root
    from nas.report.evaluations import audit_html, audit_view
    from nas.report.live import attack_lines
    from nas.runs.audit import audit as run_audit
    from nas.runs.audit import checkpoint_subject, function_subject
    from nas.runs.config import load_config

    with redirect_stdout(sys.stderr):  # their code may print, and our result alone belongs on stdout
        if ":" in subject and not Path(subject).exists():
            if config is None:
                raise UsageError(
                    f"{subject} needs --config CONFIG: the data, the threat model and the attacks to judge it by"
                )
            judged_by = load_config(config, overrides or ())
            judged_by = judged_by.model_copy(update={"data": at_root(judged_by.data, data)})
            chosen = function_subject(subject, weights, judged_by)
        elif weights or config or overrides:
            raise UsageError("--weights, --config and --set are for module:function; a checkpoint brings its own")
        else:
            chosen = checkpoint_subject(Path(subject), data)
    claim_threads(available_cores())
    with redirect_stdout(sys.stderr), err.status(f"auditing {chosen.name} on the {split.value} images …"):
        found = run_audit(
            chosen, split_name=split.value, device=resolve_device(device), images=images, autoattack=autoattack,
            transfer_from=transfer_from or (), report=attack_lines(err),
        )  # fmt: skip
    if html:
        write(html, audit_html(found, chosen.name).encode())
    if format is PlainFormat.JSON:
        return print_json({"network": chosen.name, "trusted": not found.failed_checks, "evaluation": to_json(found)})
    out.print(audit_view(found, chosen.name))
