"""Verb `evaluate`: a checkpoint again or attacked otherwise, an audit, an exported file."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from nas.base.errors import UsageError
from nas.cli.auditing import audit_network
from nas.cli.exporting import evaluate_file
from nas.cli.options import DataRoot, PlainFormat, SplitName, app, err, out, print_json

_another = partial(typer.Option, rich_help_panel="Another attack")
_audit = partial(typer.Option, rich_help_panel="An audit")


@app.command(epilog="Example: nas evaluate runs/digits/retrained/00017 --steps 100 --restarts 5")
def evaluate(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="NETWORK",
            help="Folder that `nas retrain` made, an exported file, or, with --audit, module:function of yours.",
        ),
    ],
    attack: Annotated[
        str, _another(help="One attack alone: pgd, apgd, square, autoattack, …; the whole ladder when left out.")
    ] = "",
    steps: Annotated[int | None, _another(help="Steps of pgd or apgd.")] = None,
    restarts: Annotated[int | None, _another(help="Restarts of pgd, apgd or square.")] = None,
    step_size: Annotated[str | None, _another(help="Step size of pgd in pixel units, may be written 2/255.")] = None,
    loss: Annotated[str | None, _another(help="Loss of pgd or apgd: cross_entropy, margin, dlr, …")] = None,
    queries: Annotated[int | None, _another(help="Queries of square, of an exported file, too.")] = None,
    audit: Annotated[
        bool, _audit("--audit", help="The whole ladder and every check of trust: a page with the verdict.")
    ] = False,
    html: Annotated[Path | None, _audit(help="Write that page as HTML.")] = None,
    autoattack: Annotated[bool, _audit("--autoattack", help="Add AutoAttack's reference implementation.")] = False,
    transfer_from: Annotated[
        list[Path] | None, _audit(help="Checkpoint whose adversarial images are tried, too; repeatable.")
    ] = None,
    images: Annotated[int | None, _audit(min=10, help="At most so many images.")] = None,
    weights: Annotated[Path | None, _audit(help="safetensors file that fills module:function.")] = None,
    config: Annotated[
        Path | None, _audit(help="Config with the data, threat and attacks that module:function is judged by.")
    ] = None,
    overrides: Annotated[
        list[str] | None, _audit("--set", metavar="FIELD=VALUE", help="Override a field of that config; repeatable.")
    ] = None,
    parent: Annotated[
        Path | None,
        typer.Option(
            help="Checkpoint that it was made of, where that is not beside it.", rich_help_panel="An exported file"
        ),
    ] = None,
    split: SplitName = SplitName.TEST,
    data: DataRoot = None,
    device: str = "auto",
    format: PlainFormat = PlainFormat.TABLE,
) -> None:
    """Repeat the evaluation of a retrained network, attack it otherwise, audit it, or score an exported file.

    A .tflite or .onnx file is scored itself: on clean images, on adversarial ones of its float parent, and by Square.
    """
    from nas.base.machine import available_cores, claim_threads, resolve_device
    from nas.base.records import to_json
    from nas.data.datasets import at_root
    from nas.report.evaluations import evaluation_view
    from nas.report.live import attack_lines
    from nas.runs.checkpoint import evaluate_checkpoint, load_checkpoint, other_attack

    others = {"attack": attack or None, "steps": steps, "restarts": restarts, "step-size": step_size, "loss": loss,
              "queries": queries, "parent": parent}  # fmt: skip
    of_audits = {"html": html, "autoattack": autoattack or None, "transfer-from": transfer_from or None,
                 "images": images, "weights": weights, "config": config, "set": overrides or None}  # fmt: skip
    if audit:
        _refuse(others, "--audit makes the whole ladder of attacks")
        return audit_network(
            subject, weights=weights, config=config, overrides=overrides, autoattack=autoattack, data=data,
            transfer_from=transfer_from, images=images, split=split.value, device=device, html=html, format=format,
        )  # fmt: skip
    _refuse(of_audits, "it is for --audit")
    checkpoint = Path(subject)
    if ":" in subject and not checkpoint.exists():
        raise UsageError(f"{subject}: module:function is judged with --audit")
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


def _refuse(options: Mapping[str, object], why: str) -> None:
    """Raises UsageError where one of `options` is given."""
    given = next((name for name, value in options.items() if value is not None), None)
    if given is not None:
        hint = "; AutoAttack alone is --attack autoattack" if given == "autoattack" else ""
        raise UsageError(f"--{given}: {why}{hint}")
