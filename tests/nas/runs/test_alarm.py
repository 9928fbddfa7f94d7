"""An alarm is told with the candidate, the retrained network and the supernet whose training it has changed."""

import json
from pathlib import Path

import pytest

from nas.runs import open_run
from nas.training.alarm import Gap
from tests.tiny_run import TINY, nas, write_config

Capture = pytest.CaptureFixture[str]
ONCE = TINY.replace("attack: {steps: 2, step_size: 0.05}\n  epochs", "attack: {steps: 1}\n  epochs")


@pytest.fixture
def open_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every attack of a single step is found to be overfitted, no other is."""

    def gap(_view: object, _images: object, attack: object, *_: object) -> Gap:
        return Gap(20, 19 if attack.steps == 1 else 1)  # type: ignore[attr-defined]

    monkeypatch.setattr("nas.training.alarm.WARM_UP", 0)
    for module in ("nas.training.loop", "nas.assets.supernet.training"):
        monkeypatch.setattr(f"{module}.measure_gap", gap)


def test_candidate_checkpoint_and_its_evaluation_say_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, open_gap: None
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_config(tmp_path, ONCE)
    assert nas(capsys, "search", path).code == 0
    scored = [record.evaluation for record in open_run(Path("runs/tiny")).records if record.evaluation]
    assert {found.fidelity for found in scored} == {"front"}, "scored on three rungs, one after the other"
    for found in scored:
        (said,) = [text for text in found.warnings if "overfitted" in text]
        assert said.startswith("the training overfitted its own attack in epoch 1: 95% of the held-out images")
        assert said.endswith("its steps raised to 2")
    lines = [json.loads(line) for line in Path("runs/tiny/trials/00000/log.jsonl").read_text().splitlines()]
    assert [(line["attack_steps"], line["undone"]) for line in lines] == [(2, [0.95])]
    assert "overfitted its own attack" in " ".join(nas(capsys, "show", "runs/tiny", "0").out.split())

    assert nas(capsys, "retrain", "runs/tiny", "--pick", "0").code == 0
    folder = Path("runs/tiny/retrained/00000")
    stored = json.loads((folder / "evaluation.json").read_bytes())
    assert any("overfitted its own attack in epoch 1" in text for text in stored["warnings"])
    again = json.loads(nas(capsys, "evaluate", folder, "--format", "json").out)
    assert again["warnings"] == stored["warnings"]
    assert ",attack_steps," in (folder / "curve.csv").read_text().splitlines()[0]


def test_a_supernet_is_watched_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, open_gap: None
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_config(tmp_path, ONCE + "supernet: {epochs: 2, subnets: 1}\n")
    assert nas(capsys, "search", path, "--set", "search.evaluator=supernet").code == 0
    lines = [json.loads(line) for line in Path("runs/tiny/supernet/log.jsonl").read_text().splitlines()]
    assert [(line["attack_steps"], line["undone"]) for line in lines] == [(2, [0.95]), (2, [])]


@pytest.mark.parametrize("start", ["noise", "carried", "universal"])
def test_a_supernet_may_start_its_attacks_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, start: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_config(tmp_path, ONCE + f"supernet: {{epochs: 2, attack: {{steps: 1, start: {start}}}}}\n")
    assert nas(capsys, "search", path, "--set", "search.evaluator=supernet").code == 0
