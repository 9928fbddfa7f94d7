"""A table with known answers: four epochs, two seeds, robust accuracy a rising function of width and expand ratio."""

from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from tests.tiny_run import TINY, write_config

EPOCHS = 4
CONFIG = (
    TINY.replace("epochs: 1", f"epochs: {EPOCHS}")
    .replace("  divisor: 4", "  divisor: 4\n  tie: both")
    .replace("width_multipliers: [0.5, 1.0]", "width_multipliers: [0.5, 0.75, 1.0]")
    .replace("search: {trials: 3", "objectives: [robust_accuracy, params]\nsearch: {trials: 6")
)
WIDTHS, EXPANDS = (0.5, 0.75, 1.0), (1, 2, 3, 4)


def rows() -> pd.DataFrame:
    """What `nas study curves --format csv` would print; the second seed is 0.02 more robust."""
    return pd.DataFrame(
        {
            "network": "", "trial": 0, "seed": 10 + seed, "width": width, "expand": expand, "epoch": epoch,
            "natural_accuracy": 0.9,
            "robust_accuracy": (width / 2 + expand / 20) * epoch / EPOCHS + 0.02 * seed,
            "instability": 0.1, "seconds": 2.0 * width,
        }
        for seed, width, expand, epoch in product(range(2), WIDTHS, EXPANDS, range(1, EPOCHS + 1))
    )  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with tiny.yaml and table.csv, as current folder."""
    write_config(tmp_path, CONFIG)
    rows().to_csv(tmp_path / "table.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path
