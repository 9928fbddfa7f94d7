"""A run with a further threat, through the verbs."""

import json
from pathlib import Path

import pytest

from tests.tiny_run import call, nas, write_config

FURTHER = ("--set", "evaluation.threats.l2.norm=l2", "--set", "evaluation.threats.l2.epsilon=0.5")


def test_a_run_scores_and_shows_a_further_threat_and_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert call(["search", config, *FURTHER]) == 0
    shown = json.loads(nas(capsys, "show", "runs/tiny", "0", "--format", "json").out)["evaluation"]
    score = shown["by_threat"]["l2"]
    assert score["threat"] == {"norm": "l2", "epsilon": 0.5}
    assert shown["threat"]["norm"] == "linf"
    assert score["num_images"] == shown["num_images"]
    assert "l2: l2 ε = 0.5" in nas(capsys, "show", "runs/tiny", "0").out
    row = json.loads(nas(capsys, "front", "runs/tiny", "--format", "json").out)[0]
    assert row["by_threat"].keys() == {"l2"}
    assert "evaluation.threats.l2" in nas(capsys, "search", config).message, "other scores than those of the run"


def test_a_radius_beyond_the_images_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    ended = nas(capsys, "search", config, *FURTHER[:3], "evaluation.threats.l2.epsilon=50")
    assert "evaluation.threats.l2.epsilon: 50 is more than the largest distance" in ended.message
    assert not (tmp_path / "runs/tiny/trials").exists()
