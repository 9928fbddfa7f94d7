"""Scores after every epoch, from files written by hand to rows and pictures."""

import json
from pathlib import Path

import pytest

from nas.base.errors import UsageError
from nas.report.study_plots import spreads
from nas.report.study_tables import curve_table
from nas.runs.trial_files import CURVE
from nas.studies import curve_rows
from nas.studies.curves import CURVES
from tests.nas.studies.records import trained

RECORDS = [trained(number, width) for number, width in enumerate((0.5, 1.0, 0.5, 1.0))]


def _write(folder: Path, number: int, robust: list[float]) -> None:
    names = [*(name for name, _ in CURVES), "instability", "lipschitz_empirical", "num_images"]
    path = folder / f"{number:05d}" / CURVE
    path.parent.mkdir()
    lines = [{**dict.fromkeys(names, 1.0), "epoch": n, "robust_accuracy": r} for n, r in enumerate(robust, 1)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_row_for_every_trial_and_epoch(tmp_path: Path) -> None:
    for number, robust in ((0, [0.1, 0.3]), (1, [0.2, 0.2]), (2, [0.3, 0.7])):  # trial 3 has no curve
        _write(tmp_path, number, robust)
    rows = curve_rows(RECORDS, tmp_path)
    assert [(row["network"], row["trial"], row["seed"], row["epoch"], row["robust_accuracy"]) for row in rows] == [
        ("W = 0.5", 0, 1000, 1, 0.1), ("W = 0.5", 0, 1000, 2, 0.3),
        ("W = 0.5", 2, 1002, 1, 0.3), ("W = 0.5", 2, 1002, 2, 0.7),
        ("W = 1", 1, 1001, 1, 0.2), ("W = 1", 1, 1001, 2, 0.2),
    ]  # fmt: skip
    assert {frozenset(row) for row in rows} == {
        frozenset(
            {
                "network",
                "trial",
                "seed",
                "width",
                "expand",
                "epoch",
                "instability",
                "lipschitz_empirical",
                "seconds",
                *(n for n, _ in CURVES),
            }
        )
    }
    (name, spread), _ = spreads(rows, "robust_accuracy")
    assert name == "W = 0.5"
    assert spread.loc[2].tolist() == pytest.approx([0.5, 0.3, 0.7]), "mean, lowest, highest"
    assert curve_table(rows, CURVES).row_count == 4


def test_without_curves_it_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"training\.track_every_epoch=true"):
        curve_rows(RECORDS, tmp_path)


def test_a_damaged_curve_is_named_with_what_to_do(tmp_path: Path) -> None:
    _write(tmp_path, 0, [0.1, 0.3])
    path = tmp_path / "00000" / CURVE
    whole = path.read_text()
    path.write_text(whole + '{"epo')  # being written
    assert len(curve_rows(RECORDS, tmp_path)) == 2
    path.write_text(whole.replace("instability", "steadiness"))
    with pytest.raises(UsageError, match=rf"{CURVE}, line 1, is damaged, .*missing.*scores are kept"):
        curve_rows(RECORDS, tmp_path)
