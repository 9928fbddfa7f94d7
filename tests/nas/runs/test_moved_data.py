"""A retrained network and data that have moved or changed: found again with --data, or refused with the difference."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from nas.attacks import Pgd
from nas.attacks.threat import ThreatModel
from nas.base.errors import DataError, UsageError
from nas.data.datasets import at_root, load_search_data
from nas.data.settings import Digits, ImageFolder
from nas.evaluation import EvaluationSettings
from nas.runs.checkpoint import Checkpoint, images_of, save_checkpoint
from tests.builders import TINY_LADDER, tiny_network
from tests.nas.data.files import write_image_folder
from tests.nas.runs.test_data_warnings import FOLDER
from tests.tiny_run import nas, write_config

Capture = pytest.CaptureFixture[str]
CLASSES = ("cat", "dog", "owl")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Current folder with `images` and a checkpoint in `net` that was trained on them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nas.base.machine.available_cores", lambda: 1)
    write_image_folder(Path("images"), {"train": 10, "test": 4})
    save_checkpoint(Path("net"), checkpoint(), {})
    return tmp_path


def checkpoint() -> Checkpoint:
    network = tiny_network(input_shape=(3, 8, 8), num_classes=3).requires_grad_(False).eval()
    evaluation = EvaluationSettings(attack=Pgd(steps=1), batch_size=64, ladder=TINY_LADDER)
    data = ImageFolder(name="image_folder", root=Path("images"), image_size=8, validation_fraction=0.3)
    name = load_search_data(data).fingerprint
    Path("net").mkdir(exist_ok=True)
    return Checkpoint(network, {}, CLASSES, data, ThreatModel(epsilon=0.1), evaluation, 0, name)


EVALUATE = ("evaluate", "net", "--attack", "fgsm", "--device", "cpu", "--format", "json")
AUDIT = ("evaluate", "--audit", "net", "--images", "10", "--device", "cpu", "--format", "json")


@pytest.mark.parametrize("verb", [EVALUATE, AUDIT])
def test_moved_data_are_found_with_one_option_and_test_images_need_no_training_images(
    here: Path, capsys: Capture, verb: tuple[str, ...]
) -> None:
    before = nas(capsys, *verb)
    assert before.code == 0, before.err
    Path("images").rename("moved")
    shutil.rmtree("moved/train")
    refused = nas(capsys, *verb)
    assert refused.code == 2
    assert "--data ROOT" in refused.message
    found = nas(capsys, *verb, "--data", "moved")
    assert (found.code, found.out) == (0, before.out)


@pytest.mark.parametrize("parts", [("train", "test"), ("test",), ("train",)])
@pytest.mark.parametrize("verb", [EVALUATE, AUDIT])
@pytest.mark.parametrize(("change", "words"), [
    ("rename", ("emu is no class", "dog is missing")), ("remove", ("dog is missing",)), ("add", ("yak is no class",)),
])  # fmt: skip
def test_other_classes_are_refused_with_the_difference(
    here: Path, capsys: Capture, verb: tuple[str, ...], parts: tuple[str, ...], change: str, words: tuple[str, ...]
) -> None:
    for part in parts:
        folder = here / "images" / part
        if change == "rename":
            (folder / "dog").rename(folder / "emu")
        elif change == "remove":
            shutil.rmtree(folder / "dog")
        else:
            shutil.copytree(folder / "dog", folder / "yak")
    ended = nas(capsys, *verb)
    if (change, parts) == ("remove", ("test",)):  # the labels of the others are right: said with the numbers
        assert ended.code == 0
        found = json.loads(ended.out)
        assert "no image of 1 of 3 classes (dog)" in found.get("evaluation", found)["warnings"]
        return
    assert ended.code == 2
    assert all(word in ended.message for word in words)


def test_validation_images_of_another_training_are_refused(here: Path) -> None:
    same = images_of(checkpoint(), "validation")
    assert len(same) == 9
    other = dataclasses.replace(checkpoint(), data_fingerprint="0" * 16)
    with pytest.raises(DataError, match="images it was trained on may be among them"):
        images_of(other, "validation")
    images_of(dataclasses.replace(checkpoint(), data_fingerprint=None), "validation")  # an older checkpoint
    assert torch.equal(images_of(other, "test").labels, images_of(checkpoint(), "test").labels)


def test_images_of_another_shape_are_refused(here: Path) -> None:
    grey = checkpoint().data.model_copy(update={"channels": 1})
    with pytest.raises(DataError, match=r"the images are 1×8×8 .*, the network takes 3×8×8"):
        images_of(dataclasses.replace(checkpoint(), data=grey), "test")


@pytest.mark.parametrize("change", ["shape", "classes"])
def test_a_source_of_transferred_images_must_be_of_the_same_images(here: Path, capsys: Capture, change: str) -> None:
    own = checkpoint()
    other = dataclasses.replace(own, class_names=("cat", "dog", "yak"))
    if change == "shape":
        other = dataclasses.replace(own, network=tiny_network(input_shape=(1, 8, 8), num_classes=3))
    Path("other").mkdir()
    save_checkpoint(Path("other"), other, {})
    ended = nas(capsys, *AUDIT, "--transfer-from", "other")
    assert ended.code == 2
    words = "other is a network for images of shape (1, 8, 8)" if change == "shape" else "has owl and lacks yak"
    assert words in ended.message


def test_embedded_data_have_no_other_place() -> None:
    digits = Digits(name="digits")
    assert at_root(digits, None) is digits
    with pytest.raises(UsageError, match="embedded"):
        at_root(digits, Path("elsewhere"))


def test_a_retraining_finds_its_data_in_another_place_and_refuses_other_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nas.base.machine.available_cores", lambda: 1)
    write_image_folder(Path("images"), {"train": 20, "test": 4})
    assert nas(capsys, "search", write_config(tmp_path, FOLDER), "--set", "search.trials=1").code == 0
    Path("images").rename("moved")
    verb = ("retrain", "runs/tiny", "--pick", "0", "--format", "json")
    refused = nas(capsys, *verb)
    assert (refused.code, "--data ROOT" in refused.message) == (2, True)
    shutil.copytree("moved", "other")
    for part in ("train", "test"):
        Path(f"other/{part}/dog").rename(f"other/{part}/emu")
    refused = nas(capsys, *verb, "--data", "other")
    assert refused.code == 2
    assert "has emu and lacks dog" in refused.message
    ended = nas(capsys, *verb, "--data", "moved")
    assert ended.code == 0, ended.err
    described = json.loads(Path("runs/tiny/retrained/00000/genotype.json").read_text())
    assert (described["data"]["root"], described["data"]["classes"]) == ("moved", list(CLASSES))
    again = nas(capsys, "evaluate", "runs/tiny/retrained/00000", "--format", "json")
    assert json.loads(again.out) == json.loads(ended.out)["evaluation"]
