"""The table of exported networks (tests/benchmarks/exported.py), on one network."""

from pathlib import Path
from shutil import which

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")
pytestmark = pytest.mark.skipif(which("gcc") is None, reason="no gcc")


def test_tflite_and_c_are_the_simulation_and_sizes_are_those_of_the_files(folder: Path, tmp_path: Path) -> None:
    from tests.benchmarks.exported import row

    found = row(folder, tmp_path / "device")
    assert (found["network"], found["images"]) == ("00007", 359)
    assert found["tflite_equal_logits"] == found["c_equal_logits"] == 1
    assert found["c_agreement"] == found["tflite_agreement"] >= 0.99
    assert found["onnx_agreement"] == 1
    assert found["onnx_int8_units"] <= 4
    files = {"onnx": "model.onnx", "onnx_int8": "model_int8.onnx", "tflite": "model.tflite", "c": "network.h"}
    for name, file in files.items():
        assert found[f"{name}_bytes"] == (tmp_path / "device" / file).stat().st_size
    assert found["counted_int8_bytes"] < found["counted_float_bytes"] < found["onnx_bytes"]
