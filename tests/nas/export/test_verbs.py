"""`nas export` and `nas evaluate FILE` as a user calls them."""

import json
import shutil
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from nas.base.records import Interval
from nas.export.exporting import Exported
from nas.export.formats import FORMATS
from nas.export.judge import UNSEEN, FileRung, FileScores
from nas.export.running import ForwardView
from nas.export.texts import exported_view, scores_view
from nas.runs.checkpoint import images_of, load_checkpoint
from tests.tiny_run import nas

pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")
Capture = pytest.CaptureFixture[str]


def test_export_prints_sizes_parity_memory_and_operators(capsys: Capture, folder: Path) -> None:
    ended = nas(capsys, "export", folder, "--format", "tflite")
    assert ended.code == 0, ended.err
    size = (folder / "model.tflite").stat().st_size
    assert f"size         {size:,} bytes; weights as counted: " in ended.out
    assert "on 359 test images (needed: 99%)" in ended.out
    assert "accuracy     checkpoint 0." in ended.out
    assert "bytes of tensors; as counted: " in ended.out
    assert "FULLY_CONNECTED 1" in ended.out


def test_export_as_json_to_a_file_of_ones_own(capsys: Capture, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "a" / "mine.onnx"
    ended = nas(
        capsys, "export", folder, "--int8", "--out", target, "--split", "validation", "--images", "100", "--json"
    )
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert found["file"] == str(target)
    assert target.exists()
    assert found["is_int8"]
    assert found["split"] == "validation"
    assert found["num_images"] == 100
    assert found["agreement"] >= 0.99
    assert (found["differing_margin"] is None) == (found["agreement"] == 1)


@pytest.mark.parametrize("options", [(), ("--int8",), ("--format", "tflite"), ("--format", "c"), ("--format", "torch")])
def test_every_format_as_json(capsys: Capture, folder: Path, options: tuple[str, ...]) -> None:
    ended = nas(capsys, "export", folder, *options, "--images", "20", "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert found["file_bytes"] == Path(found["file"]).stat().st_size
    assert (found["arena_bytes"] is None) == (not {"tflite", "c"} & set(options))


def test_all_networks_of_a_run(capsys: Capture, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, folder.with_name("00009-named"))
    ended = nas(capsys, "export", "--front", tmp_path / "run", "--format", "c", "--out", tmp_path / "device", "--json")
    assert ended.code == 0, ended.err
    assert [found["is_int8"] for found in json.loads(ended.out)] == [True, True]
    for name in ("00007", "00009-named"):
        written = {path.name for path in (tmp_path / "device" / name).iterdir()}
        assert written == {"network.h", "robust_tiny.h"}
    header = (tmp_path / "device" / "00007" / "network.h").read_text()
    assert ' * genotype: {"width": 0.5}' in header


def test_a_run_without_retrained_networks(capsys: Capture, tmp_path: Path) -> None:
    ended = nas(capsys, "export", "--front", tmp_path)
    assert ended.code == 2
    assert "no retrained network" in ended.message


def test_a_checkpoint_or_a_run(capsys: Capture, folder: Path, tmp_path: Path) -> None:
    for arguments in ([], [folder, "--front", tmp_path]):
        ended = nas(capsys, "export", *arguments)
        assert ended.code == 2
        assert "needs a CHECKPOINT folder, or --front RUN" in ended.message


def test_a_file_that_predicts_otherwise_ends_with_1(
    capsys: Capture, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(path: Path, _: object) -> ForwardView:
        return ForwardView(lambda x: torch.eye(10)[torch.zeros(len(x)).long()], {})

    monkeypatch.setitem(FORMATS, ("onnx", False), replace(FORMATS["onnx", False], run=wrong))
    ended = nas(capsys, "export", folder)
    assert ended.code == 1
    assert "1 of 1 files predict otherwise than their checkpoint on more images than 1.0%" in ended.message
    assert (folder / "model.onnx").exists()
    found = json.loads(nas(capsys, "export", folder, "--parity", "0.05", "--json").out)
    checkpoint = load_checkpoint(folder)
    with torch.no_grad():
        logits = checkpoint.network(images_of(checkpoint, "test").inputs())
    best, second = logits.topk(2).values.T
    assert found["margin"] == pytest.approx(float((best - second).median()), rel=1e-4)
    assert found["differing_margin"] == pytest.approx(float((best - second)[logits.argmax(1) != 0].max()), rel=1e-4)


def test_evaluate_scores_the_file_itself(capsys: Capture, folder: Path) -> None:
    assert nas(capsys, "export", folder, "--format", "tflite").code == 0
    ended = nas(capsys, "evaluate", folder / "model.tflite", "--queries", "1", "--format", "json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert found["num_images"] == 359
    assert found["robust_accuracy"] < found["natural_accuracy"]
    assert found["ladder"][-1]["attack"]["queries"] == 1


def test_evaluate_of_a_file_elsewhere_needs_its_parent(capsys: Capture, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "model_int8.onnx"
    assert nas(capsys, "export", folder, "--int8", "--out", target).code == 0
    ended = nas(capsys, "evaluate", target)
    assert ended.code == 1
    assert "name it with --parent" in ended.message
    ended = nas(capsys, "evaluate", target, "--parent", folder, "--queries", "1", "--split", "test")
    assert ended.code == 0, ended.err
    assert "against the float network under the same" in ended.out
    assert "made on the parent" in ended.out
    assert "the float network's whole ladder" not in ended.out, "the stored evaluation is of other images"


def test_a_file_of_other_weights_is_refused(capsys: Capture, folder: Path) -> None:
    assert nas(capsys, "export", folder).code == 0
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file({name: values + (name == "classifier.bias") for name, values in weights.items()},
              folder / "model.safetensors")  # fmt: skip
    ended = nas(capsys, "evaluate", folder / "model.onnx")
    assert ended.code == 1
    assert "is not what the file was made of" in ended.message


def test_options_that_do_not_apply_are_refused(capsys: Capture, folder: Path) -> None:
    (folder / "x.onnx").write_bytes(b"")
    ended = nas(capsys, "evaluate", folder / "x.onnx", "--attack", "pgd")
    assert ended.code == 2
    assert "only --queries" in ended.message
    ended = nas(capsys, "evaluate", folder, "--parent", folder)
    assert ended.code == 2
    assert "--parent is for exported files" in ended.message


def test_scores_at_80_columns() -> None:
    pgd = {"name": "pgd", "steps": 20, "step_size": 0.025, "restarts": 1, "loss": "cross_entropy"}
    rungs = (
        FileRung({"name": "transfer", "attack": pgd}, 353, 41, 0.8691, 0.8719),
        FileRung({"name": "borrowed", "attack": pgd}, 312, 1, 0.8664, 0.8719),
        FileRung({"name": "square", "queries": 5000, "restarts": 1}, 311, 2, 0.8607, 0.8579),
    )
    scores = FileScores(
        "test", 359, {"norm": "linf", "epsilon": 0.1}, 0.9833, Interval(0.96, 0.99), 0.8607, Interval(0.82, 0.89),
        0.9805, 0.8579, rungs, (UNSEEN,),
    )  # fmt: skip
    console = Console(width=80, file=StringIO())
    console.print(scores_view(scores, "model.tflite", {"precision": "int8"}, 0.8552))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    words = " ".join(text.replace("│", " ").split())
    for shown in ("0.8607 (95 % interval 0.8200 – 0.8900), +0.0028", "natural +0.0028", "upper bound", "0.8552"):
        assert shown in words, shown
    for shown in ("gradients", "made", "5000", "int8", "float", "353", "0.8664"):
        assert shown in text, shown


def test_everything_is_seen_at_80_columns() -> None:
    operators = ("CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED", "PAD")
    found = Exported(
        Path("runs/a_rather_long_name/retrained/00017-named/model.tflite"), True, 123_456, 98_765, "validation",
        10_000, 0.98765, 0.8123, 0.8101, 0.43, 1.25, 0.0625, operators * 9, 65_536, 61_440,
    )  # fmt: skip
    console = Console(width=80, file=StringIO())
    console.print(exported_view(found, 0.99))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    for shown in (
        "model.tflite",
        "98.77%",
        "10000 validation images",
        *operators,
        "65,536",
        "61,440",
        "at most 0.062 apart (median of all images: 1.2)",
    ):
        assert shown in " ".join(text.split()), shown
