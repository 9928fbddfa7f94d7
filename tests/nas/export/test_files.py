"""ONNX and PyTorch files against the float network; metadata; what cannot be written or read says why."""

import ast
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas.attacks.result import chunked_logits
from nas.base.errors import CheckpointError, UsageError
from nas.base.files import write_json
from nas.data.domain import Domain
from nas.data.split import Split
from nas.export.exporting import export, facts_of
from nas.export.formats import FORMATS, NAMES, format_of
from nas.export.integers import IntNetwork, to_levels, to_reals
from nas.export.onnx_files import onnx_float, onnx_int8
from nas.export.packages import needed
from nas.export.quantize import quantized
from nas.export.running import opened, simulated_view
from nas.export.simulate import simulated
from nas.networks.plain import plain_of
from nas.networks.treatments import Quantize
from nas.runs.checkpoint import DESCRIPTION, Checkpoint
from tests.builders import torch_threads
from tests.conftest import ROOT
from tests.nas.export.test_integer_network import NETWORKS, images_for

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")
each_format = pytest.mark.parametrize("kind", FORMATS.values(), ids=lambda kind: kind.file_name)


def run_onnx(content: bytes, x: torch.Tensor) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(content, options).run(None, {"image": x.numpy()})[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_of_every_kind_of_block(name: str) -> None:
    network = NETWORKS[name]().eval()
    x, plain = images_for(network), plain_of(network)
    with torch.no_grad():
        wanted = network(x).numpy()
    spread = float(wanted.std())
    assert np.abs(run_onnx(onnx_float(plain, {}), x) - wanted).max() < 1e-4 * max(spread, 1)
    integers = quantized(plain, images_for(network, 40, 1))
    reals = to_reals(simulated(integers, to_levels(x.numpy())), integers.grids[-1])
    assert np.abs(run_onnx(onnx_int8(integers, {}), x) - reals).max() <= 8 * integers.grids[-1].scale


def test_float_files_of_real_images_are_the_network(trained: Checkpoint, folder: Path, images: Split) -> None:
    with torch.no_grad():
        wanted = trained.network(images.inputs())
    for name in ("onnx", "torch"):
        found = export(trained, folder, FORMATS[name, False])
        assert found.agreement == 1
        assert found.logit_difference < 1e-4
        assert found.accuracy == found.checkpoint_accuracy == float((wanted.argmax(1) == images.labels).double().mean())


@each_format
def test_every_file_predicts_as_its_checkpoint(kind: object, trained: Checkpoint, folder: Path) -> None:
    found = export(trained, folder, kind)  # type: ignore[arg-type]
    assert found.file.stat().st_size == found.file_bytes
    assert found.num_images == 360 - 1
    assert found.agreement >= 0.99
    assert abs(found.accuracy - found.checkpoint_accuracy) <= 0.01
    assert found.checkpoint_accuracy > 0.8, "the network of these tests has learned its digits"
    assert found.file_bytes > found.weight_bytes


def test_qdq_is_near_the_integer_network(
    integers: IntNetwork, images: Split, trained: Checkpoint, folder: Path
) -> None:
    export(trained, folder, FORMATS["onnx", True])
    x = images.inputs()
    onnx, own = opened(folder / "model_int8.onnx").logits(x), simulated_view(integers).logits(x)
    assert float((onnx.argmax(1) == own.argmax(1)).double().mean()) >= 0.99
    assert float((onnx - own).abs().max()) <= 4 * integers.grids[-1].scale


def test_the_tflite_view_gives_the_logits_of_the_simulation(
    integers: IntNetwork, images: Split, trained: Checkpoint, folder: Path
) -> None:
    export(trained, folder, FORMATS["tflite", True])
    x = images.inputs()[:50]
    assert torch.equal(opened(folder / "model.tflite").logits(x), simulated_view(integers).logits(x))


def test_several_threads_may_ask_a_file(trained: Checkpoint, folder: Path, images: Split) -> None:
    x = images.inputs()[:64]
    for kind in (FORMATS["tflite", True], FORMATS["onnx", True]):
        view = opened(export(trained, folder, kind).file)
        alone = view.logits(x)
        with torch_threads(3):
            assert torch.equal(chunked_logits(view, x), alone)


def test_the_torch_file_is_read_without_this_project(trained: Checkpoint, folder: Path, images: Split) -> None:
    found = export(trained, folder, FORMATS["torch", False])
    source = folder / "robust_tiny_torch.py"
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert {name.split(".")[0] for name in imported} == {"json", "typing", "torch", "safetensors"}
    spec = importlib.util.spec_from_file_location("robust_tiny_torch", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.load(str(found.file))
    with torch.no_grad():
        assert torch.allclose(network(images.inputs()), trained.network(images.inputs()), atol=1e-4)
    assert json.loads(network.facts["genotype"]) == {"width": 0.5}


@pytest.mark.parametrize("kind", [key for key in FORMATS if key[0] in ("onnx", "tflite")], ids=str)
def test_files_say_what_they_are(kind: tuple[str, bool], trained: Checkpoint, folder: Path) -> None:
    facts = opened(export(trained, folder, FORMATS[kind]).file).facts
    assert facts == facts_of(trained, folder, kind[1])
    assert facts["data_licence"] == "licence of the data unknown"
    assert json.loads(facts["threat"]) == {"norm": "linf", "epsilon": 0.1}
    assert json.loads(facts["scores"])["robust_accuracy"] == 0.25
    assert json.loads(facts["class_names"]) == list(map(str, range(10)))


def test_a_checkpoint_without_an_evaluation_has_no_scores(trained: Checkpoint, tmp_path: Path) -> None:
    assert facts_of(trained, tmp_path, True)["scores"] == "{}"


@pytest.mark.parametrize(
    ("training", "words"),
    [
        ({"method": "trades"}, "while quantized"),
        ({"method": "madry", "natural_until": 0.5}, "after quantizing (natural training until 50%, "
                                                     "quantized from 0% on)"),
        ({"method": "natural"}, "never"),
        (None, "unknown"),
    ],
)  # fmt: skip
def test_a_quantized_file_says_when_robustness_was_trained(
    training: dict[str, Any] | None, words: str, trained: Checkpoint, tmp_path: Path
) -> None:
    if training is not None:
        write_json(tmp_path / DESCRIPTION, {"training": training})
    facts = facts_of(replace(trained, treatments=(Quantize(),)), tmp_path, True)
    assert facts["robustness_trained"] == words
    assert "robustness_trained" not in facts_of(trained, tmp_path, True)


def test_the_formats() -> None:
    assert NAMES == ("onnx", "tflite", "c", "torch")
    assert format_of("onnx", False).file_name == "model.onnx"
    assert format_of("onnx", True).file_name == "model_int8.onnx"
    assert format_of("tflite", False) is format_of("tflite", True)
    with pytest.raises(UsageError, match="torch is float only: leave out --int8"):
        format_of("torch", True)
    with pytest.raises(UsageError, match=r"unknown format 'coreml' \(allowed: onnx, tflite, c, torch\)"):
        format_of("coreml", False)


@pytest.mark.parametrize(
    ("module", "kind"),
    [("onnx", ("onnx", False)), ("flatbuffers", ("tflite", True)), ("ai_edge_litert.interpreter", ("tflite", True))],
)
def test_a_missing_package_names_its_extra(
    module: str, kind: tuple[str, bool], trained: Checkpoint, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=r"needs the package .* pip install '\.\[export\]'"):
        export(trained, folder, FORMATS[kind])


def test_every_package_of_the_extra_is_imported_when_it_is_needed_only() -> None:
    assert needed("json") is json
    for path in (ROOT / "nas").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"onnx", "onnxruntime", "ai_edge_litert", "flatbuffers"}


@pytest.mark.parametrize("name", ["x.tflite", "x.onnx"])
def test_damaged_files_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        opened(tmp_path / name)
    (tmp_path / name).write_bytes(b"no network, but some bytes that are long enough")
    with pytest.raises(CheckpointError, match="damaged"):
        opened(tmp_path / name)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no exported network \(known: \.tflite, \.onnx\)"):
        opened(tmp_path / "network.pt")


def test_an_exported_network_has_no_gradient(integers: IntNetwork) -> None:
    with pytest.raises(UsageError, match="has no gradient"):
        simulated_view(integers).gradient(torch.zeros(1, 1, 8, 8), lambda logits: logits)


def test_networks_of_other_domains_are_refused(
    trained: Checkpoint, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moved(checkpoint: Checkpoint, name: str) -> Split:
        return replace(Split(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(2).long()), domain=Domain(-1, 1))

    monkeypatch.setattr("nas.export.exporting.images_of", moved)
    with pytest.raises(UsageError, match=r"pixels in \[0, 1\]"):
        export(trained, folder, FORMATS["onnx", False])
