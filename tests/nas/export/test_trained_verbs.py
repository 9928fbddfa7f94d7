"""`nas export` and `nas evaluate FILE` of a network that was trained quantized."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from nas.base.seeding import make_generator
from nas.data.datasets import load_search_data
from nas.networks.build import new_network
from nas.networks.treatments.settings import Quantize
from nas.runs.checkpoint import Checkpoint, save_checkpoint
from nas.training.loop import scored_network, start_training, train_epoch
from tests.nas.export.conftest import DIGITS, SPEC, THREAT, TRAINING
from tests.tiny_run import nas

pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def quantized_folder(trained: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data, treatments = load_search_data(DIGITS), (Quantize(weights=4, activations=4),)
    network = new_network(SPEC, make_generator(0, "weights"), data.mean, data.std, treatments=treatments)
    state = start_training(network, TRAINING, make_generator(0, "training"))
    for _ in range(TRAINING.epochs):
        train_epoch(state, data.train, TRAINING, THREAT)
    scored = scored_network(state, data.train, TRAINING).requires_grad_(False).eval()
    folder = tmp_path_factory.mktemp("quantized") / "run" / "retrained" / "00007"
    folder.mkdir(parents=True)
    save_checkpoint(folder, replace(trained, network=scored, treatments=treatments), {"trial": 7})
    (folder / "evaluation.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("options", "stored"),
    [
        (("--format", "c", "--parity", "0.98"), "packed, 4 bits"),
        (("--int8", "--parity", "0.98"), "integers of 4 bits"),
        (("--format", "tflite", "--parity", "0.9"), "int8, of few levels"),
    ],
)
def test_each_format_says_how_weights_are_stored(
    capsys: Capture, quantized_folder: Path, options: tuple[str, ...], stored: str, tmp_path: Path
) -> None:
    run = shutil.copytree(quantized_folder.parents[1], tmp_path / "run")
    ended = nas(capsys, "export", "--front", run, *options, "--json")
    assert ended.code == 0, ended.err
    (found,) = json.loads(ended.out)
    assert found["stored_weights"] == stored
    assert (found["stored_weight_bytes"] == found["weight_bytes"]) is ("tflite" not in options)
    file = Path(found["file"])
    if file.suffix == ".h":
        assert {path.name for path in file.parent.glob("*.h")} == {"network.h", "robust_tiny.h", "robust_tiny_packed.h"}
        return
    ended = nas(capsys, "evaluate", file, "--queries", "1")
    assert ended.code == 0, ended.err
    assert "against its quantized parent" in ended.out


def test_a_float_file_is_refused(capsys: Capture, quantized_folder: Path) -> None:
    ended = nas(capsys, "export", quantized_folder)
    assert ended.code == 2
    assert "the network is quantized" in ended.message
