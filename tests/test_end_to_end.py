"""A real search on real images, in processes of its own: interrupted, out of disk, and gone on with."""

import json
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from nas.data.datasets import load_search_data
from nas.runs import Run, open_run
from nas.search.finished import is_trained, read_records
from tests.left_behind import Left, flaws, look, violations
from tests.running import nas_process, wait_for
from tests.terminal import Terminal, nas_in_terminal
from tests.tiny_run import call, nas, write_config

TRIALS = 9
SEARCH = ("search", "tiny.yaml", "--set", f"search.trials={TRIALS}")
RUN = Path("runs", "tiny")
STUDY = RUN / "study.journal"


@dataclass
class _Story:
    folder: Path
    interrupted: Left
    """What Ctrl-C left."""
    said: tuple[int, str, str]
    """Exit code, stdout and stderr of the start that Ctrl-C ended."""
    ended: Left
    """What the next start left, which ended by itself."""

    @property
    def run(self) -> Run:
        return open_run(self.folder / RUN)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> _Story:
    """A search with two workers that is interrupted, and gone on with by one; kills: tests/benchmarks/test_kills.py."""
    folder = tmp_path_factory.mktemp("interrupted")
    write_config(folder)
    with nas_process(folder, *SEARCH, "--set", "search.workers=auto", "--set", "search.executor=processes") as running:
        wait_for(lambda: _size(folder / STUDY) > 20_000, running)
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does
        out, err = running.communicate()
    interrupted, _ = look(folder / RUN)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("nas.runs.placement.available_cores", lambda: 1)
        assert call(SEARCH) == 0
    return _Story(folder, interrupted, (running.returncode, out, err), look(folder / RUN)[0])


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_an_interrupted_search_loses_nothing_and_trains_nothing_twice(story: _Story) -> None:
    assert 0 < story.interrupted.spent(1) < TRIALS == story.ended.spent(1)
    assert violations(story.interrupted, story.ended) == []
    assert flaws(story.run, story.ended, load_search_data(story.run.config.data)) == []


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(story: _Story) -> None:
    code, out, err = story.said
    assert code == 130, err
    assert out == ""
    assert "the same command goes on from there" in " ".join(err.split())
    assert "Traceback" not in err


ENDS: dict[str, Callable[[Terminal], object]] = {
    "three times Ctrl-C": lambda terminal: [terminal.press("\x03") or time.sleep(0.2) for _ in range(3)],
    "SIGTERM to all its processes": lambda terminal: os.killpg(terminal.process.pid, signal.SIGTERM),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_search_in_a_terminal_ends_in_order(tmp_path: Path, end: str) -> None:
    write_config(tmp_path)
    endless = ("training.epochs=100000", "search.executor=processes", "search.workers=auto")
    settings = [word for text in endless for word in ("--set", text)]
    with nas_in_terminal(tmp_path, "search", "tiny.yaml", *settings) as terminal:
        wait_for(lambda: "trial 0 epoch " in "".join(terminal.lines), terminal.process, pause=0.1, limit=120)
        ENDS[end](terminal)
        code, lines = terminal.ended()
    left = " ".join(lines).replace("^C", "").split()
    assert code == (130 if "Ctrl-C" in end else 143)
    assert " ".join(left) == "stopped; everything finished is kept in runs/tiny, the same command goes on from there"
    assert not (tmp_path / RUN / "trials" / "00000" / "error.txt").exists(), "no candidate is blamed"


def test_every_start_is_logged(story: _Story) -> None:
    starts = json.loads((story.folder / RUN / "environment.json").read_text())
    assert len(starts) == 2
    assert story.run.config.search.trials == TRIALS


def test_retrain_and_evaluate_in_processes_of_their_own_agree(
    story: _Story, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(story.folder)
    with nas_process(story.folder, "retrain", str(RUN), "--pick", "best:params", "--format", "json") as retraining:
        printed, said = retraining.communicate()
    assert retraining.returncode == 0, said
    result = json.loads(printed)
    assert result["evaluation"]["split"] == "test"
    repeated = nas(capsys, "evaluate", result["folder"], "--format", "json")
    assert json.loads(repeated.out) == result["evaluation"]


@contextmanager
def _disk_of(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes: writes fail, some after a part was written, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [100, 2_500, 6_000, 9_000])
def test_a_full_disk_is_one_message_and_the_search_goes_on_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    write_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nas.runs.placement.available_cores", lambda: 1)
    with _disk_of(size):
        full = nas(capsys, "search", "tiny.yaml")
    assert full.code == 1, full.err
    assert full.message.count("\n") == 1
    assert "File too large" in full.message
    before = read_records(STUDY) if STUDY.exists() and STUDY.stat().st_size > 200 else []
    resumed = nas(capsys, "search", "tiny.yaml")
    assert resumed.code == 0, resumed.err
    after = read_records(STUDY)
    assert after[: len(before)] == before
    assert sum(map(is_trained, after)) == 3
    assert len({record.genotype.key for record in after if is_trained(record)}) == 3


@pytest.mark.parametrize("obstacle", ["a file named runs", "a file named runs/tiny", "a place nobody may write"])
def test_an_impossible_run_folder_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    write_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    if obstacle == "a file named runs":
        Path("runs").write_text("mine")
    elif obstacle == "a file named runs/tiny":
        Path("runs").mkdir()
        Path("runs", "tiny").write_text("mine")
    else:
        Path("runs").symlink_to("/proc")
    ended = nas(capsys, "search", "tiny.yaml")
    assert ended.code in (1, 2)
    assert ended.message.count("\n") == 1
    assert "runs" in ended.message
    assert ended.out == ""
