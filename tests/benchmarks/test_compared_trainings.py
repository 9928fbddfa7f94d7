"""Scripts that compare ways to train quantized and pruned networks: small trainings through each, kept."""

import sys
from pathlib import Path

import pytest

from tests.benchmarks import compared_png, compressed, quantized_robustness
from tests.benchmarks.few_steps import read
from tests.conftest import ROOT

SMALL = (
    "--seeds",
    "1",
    "--steps",
    "2",
    "--set",
    "retrain.epochs=1",
    "--set",
    "data.limit=120",
    "--set",
    "data.test_limit=40",
)


def run(monkeypatch: pytest.MonkeyPatch, script: str, *options: str) -> None:
    module = {"quantized": quantized_robustness, "compressed": compressed}[script]
    config = str(ROOT / "configs" / "digits.yaml")
    monkeypatch.setattr(sys, "argv", [script, config, *options, *SMALL])
    module.main()


def test_bits_and_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "found.jsonl"
    options = ("--out", str(out), "--bits", "float", "W4A4", "--recipes", "natural", "--queries", "3")
    run(monkeypatch, "quantized", *options)
    rows = read(out)
    assert [(row["bits"], row["images"]) for row in rows] == [("float", 40), ("W4A4", 40)]
    assert rows[1]["bytes"] < rows[0]["bytes"] / 4
    assert "transfer" in rows[1]["by_attack"]
    for row in rows:
        assert row["robust"] <= min(row["white"], row["black"]) <= max(row["white"], row["black"]) <= row["natural"]
    run(monkeypatch, "quantized", *options)
    assert read(out) == rows, "what is there is not trained again"
    assert "| own | W4A4 | 8,702 | natural |" in capsys.readouterr().out
    assert compared_png.picture("quantized", {"digits": out, "again": out}).startswith(b"\x89PNG")


def test_a_pruned_network_and_a_dense_one_of_as_many_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found.jsonl"
    options = ("--out", str(out), "--sparsities", "80", "--recipes", "manifold", "--set", "manifold={name: pca}")
    run(monkeypatch, "compressed", *options)
    pruned, dense = read(out)
    assert (pruned["dense"], dense["dense"]) == (False, True)
    assert 0.9 * pruned["bytes"] < dense["bytes"] <= pruned["bytes"]
    assert dense["width"] < pruned["width"]
    assert pruned["manifold"] <= pruned["reconstructed"]
    assert (
        f"| 80 % | manifold | pruned | {pruned['bytes']:,} | {100 * pruned['natural']:.2f} |" in capsys.readouterr().out
    )
    assert compared_png.picture("compressed", {"digits": out}).startswith(b"\x89PNG")


def test_the_points_of_a_picture() -> None:
    rows = [{"robust": value, "recipe": "natural"} for value in (0.1, 0.2, 0.3)]
    assert compared_png.point(rows, "robust") == pytest.approx((0.2, 4.303 * 0.1 / 3**0.5), abs=1e-3)
    assert compared_png.point(rows[:1], "robust") == (0.1, 0.0)
