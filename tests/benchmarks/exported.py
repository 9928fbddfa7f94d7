"""The retrained networks of a run as files: their bytes beside the counted ones, and what each file predicts.

    nas search configs/digits.yaml && nas retrain runs/digits --pick front   (docs/export.md: with which settings)
    python -m tests.benchmarks.exported runs/digits device/ > export.csv

Every file is written by `nas export` and run on all test images: ONNX by ONNX Runtime, TFLite by LiteRT's reference
kernels, C as gcc compiles it. One row for each network.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from nas.export.exporting import Exported, export, integers_of, retrained_in
from nas.export.formats import FORMATS
from nas.export.integers import to_levels
from nas.export.running import opened
from nas.export.simulate import simulated
from nas.networks.plain import plain_of
from nas.runs.checkpoint import images_of, load_checkpoint
from tests.nas.export.compiled import run_c

FILES = {"onnx": ("onnx", False), "onnx_int8": ("onnx", True), "tflite": ("tflite", True), "c": ("c", True)}
"""Formats (nas/export/formats.py) by the names of their columns."""


def row(folder: Path, target: Path) -> dict[str, Any]:
    """Sizes, accuracies and equal predictions of the network in `folder`, whose files go to `target`."""
    checkpoint = load_checkpoint(folder)
    found = {name: export(checkpoint, folder, FORMATS[key], target / FORMATS[key].file_name)
             for name, key in FILES.items()}  # fmt: skip
    integers, x = integers_of(checkpoint, plain_of(checkpoint.network)), images_of(checkpoint, "test").inputs()
    grid, levels = integers.grids[-1], to_levels(x.numpy())
    wanted = simulated(integers, levels)
    with torch.no_grad():
        own = checkpoint.network(x).argmax(1)
    tflite, onnx = (
        _levels(opened(found[name].file).logits(x), grid.scale, grid.zero) for name in ("tflite", "onnx_int8")
    )
    with tempfile.TemporaryDirectory() as build:
        c, classes = run_c(found["c"].file.parent, levels, Path(build))
    one = found["tflite"]
    return {
        "network": folder.name, "params": sum(map(torch.Tensor.numel, checkpoint.network.parameters())),
        "images": len(x), "counted_float_bytes": found["onnx"].weight_bytes, "counted_int8_bytes": one.weight_bytes,
        **{f"{name}_bytes": made.file_bytes for name, made in found.items()},
        "arena_bytes": one.arena_bytes, "peak_activation_bytes": one.peak_activation_bytes,
        "float_accuracy": one.checkpoint_accuracy, **_each(found, "accuracy"), **_each(found, "agreement"),
        "c_agreement": float((torch.from_numpy(classes.astype(np.int64)) == own).double().mean()),
        "tflite_equal_logits": float((tflite == wanted).mean()), "c_equal_logits": float((c == wanted).mean()),
        "onnx_int8_units": int(np.abs(onnx.astype(int) - wanted).max()), "logit_unit": grid.scale,
        "margin": one.margin, "differing_margin": one.differing_margin,
    }  # fmt: skip


def _each(found: dict[str, Exported], field: str) -> dict[str, float]:
    """A field of the files that are run by other programs; C is run here."""
    return {f"{name}_{field}": getattr(one, field) for name, one in found.items() if name != "c"}


def _levels(logits: torch.Tensor, scale: float, zero: int) -> np.ndarray[Any, Any]:
    return np.rint(logits.numpy() / scale + zero).astype(np.int64)


def main() -> None:
    """Prints the table as CSV."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("run", type=Path)
    parser.add_argument("target", type=Path, help="folder for the files")
    chosen = parser.parse_args()
    rows = [row(folder, chosen.target / folder.name) for folder in retrained_in(chosen.run)]
    pd.DataFrame(rows).round(6).to_csv(sys.stdout, index=False)


if __name__ == "__main__":
    main()
