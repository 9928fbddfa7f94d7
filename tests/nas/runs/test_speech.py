"""A run on recordings, through the verbs."""

import json
from pathlib import Path

import pytest

from nas.base.errors import ConfigError
from nas.runs.config import load_config
from tests.nas.data.files import write_speech_folder
from tests.tiny_run import TINY, call, nas, write_config

SPEECH = TINY.replace(
    "{name: digits, limit: 200, test_limit: 100}",
    "{name: speech_folder, root: words, sample_rate: 8000, seconds: 0.25}",
)
WAVEFORM = ("--set", "evaluation.threats.wave={acts_on: waveforms, epsilon: 0.01}")


def test_a_run_scores_and_shows_the_threat_on_waveforms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = write_config(tmp_path, SPEECH)
    write_speech_folder(tmp_path / "words", {"train": 20, "validation": 6, "test": 4})
    checked = nas(capsys, "check", config, "--no-time", *WAVEFORM)
    assert checked.code == 0
    assert "1×11×10" in checked.out
    assert "left 26 / 4, right 26 / 4, stop 26 / 4" in checked.out
    assert call(["search", config, *WAVEFORM]) == 0
    shown = json.loads(nas(capsys, "show", "runs/tiny", "0", "--format", "json").out)["evaluation"]
    assert shown["num_images"] == 18
    assert shown["by_threat"]["wave"]["threat"] == {"acts_on": "waveforms", "norm": "linf", "epsilon": 0.01}
    text = " ".join(nas(capsys, "show", "runs/tiny", "0").out.split())
    assert "wave: linf ε = 0.01 of the waveform, −40.0 dB of full scale" in text
    (tmp_path / "words" / "testing_list.txt").unlink()
    assert "have changed" not in nas(capsys, "front", "runs/tiny").err, "fronts need no recordings"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("threat: {acts_on: waveforms, epsilon: 0.01}", "put this threat under evaluation.threats"),
        ("training: {augmentation: {flip: true, crop_padding: 0}}", "training.augmentation.flip: True is not for this"),
        ("training: {epochs: 1}", "takes time_shift; set it to 0"),
        ("retrain: {augmentation: {crop_padding: 2}}", "retrain.augmentation.crop_padding: 2 is not for this data set"),
    ],
)
def test_what_makes_no_sense_for_recordings_is_refused(tmp_path: Path, text: str, words: str) -> None:
    name = text.partition(":")[0]
    kept = "\n".join(part for part in _parts(SPEECH) if not part.startswith(name + ":"))
    with pytest.raises(ConfigError, match=words):
        load_config(write_config(tmp_path, f"{kept}\n{text}\n"))


def test_images_take_no_time_shift(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="takes crop_padding, flip; set it to 0"):
        load_config(write_config(tmp_path), ("training.augmentation.time_shift=3",))


def _parts(text: str) -> list[str]:
    """Top-level fields of a config, each with its lines."""
    parts: list[str] = []
    for line in text.splitlines():
        if line.startswith(" "):
            parts[-1] += "\n" + line
        else:
            parts.append(line)
    return parts
