"""Files that are whole or absent, folders with one writer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nas.errors import RunLocked
from nas.files import exclusive, write_atomic, write_json


def test_an_atomic_write_replaces_the_content_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    write_atomic(target, b"old, and longer")
    write_atomic(target, b"new")
    assert target.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_crash_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    target = tmp_path / "a.bin"
    write_atomic(target, b"old")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os if step == "fsync" else Path, step, crash)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(target, b"new")
    monkeypatch.undo()
    assert target.read_bytes() == b"old"
    write_atomic(target, b"next")  # what the crash left behind is not in the way
    assert target.read_bytes() == b"next"


def test_content_is_on_disk_before_the_name_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (done.append("fsync"), fsync(descriptor)))
    monkeypatch.setattr(Path, "replace", lambda self, target: (done.append("replace"), replace(self, target)))
    write_atomic(tmp_path / "a", b"x")
    assert done == ["fsync", "replace"]


def test_json_survives_exactly(tmp_path: Path) -> None:
    data = {"third": 1 / 3, "tiny": 5e-324, "text": "ε ≤ 8/255", "list": [1, None, True]}
    write_json(tmp_path / "a.json", data)
    assert json.loads((tmp_path / "a.json").read_text()) == data


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_refuses_what_json_cannot_say_and_keeps_the_old_file(tmp_path: Path, value: float) -> None:
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"loss": value})
    assert json.loads((tmp_path / "a.json").read_text()) == 1


def test_a_second_writer_is_refused_with_the_name_of_the_folder(tmp_path: Path) -> None:
    with exclusive(tmp_path), pytest.raises(RunLocked, match=tmp_path.name), exclusive(tmp_path):
        raise AssertionError("two writers at once")


def test_the_right_to_write_comes_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="boom"), exclusive(tmp_path):
        raise RuntimeError("boom")
    with exclusive(tmp_path):
        pass


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from nas.files import exclusive\n"
        "with exclusive(Path(sys.argv[1])): print('held', flush=True); os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.returncode) == ("held\n", -9)
    with exclusive(tmp_path):
        pass


def test_the_lock_holds_between_processes(tmp_path: Path) -> None:
    imports = "import sys; from pathlib import Path; from nas.files import exclusive"
    code = f"{imports}; exclusive(Path(sys.argv[1])).__enter__()"
    with exclusive(tmp_path):
        ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "RunLocked" in ended.stderr
