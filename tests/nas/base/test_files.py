"""Files that are whole or absent, folders with one writer."""

import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from nas.base.errors import RunLocked, UsageError
from nas.base.files import exclusive, read_json, read_json_lines, write_atomic, write_json


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


@pytest.mark.parametrize("content", ["", "{", '{"other": 1}', "[]", "7", '{"epoch": "x"}'])
def test_json_that_is_damaged_or_of_another_version_is_named_with_what_to_do(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"a\.json is damaged, or of another version .*; remove it, the rest is kept"):
        read_json(path, lambda data: int(data["epoch"]), "remove it, the rest is kept")


def test_lines_of_json_are_read_up_to_the_one_that_is_being_written(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    assert read_json_lines(path, dict, "") == []
    path.write_text('{"epoch": 1}\n\n{"epoch": 2}\n{"epo')
    assert read_json_lines(path, lambda data: data["epoch"], "") == [1, 2]
    path.write_text('{"epoch": 1}\n{"step": 2}\n')
    with pytest.raises(UsageError, match=r"a\.jsonl, line 2, is damaged.*'epoch' is missing.*; remove it"):
        read_json_lines(path, lambda data: data["epoch"], "remove it")


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
        "import os, sys; from pathlib import Path; from nas.base.files import exclusive\n"
        "with exclusive(Path(sys.argv[1])): print('held', flush=True); os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.returncode) == ("held\n", -9)
    with exclusive(tmp_path):
        pass


def test_the_lock_holds_between_processes(tmp_path: Path) -> None:
    imports = "import sys; from pathlib import Path; from nas.base.files import exclusive"
    code = f"{imports}; exclusive(Path(sys.argv[1])).__enter__()"
    with exclusive(tmp_path):
        ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "RunLocked" in ended.stderr


@pytest.mark.parametrize("linked", [False, True], ids=["pipe", "link to a pipe"])
def test_a_pipe_is_written_into_and_stays_a_pipe(tmp_path: Path, linked: bool) -> None:
    pipe, path = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    path.symlink_to(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_atomic(path if linked else pipe, b"content")
    assert os.read(reader, 100) == b"content"
    os.close(reader)
    assert pipe.is_fifo()
    assert path.is_symlink()


def test_a_device_is_written_into_and_stays_a_device(tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    os.set_blocking(controller, False)
    link = tmp_path / "link"  # never the device's own name: as root, code that renames would destroy it
    link.symlink_to(os.ttyname(terminal))
    write_atomic(link, b"content")
    assert os.read(controller, 100) == b"content"
    assert stat.S_ISCHR(link.stat().st_mode)
    assert link.is_symlink()
    os.close(controller)
    os.close(terminal)


def test_a_symbolic_link_is_followed_and_kept(tmp_path: Path) -> None:
    target, link, dangling = tmp_path / "folder" / "a.bin", tmp_path / "link", tmp_path / "dangling"
    target.parent.mkdir()
    target.write_bytes(b"old")
    link.symlink_to(Path("folder", "a.bin"))
    dangling.symlink_to(Path("folder", "new.bin"))
    write_atomic(link, b"new")
    write_atomic(dangling, b"first")
    assert (link.is_symlink(), dangling.is_symlink()) == (True, True)
    assert (target.read_bytes(), (target.parent / "new.bin").read_bytes()) == (b"new", b"first")
    assert {entry.name for entry in tmp_path.rglob("*")} == {"folder", "a.bin", "new.bin", "link", "dangling"}


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o755])
def test_a_file_that_is_written_again_keeps_its_permission_bits(tmp_path: Path, mode: int) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    target.chmod(mode)
    write_atomic(target, b"new")
    assert (target.read_bytes(), stat.S_IMODE(target.stat().st_mode)) == (b"new", mode)


@pytest.mark.parametrize("to", ["file", "pipe"])
def test_standard_output_by_name_gets_the_content_in_order(tmp_path: Path, to: str) -> None:
    link = tmp_path / "stdout"  # as /dev/stdout is; never that one: as root, code that renames would destroy it
    link.symlink_to("/proc/self/fd/1")
    code = (
        "import sys; from pathlib import Path; from nas.base.files import write_atomic\n"
        "print('before'); write_atomic(Path(sys.argv[1]), b'content\\n'); print('after')"
    )
    command = [sys.executable, "-c", code, str(link)]
    if to == "pipe":
        printed = subprocess.run(command, capture_output=True, check=True).stdout
    else:
        with (tmp_path / "a.txt").open("wb") as file:
            subprocess.run(command, stdout=file, check=True)
        printed = (tmp_path / "a.txt").read_bytes()
    assert printed == b"before\ncontent\nafter\n"
    assert link.is_symlink()
