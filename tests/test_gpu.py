"""The main job on a GPU. `NAS_TEST_DEVICE=cpu pytest tests/test_gpu.py` makes the same tests on the CPU."""

import json
import os
from pathlib import Path

import pytest
import torch

from nas.runs import open_run
from tests.builders import tiny_images, tiny_network
from tests.tiny_run import Ended, nas, write_config

DEVICE = os.environ.get("NAS_TEST_DEVICE", "cuda")
Capture = pytest.CaptureFixture[str]
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def run(capsys: Capture, *arguments: str) -> Ended:
    ended = nas(capsys, *arguments)
    assert ended.code == 0, ended.err
    return ended


def test_search_front_retrain_and_evaluate(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = str(write_config(tmp_path))
    run(capsys, "search", config, "--set", f"device={DEVICE}")
    records = open_run(Path("runs/tiny")).records
    assert [record.state.value for record in records] == ["complete"] * 3
    run(capsys, "retrain", "runs/tiny", "--pick", "0")
    (checkpoint,) = Path("runs/tiny/retrained").iterdir()
    kept = json.loads((checkpoint / "evaluation.json").read_text())
    again = json.loads(run(capsys, "evaluate", str(checkpoint), "--device", DEVICE, "--format", "json").out)
    assert again["natural_accuracy"] == pytest.approx(kept["natural_accuracy"], abs=0.011)
    on_cpu = json.loads(run(capsys, "evaluate", str(checkpoint), "--device", "cpu", "--format", "json").out)
    for name in ("natural_accuracy", "robust_accuracy"):
        assert on_cpu[name] == pytest.approx(kept[name], abs=0.03), "of 100 images, those at the border may differ"


@pytest.mark.parametrize(
    "change",
    [
        "training={method: madry, attack: {steps: 1, start: noise}, epochs: 4}",
        "training={method: trades, attack: {steps: 1, start: carried}, epochs: 4}",
        "training={method: madry, attack: {steps: 1, start: universal}, consistency: 10, epochs: 4}",
        "training={method: trades, attack: {steps: 2, start: normal, precision: bfloat16}, epochs: 4}",
        "training={method: natural, epochs: 4}",
    ],
)
def test_every_kind_of_training(change: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = str(write_config(tmp_path))
    run(capsys, "search", config, "--set", f"device={DEVICE}", "--set", change, "--set", "search.trials=1")
    (record,) = open_run(Path("runs/tiny")).records
    assert record.evaluation is not None


def test_a_supernet_is_trained_and_its_subnets_are_scored(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = str(write_config(tmp_path))
    run(capsys, "search", config, "--set", f"device={DEVICE}", "--set", "search.evaluator=supernet")
    assert all(record.evaluation is not None for record in open_run(Path("runs/tiny")).records)


def test_candidates_share_the_device(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = str(write_config(tmp_path))
    shared = ("--set", "search.workers=2", "--set", "search.executor=processes", "--set", "search.trials=4")
    run(capsys, "search", config, "--set", f"device={DEVICE}", *shared)
    assert len([record for record in open_run(Path("runs/tiny")).records if record.evaluation]) >= 4


def test_logits_are_those_of_the_cpu() -> None:
    network = tiny_network().eval()
    x = tiny_images(40).inputs()
    with torch.no_grad():
        expected = network(x)
        found = network.to(DEVICE)(x.to(DEVICE)).cpu()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
