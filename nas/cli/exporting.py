"""Verb `export`, and `evaluate` of what it wrote."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.base.errors import CheckpointError, UsageError
from nas.cli.options import DataRoot, PlainFormat, SplitName, app, err, out, print_json

if TYPE_CHECKING:
    from nas.export.exporting import Exported


@app.command(epilog="Example: nas export runs/digits/retrained/00017 --format tflite")
def export(
    checkpoint: Annotated[
        Path | None, typer.Argument(metavar="CHECKPOINT", help="Folder that `nas retrain` made.")
    ] = None,
    front: Annotated[
        Path | None, typer.Option(metavar="RUN", help="In place of CHECKPOINT: all retrained networks of a run.")
    ] = None,
    kind: Annotated[
        str, typer.Option("--format", help="onnx, tflite (int8), c (int8) or torch (safetensors and a loader).")
    ] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="ONNX as integers, calibrated on training images.")] = False,
    target: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Where to write; a folder with --front. Default: the checkpoint's."),
    ] = None,
    parity: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Smallest share of equal predictions; below it the exit code is 1. [0.99]"),
    ] = None,
    images: Annotated[int | None, typer.Option(min=10, help="Compare on so many images only.")] = None,
    split: SplitName = SplitName.TEST,
    data: DataRoot = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write a retrained network as a file for a device, and compare the two on real images."""
    from nas.data.datasets import at_root
    from nas.export.exporting import PARITY, retrained_in
    from nas.export.exporting import export as run_export
    from nas.export.formats import format_of
    from nas.export.texts import exported_view
    from nas.runs.checkpoint import load_checkpoint

    if (checkpoint is None) == (front is None):
        raise UsageError("export needs a CHECKPOINT folder, or --front RUN for all retrained networks of a run")
    chosen, needed = format_of(kind, int8), PARITY if parity is None else parity
    results: list[Exported] = []
    for folder in [checkpoint] if checkpoint is not None else retrained_in(front or Path()):
        loaded = load_checkpoint(folder)
        loaded = dataclasses.replace(loaded, data=at_root(loaded.data, data))
        path = target / folder.name / chosen.file_name if front and target else target
        with err.status(f"exporting {folder} …"):
            results.append(run_export(loaded, folder, chosen, path, split.value, images))
        if not as_json:
            out.print(exported_view(results[-1], needed))
    if as_json:
        print_json([_row(found) for found in results] if front else _row(results[0]))
    if below := [found for found in results if found.agreement < needed]:
        worst = min(below, key=lambda found: found.agreement)
        raise CheckpointError(
            f"{len(below)} of {len(results)} files predict otherwise than their checkpoint on more images than "
            f"{1 - needed:.1%} ({worst.file}: {1 - worst.agreement:.1%}); they are written, but not what "
            "was evaluated: `nas evaluate FILE` scores them, --parity accepts less, --format onnx keeps float32 (c and "
            "onnx --int8 are nearest to a quantized network)"
        )


def _row(found: "Exported") -> dict[str, Any]:
    return {**dataclasses.asdict(found), "file": str(found.file)}


def evaluate_file(
    path: Path,
    parent: Path | None,
    queries: int | None,
    split: SplitName,
    data: Path | None,
    format: PlainFormat,
) -> None:
    """Scores the exported file at `path` against its `parent` (default: the checkpoint beside it), and prints."""
    from nas.base.machine import available_cores, claim_threads
    from nas.data.datasets import at_root
    from nas.export.exporting import check_parent
    from nas.export.judge import judged
    from nas.export.running import opened
    from nas.export.texts import scores_view
    from nas.runs.checkpoint import RESULT, load_checkpoint

    file, folder = opened(path), parent or path.parent
    try:
        loaded = load_checkpoint(folder)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; {path} is judged beside its float parent: name it with --parent") from error
    check_parent(loaded, file.facts, folder)
    loaded = dataclasses.replace(loaded, data=at_root(loaded.data, data))
    claim_threads(available_cores())
    with err.status("evaluating …") as status:
        scores = judged(
            file, loaded, split_name=split.value, queries=queries, report=lambda name: status.update(f"{name} …")
        )
    if format is PlainFormat.JSON:
        return print_json({"file": str(path), **dataclasses.asdict(scores)})
    out.print(scores_view(scores, path.name, file.facts, _ladder(folder / RESULT, split.value)))


def _ladder(path: Path, split_name: str) -> float | None:
    """Robust accuracy in an evaluation.json of the same split; None where there is none."""
    try:
        found = json.loads(path.read_bytes())
        return float(found["robust_accuracy"]) if found["split"] == split_name else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
