"""Trials on nodes without a common file system: the driver ends up with every file of every trial."""

import dataclasses
import importlib.util
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import nas.runs.trial
from nas.attacks import Pgd
from nas.attacks.threat import ThreatModel
from nas.base.records import Candidate, Outcome
from nas.evaluation import EvaluationSettings
from nas.runs import open_run
from nas.runs.remote import RemotePlan
from nas.runs.trial import TrialPlan
from nas.runs.trial_files import stored_outcome
from nas.search.finished import is_trained
from tests.builders import TINY_TRAINING, tiny_data, tiny_space
from tests.ray_cluster import ray_environment
from tests.running import Process, nas_process, seconds_until_ended, wait_for
from tests.tiny_run import write_config

needs_ray = pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="Ray is not installed")
CANDIDATE = Candidate(3, tiny_space().largest(), 77, "screen")


def _plan(folder: Path) -> TrialPlan:
    evaluation = EvaluationSettings(attack=Pgd(steps=2))
    return TrialPlan(tiny_space(), tiny_data(), ThreatModel(epsilon=0.05), TINY_TRAINING, evaluation, "cpu", folder)


def _remotely(plan: TrialPlan, candidate: Candidate) -> tuple[Outcome, set[str]]:
    """Outcome, and the names of the files that came back; the node knows nothing of the driver's folder."""
    driver = RemotePlan(plan)
    node = RemotePlan(dataclasses.replace(plan, folder=Path("/no/such/folder")))
    outcome, files = node.run(candidate, driver.pack(candidate))
    driver.unpack(candidate, files)
    return outcome, set(files)


def _contents(folder: Path) -> dict[str, bytes]:
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: content for name, content in found.items() if not name.endswith("evaluation.json")}  # has times


@pytest.mark.parametrize("repeat", [0, 2])
def test_a_climb_leaves_the_files_that_it_leaves_on_one_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repeat: int
) -> None:
    near, far = _plan(tmp_path / "near"), _plan(tmp_path / "far")
    for rung in ("screen", "attack", "front"):
        candidate = dataclasses.replace(CANDIDATE, fidelity=rung, repeat=repeat)
        here = near(candidate)
        there, files = _remotely(far, candidate)
        assert there.evaluation == here.evaluation
        assert stored_outcome(far.folder, candidate) == there
        assert _contents(far.folder) == _contents(near.folder)
        if rung != "screen":
            assert files == {"evaluation.json", f"images_{rung}.safetensors"}, "what the driver has is not sent back"

    def refuse(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(nas.runs.trial, "train_epoch", refuse)
    again, files = _remotely(far, candidate)
    assert (again, files) == (there, set()), "what was finished before a kill is only told"


def test_a_training_in_parts_leaves_the_files_that_it_leaves_on_one_machine(tmp_path: Path) -> None:
    near, far = _plan(tmp_path / "near"), _plan(tmp_path / "far")
    for epochs in (1, None):
        candidate = dataclasses.replace(CANDIDATE, epochs=epochs)
        assert _remotely(far, candidate)[0].evaluation == near(candidate).evaluation
        assert _contents(far.folder) == _contents(near.folder)
    left = far.folder / "00003" / "state.safetensors"
    left.write_bytes(b"of a driver that was killed before it could remove it")
    _remotely(far, candidate)
    assert not left.exists()


def test_a_failed_candidate_brings_its_traceback_home(tmp_path: Path) -> None:
    broken = dataclasses.replace(_plan(tmp_path), training=TINY_TRAINING.model_copy(update={"batch_size": "many"}))
    outcome, files = _remotely(broken, CANDIDATE)
    assert outcome.evaluation is None
    assert "error.txt" in files
    assert (tmp_path / "00003" / "error.txt").read_text() == outcome.error


def test_the_file_that_says_finished_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr("nas.runs.remote.write_atomic", lambda path, content: written.append(path.name))
    RemotePlan(_plan(tmp_path)).unpack(CANDIDATE, {"evaluation.json": b"", "model.safetensors": b"", "a": b""})
    assert written[-1] == "evaluation.json"
    assert sorted(written) == ["a", "evaluation.json", "model.safetensors"]


@contextmanager
def _search(folder: Path, *options: str) -> Iterator[Process]:
    write_config(folder)
    sets = [part for option in ("evaluation.seeds=2", *options) for part in ("--set", option)]
    with ray_environment(), nas_process(folder, "search", "tiny.yaml", "--format", "json", *sets) as process:
        yield process


@needs_ray
def test_a_search_on_ray_is_the_search_on_one_machine(tmp_path: Path) -> None:
    runs = []
    for executor in ("in_process", "ray"):
        folder = tmp_path / executor
        folder.mkdir()
        with _search(folder, f"search.executor={executor}") as search:
            printed, log = search.communicate(timeout=200)
        assert search.returncode == 0, log
        json.loads(printed)
        runs.append((open_run(folder / "runs" / "tiny"), log))
    (local, _), (remote, log) = runs
    assert "ray" not in log.lower(), "Ray's own lines stay away"
    assert [r.genotype for r in remote.records] == [r.genotype for r in local.records]
    assert {r.genotype for r in remote.records if is_trained(r)} == {r.genotype for r in local.records if is_trained(r)}
    names = [sorted(map(str, _contents(run.trials_folder))) for run in (local, remote)]
    assert names[0] == names[1]
    assert any("seed_1" in name for name in names[0])
    assert [r.evaluation for r in remote.records] == [r.evaluation for r in local.records]


@needs_ray
def test_ctrl_c_ends_the_search_and_its_local_cluster(tmp_path: Path) -> None:
    with _search(tmp_path, "search.executor=ray", "search.trials=12", "training.epochs=40") as search:
        wait_for((tmp_path / "runs" / "tiny" / "study.journal").exists, search, pause=0.1)
        time.sleep(3)
        os.killpg(search.pid, signal.SIGINT)  # as a terminal does
        printed, said = search.communicate(timeout=60)
        assert (search.returncode, printed) == (130, "")
        assert "Traceback" not in said
        assert "the same command goes on from there" in said
        seconds_until_ended(search.pid, limit=10)
