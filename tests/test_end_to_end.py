"""A real search on real images, in processes of its own: killed, interrupted, out of disk, and gone on with."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from nas.config import load_config
from nas.records import TrialRecord
from nas.search.study import is_trained, read_records
from tests.conftest import ROOT
from tests.tiny_run import call, nas, write_config

TRIALS = 9
SEARCH = ("search", "tiny.yaml", "--set", f"search.trials={TRIALS}")
TWO_WORKERS = ("--set", "search.workers=auto", "--set", "search.executor=processes")
STUDY = Path("runs", "tiny", "study.journal")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


class _Search:
    """A running `nas search`, with its workers if any, in a process group of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.study = folder / STUDY
        self.size = self._size()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nas", *SEARCH, *options], cwd=folder, env=ENVIRONMENT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def _size(self) -> int:
        return self.study.stat().st_size if self.study.exists() else 0

    def wait_for_growth(self, count: int) -> None:
        """Returns when the study has grown by `count` bytes."""
        while self._size() < self.size + count:
            if self.process.poll() is not None:
                raise AssertionError(f"the search ended by itself: {self.process.communicate()}")
            time.sleep(0.01)

    def end(self) -> None:
        """Kills whatever still runs."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


@contextmanager
def _search(folder: Path, *options: str) -> Iterator[_Search]:
    running = _Search(folder, *options)
    try:
        yield running
    finally:
        running.end()


def _written(folder: Path, records: list[TrialRecord]) -> dict[int, int]:
    """When the result of every trained trial was written, by number."""
    trials = folder / "runs" / "tiny" / "trials"
    return {r.number: (trials / f"{r.number:05d}" / "evaluation.json").stat().st_mtime_ns
            for r in records if is_trained(r)}  # fmt: skip


@dataclass
class _Story:
    folder: Path
    seen: list[list[TrialRecord]] = field(default_factory=list)
    """Finished trials at the end of every start."""
    written: dict[int, int] = field(default_factory=dict)
    """When results were first seen written, by number."""
    interrupted: tuple[int, str, str] = (0, "", "")
    """Exit code, stdout and stderr of the start that Ctrl-C ended."""
    finished: int = -1
    """Exit code of the last start."""

    def look(self) -> None:
        self.seen.append(read_records(self.folder / STUDY))
        self.written = _written(self.folder, self.seen[-1]) | self.written


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> _Story:
    """A search that is killed without its workers, interrupted, killed as a group, and then left alone."""
    folder = tmp_path_factory.mktemp("killed")
    write_config(folder)
    rng, story = Random(2026), _Story(folder)
    with _search(folder, *TWO_WORKERS) as running:
        running.wait_for_growth(rng.randrange(12_000, 30_000))
        running.process.kill()
        running.process.wait()
        story.look()
        # The workers may live on for half a second; the next start must bear it.
        with _search(folder, *TWO_WORKERS) as following:
            following.wait_for_growth(rng.randrange(12_000, 30_000))
            os.killpg(following.process.pid, signal.SIGINT)  # as a terminal does
            printed = following.process.communicate()
            story.interrupted = (following.process.returncode, *printed)
            story.look()
    with _search(folder) as running:
        running.wait_for_growth(rng.randrange(12_000, 30_000))
        os.killpg(running.process.pid, signal.SIGKILL)
        running.process.wait()
        story.look()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("nas.crew.available_cores", lambda: 1)
        story.finished = call(SEARCH)
        story.look()
    return story


def test_a_killed_search_ends_with_exactly_the_trials_asked_for(story: _Story) -> None:
    assert story.finished == 0
    assert sum(map(is_trained, story.seen[-1])) == TRIALS
    counts = [len(records) for records in story.seen]
    assert counts == sorted(set(counts)), f"every start should finish something: {counts}"


def test_a_killed_search_trains_no_architecture_twice(story: _Story) -> None:
    counts = Counter(record.genotype.key for record in story.seen[-1] if is_trained(record))
    assert set(counts.values()) == {1}
    final = story.seen[-1]
    assert [record.number for record in final] == list(range(len(final)))
    folders = sorted(int(path.name) for path in (story.folder / "runs" / "tiny" / "trials").iterdir())
    assert folders == [record.number for record in final if is_trained(record)]


def test_no_trial_finished_before_a_kill_is_lost_or_repeated(story: _Story) -> None:
    final = {record.number: record for record in story.seen[-1]}
    for earlier in story.seen:
        for record in earlier:
            assert final[record.number] == record
    now = _written(story.folder, story.seen[-1])
    assert story.written, "nothing was finished before the last start"
    assert all(now[number] == moment for number, moment in story.written.items())


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(story: _Story) -> None:
    code, out, err = story.interrupted
    assert code == 130, err
    assert out == ""
    assert "the same command goes on from there" in " ".join(err.split())
    assert "Traceback" not in err


def test_every_start_is_logged(story: _Story) -> None:
    starts = json.loads((story.folder / "runs" / "tiny" / "environment.json").read_text())
    assert len(starts) == 4
    assert load_config(story.folder / "runs" / "tiny" / "config.yaml").search.trials == TRIALS


def test_retrain_and_evaluate_in_processes_of_their_own_agree(
    story: _Story, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(story.folder)
    command = [sys.executable, "-m", "nas", "retrain", "runs/tiny", "--pick", "best:params", "--format", "json"]
    retrained = subprocess.run(command, env=ENVIRONMENT, text=True, capture_output=True, check=False)
    assert retrained.returncode == 0, retrained.stderr
    result = json.loads(retrained.stdout)
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


@pytest.mark.parametrize("size", [100, 1_000, 2_500, 4_000, 6_000, 7_500, 9_000])
def test_a_full_disk_is_one_message_and_the_search_goes_on_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    write_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nas.crew.available_cores", lambda: 1)
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
