"""Candidates on a part of the training images, retrainings on all."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.data.datasets import load_search_data
from nas.runs import retrain, trial
from nas.runs.config import load_config
from tests.tiny_run import nas, write_config

Capture = pytest.CaptureFixture[str]


def test_a_part_of_the_training_images_has_the_classes_in_their_shares_and_memory_of_its_own(tmp_path: Path) -> None:
    data = load_search_data(load_config(write_config(tmp_path)).data)
    part = data.trained_on(40)
    assert len(part.train) == 40
    torch.testing.assert_close(part.train.images, data.train.images[:40], rtol=0, atol=0)
    counts = part.train.labels.bincount(minlength=10)
    assert (counts - data.train.labels.bincount(minlength=10) / 4).abs().max() <= 1
    assert part.train.images.untyped_storage().nbytes() == 40 * 64, "what is sent to a worker is the part alone"
    assert (part.validation, part.mean) == (data.validation, data.mean)
    assert data.trained_on(None) is data


def test_candidates_see_the_part_and_a_retraining_all(
    here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[int]] = {"trial": set(), "retrain": set()}

    def watching(name: str, module: Any) -> None:
        original = module.train_epoch

        def spy(state: Any, data: Any, *rest: Any) -> Any:
            seen[name].add(len(data))
            return original(state, data, *rest)

        monkeypatch.setattr(module, "train_epoch", spy)

    watching("trial", trial)
    watching("retrain", retrain)
    part = ("--set", "search.train_images=80")
    assert nas(capsys, "search", "tiny.yaml", "--run", "part", *part).code == 0
    assert nas(capsys, "retrain", "runs/part", "--pick", "best:robust_accuracy").code == 0
    assert seen == {"trial": {80}, "retrain": {160}}
    checked = json.loads(nas(capsys, "check", "tiny.yaml", "--no-time", *part, "--format", "json").out)
    assert (checked["data"]["train"], checked["data"]["candidate"]) == (160, 80)
    assert "160 training (80 a candidate)" in nas(capsys, "check", "tiny.yaml", "--no-time", *part).out
    assert "a candidate)" not in nas(capsys, "check", "tiny.yaml", "--no-time").out
