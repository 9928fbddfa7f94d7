"""What proves that a search lost nothing sees it where something is lost, done again or wrong."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from nas.base.records import TrialState
from nas.data.datasets import SearchData, load_search_data
from nas.runs import Run, open_run
from nas.search.finished import is_trained
from tests.benchmarks.kills import CONFIG
from tests.left_behind import Left, flaws, look, mark, violations
from tests.tiny_run import call


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a search that ended by itself."""
    folder = tmp_path_factory.mktemp("ended")
    (folder / "killed.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("nas.runs.placement.available_cores", lambda: 1)
        assert call(["search", "killed.yaml", "--set", "search.trials=6", "--set", "search.executor=in_process"]) == 0
    return folder / "runs" / "killed"


@pytest.fixture(scope="module")
def data(ended: Path) -> SearchData:
    return load_search_data(open_run(ended).config.data)


@pytest.fixture
def run(ended: Path, tmp_path: Path) -> Run:
    shutil.copytree(ended, tmp_path / "run")
    return open_run(tmp_path / "run")


def of_state(left: Left, state: TrialState) -> int:
    return next(record.number for record in left.records.values() if record.state is state)


def test_a_search_that_ended_well_has_no_flaws(run: Run, data: SearchData) -> None:
    left, of_study = look(run.folder)
    again, _ = look(run.folder)
    assert {"complete", "halted"} <= {record.state.value for record in left.records.values()}
    assert (of_study, violations(left, again), flaws(run, left, data)) == ([], [], [])


def _measured_again(trial: Path) -> None:
    stored = json.loads((trial / "evaluation.json").read_text())
    stored["outcome"]["seconds"] += 1
    (trial / "evaluation.json").write_text(json.dumps(stored))


def _back_at_a_rung(trial: Path) -> None:
    stored = json.loads((trial / "evaluation.json").read_text())
    stored["outcome"]["epochs"] = 1
    (trial / "evaluation.json").write_text(json.dumps(stored))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "its result is gone": lambda trial: (trial / "evaluation.json").unlink(),
    "what was finished was done again": _measured_again,
    "and is back at": _back_at_a_rung,
    "its finished training was touched": lambda trial: os.utime(trial / "model.safetensors"),
    "its folder was touched after it was told": lambda trial: (trial / "error.txt").touch(),
}


@pytest.mark.parametrize("words", DAMAGES)
def test_what_is_lost_or_done_again_is_seen(run: Run, words: str) -> None:
    before, _ = look(run.folder)
    number = of_state(before, TrialState.COMPLETE)
    DAMAGES[words](run.trials_folder / f"{number:05d}")
    found = violations(before, look(run.folder)[0])
    assert len(found) == 1
    assert found[0].startswith(f"trial {number}: ")
    assert words in found[0]


def test_epochs_that_were_trained_again_are_seen_although_their_log_is_equal(run: Run) -> None:
    told, _ = look(run.folder)
    number = of_state(told, TrialState.HALTED)
    log = run.trials_folder / f"{number:05d}" / "log.jsonl"
    content = log.read_bytes()
    mark(run.folder, Left(folders=told.folders))  # as if no trial were told yet
    marked = replace(look(run.folder)[0], records={})
    assert violations(marked, marked) == []
    log.write_bytes(content)
    assert violations(marked, look(run.folder)[0]) == [f"trial {number}: finished epochs were trained again"]


def test_a_told_trial_that_is_lost_is_seen(run: Run, data: SearchData) -> None:
    before, _ = look(run.folder)
    lines = run.study_path.read_bytes().splitlines(keepends=True)
    run.study_path.write_bytes(b"".join(lines[:-1]))
    after, _ = look(run.folder)
    last = max(before.records)
    assert after.half_told == {last}
    assert violations(before, after) == [f"trial {last} was told and is now None"]
    assert any("not told" in flaw for flaw in flaws(run, after, data))


def _zero(weights: Path) -> None:
    save_file({name: tensor * 0 for name, tensor in load_file(weights).items()}, weights)


FLAWS: dict[str, Callable[[Path], object]] = {
    "its log has the epochs [1, 2, 3, 4, 4]": lambda trial: (trial / "log.jsonl").open("a").write('{"epoch": 4}\n'),
    "the state of its training is still there": lambda trial: (trial / "state.safetensors").touch(),
    "its weights classify": lambda trial: _zero(trial / "model.safetensors"),
}


@pytest.mark.parametrize("words", FLAWS)
def test_a_flaw_of_a_trial_is_seen(run: Run, data: SearchData, words: str) -> None:
    number = of_state(look(run.folder)[0], TrialState.COMPLETE)
    FLAWS[words](run.trials_folder / f"{number:05d}")
    found = flaws(run, look(run.folder)[0], data)
    assert len(found) == 1
    assert words in found[0]


def test_an_architecture_that_was_trained_twice_is_seen(run: Run, data: SearchData) -> None:
    left, _ = look(run.folder)
    first, second, *_ = filter(is_trained, left.records.values())
    twice = {**left.records, second.number: replace(second, genotype=replace(second.genotype, key=first.genotype.key))}
    assert any("trained twice" in flaw for flaw in flaws(run, replace(left, records=twice), data))
