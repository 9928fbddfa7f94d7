"""Retraining with a teacher: from the command, with its name in the record, refused where it does not fit."""

import json
from pathlib import Path

import pytest

from tests.tiny_run import nas

Capture = pytest.CaptureFixture[str]


def test_a_retraining_learns_from_another_and_says_so(here: Path, capsys: Capture) -> None:
    assert nas(capsys, "retrain", "runs/tiny", "--pick", "best:robust_accuracy", "--name", "teacher").code == 0
    (teacher,) = Path("runs/tiny/retrained").glob("*-teacher")
    taught = (
        "retrain",
        "runs/tiny",
        "--pick",
        "best:params",
        "--name",
        "taught",
        "--set",
        f"retrain.teacher={teacher}",
    )
    alone = ("retrain", "runs/tiny", "--pick", "best:params", "--name", "alone")
    assert nas(capsys, *taught).code == 0
    assert nas(capsys, *alone).code == 0
    found = {name: next(Path("runs/tiny/retrained").glob(f"*-{name}")) for name in ("taught", "alone")}
    weights = {name: (folder / "model.safetensors").read_bytes() for name, folder in found.items()}
    assert weights["taught"] != weights["alone"]
    described = json.loads((found["taught"] / "genotype.json").read_text())
    assert described["training"]["teacher"] == str(teacher)
    again = nas(capsys, *taught)
    assert again.code == 0, "what is finished is read"
    moved = teacher.rename(teacher.with_name("elsewhere"))
    assert nas(capsys, *taught).code == 0, "without its teacher, too"
    assert nas(capsys, *taught[:6], "--set", f"retrain.teacher={moved}").code == 0, "or with the same one elsewhere"
    moved.rename(teacher)
    other = nas(capsys, *taught[:6], "--set", "retrain.teacher=null")
    assert other.code == 1
    assert "retrain.teacher was" in other.message


def test_a_teacher_that_is_missing_or_of_other_images_is_refused(here: Path, capsys: Capture) -> None:
    missing = nas(capsys, "retrain", "runs/tiny", "--pick", "knee", "--set", "retrain.teacher=runs/none")
    assert missing.code != 0
    assert "runs/none" in missing.message
    assert nas(capsys, "retrain", "runs/tiny", "--pick", "knee", "--name", "stranger").code == 0
    (teacher,) = Path("runs/tiny/retrained").glob("*-stranger")
    described = json.loads((teacher / "genotype.json").read_text())
    described["class_names"][0] = "cat"
    (teacher / "genotype.json").write_text(json.dumps(described))
    other = ("retrain", "runs/tiny", "--pick", "knee", "--name", "other", "--set", f"retrain.teacher={teacher}")
    refused = nas(capsys, *other)
    assert (refused.code, "images of other classes" in refused.message) == (2, True)


def test_a_half_done_retraining_goes_on_where_its_teacher_has_moved(
    here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert nas(capsys, "retrain", "runs/tiny", "--pick", "best:params", "--name", "guide").code == 0
    (teacher,) = Path("runs/tiny/retrained").glob("*-guide")
    command = ("retrain", "runs/tiny", "--pick", "best:params", "--name", "guided", "--set")

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("nas.runs.retrain._finish", stop)
        assert nas(capsys, *command, f"retrain.teacher={teacher}").code != 0
    moved = teacher.rename(teacher.with_name("moved"))
    assert nas(capsys, *command, f"retrain.teacher={moved}").code == 0


@pytest.mark.parametrize("field", ["consistency", "label_smoothing"])
def test_what_a_teacher_replaces_is_refused(here: Path, capsys: Capture, field: str) -> None:
    refused = nas(capsys, "retrain", "runs/tiny", "--pick", "knee", "--set", "retrain.teacher=runs/none",
                  "--set", f"retrain.{field}=0.5")  # fmt: skip
    assert refused.code == 2
    assert f"set retrain.{field} to 0" in refused.message
