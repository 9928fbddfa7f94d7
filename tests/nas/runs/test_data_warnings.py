"""What is wrong with the user's images is found by `check`, `search` and `retrain` before any training."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.base.errors import DataError
from nas.base.records import Costs, TrialRecord, TrialState
from nas.data.datasets import load_search_data
from nas.data.facts import check_same_data
from nas.pareto import Pick
from nas.runs import Run
from nas.runs.config import load_config
from nas.runs.retrain import retrain
from tests.builders import evaluation
from tests.nas.data.files import write_image_folder
from tests.tiny_run import TINY, nas, write_config

Capture = pytest.CaptureFixture[str]
FOLDER = TINY.replace(
    "{name: digits, limit: 200, test_limit: 100}",
    "{name: image_folder, root: images, image_size: 8, channels: 1, validation_fraction: 0.3}",
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Current folder with a config and images of three classes."""
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path, FOLDER)
    write_image_folder(tmp_path / "images", {"train": 10, "test": 4})
    return tmp_path


def test_check_prints_the_images_of_each_class(here: Path, capsys: Capture) -> None:
    shutil.rmtree(here / "images" / "test" / "owl")
    ended = nas(capsys, "check", "tiny.yaml", "--no-time")
    assert ended.code == 0
    assert "training / test: cat 10 / 4, dog 10 / 4, owl 10 / 0" in ended.out
    assert "holds no image of owl" in " ".join(ended.err.split())
    facts = json.loads(nas(capsys, "check", "tiny.yaml", "--no-time", "--format", "json").out)
    assert facts["data"]["images_per_class"]["owl"] == {"train": 10, "test": 0}
    assert len(facts["data"]["warnings"]) == 1


def test_check_of_many_classes_prints_the_smallest_and_the_largest(here: Path, capsys: Capture) -> None:
    shutil.rmtree(here / "images")
    names = tuple(f"c{index:02d}" for index in range(25))
    write_image_folder(here / "images", {"train": 4, "test": 1}, classes=names)
    write_image_folder(here / "more", {"train": 9}, classes=("c07",))
    shutil.copytree(here / "more" / "train" / "c07", here / "images" / "train" / "c07" / "more")
    out = nas(capsys, "check", "tiny.yaml", "--no-time").out
    assert "training / test: fewest c00 4 / 1, most c07 13 / 1" in out


def test_check_of_data_whose_test_part_is_unknown_prints_the_training_images(tmp_path: Path, capsys: Capture) -> None:
    out = nas(capsys, "check", write_config(tmp_path), "--no-time").out
    assert "training: 0 20, 1 20" in out


def test_a_search_prints_what_check_prints(here: Path, capsys: Capture) -> None:
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(here / "images" / "train" / "cat" / "black.png")
    (here / "images" / "train" / "dog" / "[a] v2.heic").write_bytes(b"no image")
    checked = nas(capsys, "check", "tiny.yaml", "--no-time").err
    searched = nas(capsys, "search", "tiny.yaml", "--set", "search.trials=1", "--set", "budget.params=1")
    assert searched.code == 2, "the budget is empty: the warnings come before"
    for words in ("dog/[a] v2.heic", "cat/black.png"):
        assert words in checked
        assert words in searched.err


@pytest.mark.parametrize("verb", [("check", "--no-time"), ("search",)])
@pytest.mark.parametrize("change", ["no test folder", "another class"])
def test_a_test_folder_that_cannot_be_used_is_found_before_the_search(
    here: Path, capsys: Capture, verb: tuple[str, ...], change: str
) -> None:
    if change == "no test folder":
        shutil.rmtree(here / "images" / "test")
    else:
        (here / "images" / "test" / "owl").rename(here / "images" / "test" / "Owl")
    ended = nas(capsys, *verb, "tiny.yaml")
    assert ended.code == 2
    words = "no folder" if change == "no test folder" else "has the class folder 'Owl'"
    assert words in ended.message
    assert not (here / "runs").exists()


def test_a_test_folder_that_is_missing_is_found_before_the_retraining(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(here / "run", load_config(here / "tiny.yaml"))
    run.folder.mkdir()
    check_same_data(load_search_data(run.config.data), run.folder / "data.json")
    record = TrialRecord(0, run.space.largest(), 7, TrialState.COMPLETE, Costs(1, 2, 3, 4), evaluation())
    shutil.rmtree(here / "images" / "test")
    monkeypatch.setattr("nas.runs.retrain.train_epoch", lambda *_: pytest.fail("trained"))
    with pytest.raises(DataError, match=r"no folder .*/test.*--data ROOT"):
        retrain(run, Pick(record, "because"), lambda *_: None)
