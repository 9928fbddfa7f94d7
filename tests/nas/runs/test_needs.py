"""What a config needs is looked at first: by check, search, sweep, retrain, evaluate and audit."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import nas.runs.retrain
from nas.attacks import ATTACKS
from nas.base.errors import UsageError
from nas.base.packages import PACKAGES
from nas.runs.config import dump_config, load_config
from nas.runs.needs import check_needs
from nas.search.samplers import SAMPLERS
from search_spaces import SPACES, SearchSpace, SpaceEntry
from tests.builders import tiny_space
from tests.tiny_run import nas as call_nas
from tests.tiny_run import write_config

Capture = pytest.CaptureFixture[str]
AUTOATTACK = ("--set", "evaluation.ladder.final=[{name: autoattack}]")
NEEDS = {
    "search.sampler=pymoo_agemoea": "numba",
    "search.executor=ray": "ray",
    "evaluation.attack={name: autoattack}": "pyautoattack",
    "evaluation.ladder.screen={name: autoattack}": "pyautoattack",
    "evaluation.ladder.front=[{name: autoattack}]": "pyautoattack",
    "evaluation.ladder.final=[{name: autoattack}]": "pyautoattack",
    "retrain.validation_attack={name: autoattack}": "pyautoattack",
}
"""Overrides, and the package that each needs."""


@pytest.fixture
def without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """No optional package can be imported."""
    for module in {package.module for package in PACKAGES.values()}:
        monkeypatch.setitem(sys.modules, module, None)


def test_what_needs_a_package_is_registered() -> None:
    assert PACKAGES.keys() <= {*ATTACKS, *SAMPLERS, "ray"}


@pytest.mark.parametrize("override", NEEDS)
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    tmp_path: Path, without_packages: None, override: str
) -> None:
    config = load_config(write_config(tmp_path), [override])
    with pytest.raises(UsageError, match=rf"needs the package {NEEDS[override]}, .*pip install '\.\["):
        check_needs(config, tiny_space())


def test_a_damaged_package_is_a_missing_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ray.py").write_text("raise ValueError('numpy.dtype size changed')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    config = load_config(write_config(tmp_path), ["search.executor=ray"])
    with pytest.raises(UsageError, match=r"ray needs the package ray, .*ValueError: numpy.dtype size changed"):
        check_needs(config, tiny_space())


def test_the_driver_of_a_database_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(write_config(tmp_path), ["search.storage_env=NAS_TEST_URL"])
    monkeypatch.setenv("NAS_TEST_URL", "sqlite:///study.db")
    check_needs(config, tiny_space())
    monkeypatch.setenv("NAS_TEST_URL", "postgresql://me:top-secret@host/db")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UsageError, match=r"driver .* is not installed") as caught:
        check_needs(config, tiny_space())
    assert "top-secret" not in str(caught.value)


@pytest.mark.parametrize("verb", ["check", "search", "sweep"])
def test_a_missing_package_is_found_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_packages: None, capsys: Capture, verb: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = call_nas(capsys, verb, write_config(tmp_path), *AUTOATTACK)
    assert (ended.code, ended.out) == (2, "")
    assert "pyautoattack" in ended.message
    assert not Path("runs").exists()


@pytest.mark.parametrize("override", ["retrain.validation_attack={name: autoattack}", "final"])
def test_a_retraining_looks_at_its_attacks_before_it_trains(
    copy: Path, monkeypatch: pytest.MonkeyPatch, without_packages: None, capsys: Capture, override: str
) -> None:
    monkeypatch.setattr(nas.runs.retrain, "train_epoch", lambda *_: pytest.fail("trained before it looked"))
    if override == "final":
        stored = Path("runs/tiny/config.yaml")
        stored.write_text(dump_config(load_config(stored, [AUTOATTACK[1]])))
    changes = () if override == "final" else ("--set", override)
    ended = call_nas(capsys, "retrain", "runs/tiny", "--pick", "1", *changes)
    assert ended.code == 2
    assert "pyautoattack" in ended.message


def test_an_evaluation_needs_what_it_runs_alone(retrained: Path, without_packages: None, capsys: Capture) -> None:
    ended = call_nas(capsys, "evaluate", retrained, "--attack", "autoattack")
    assert (ended.code, "pyautoattack" in ended.message) == (2, True)
    assert json.loads(call_nas(capsys, "evaluate", retrained, "--attack", "fgsm", "--format", "json").out)


@pytest.mark.parametrize("override", [name for name in NEEDS if NEEDS[name] == "pyautoattack"])
def test_autoattack_with_too_few_classes_is_refused_first(tmp_path: Path, override: str) -> None:
    config = load_config(write_config(tmp_path), [override])
    with pytest.raises(UsageError, match="autoattack compares four classes, the data set has 2"):
        check_needs(config, tiny_space(num_classes=2))


def test_two_classes_do_for_the_default_ladder(tmp_path: Path) -> None:
    check_needs(load_config(write_config(tmp_path), ["evaluation.ladder={}"]), tiny_space(num_classes=2))


@pytest.mark.parametrize("verb", ["check", "search"])
def test_a_space_that_cannot_be_sent_to_workers_is_named_before_any_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, verb: str
) -> None:
    made = SPACES["mobilenet_tiny"]

    def closed(*arguments: Any) -> SearchSpace:
        space = made.constructor(*arguments)
        return dataclasses.replace(space, network_spec=lambda values: space.network_spec(values))

    monkeypatch.setitem(SPACES, "mobilenet_tiny", SpaceEntry(made.settings, closed))
    monkeypatch.chdir(tmp_path)
    path = write_config(tmp_path)
    ended = call_nas(capsys, verb, path, "--set", "search.executor=processes")
    assert (ended.code, ended.out) == (2, "")
    assert "its network_spec cannot be sent to worker processes" in " ".join(ended.message.split())
    assert not Path("runs").exists()
    assert call_nas(capsys, "check", path, "--no-time").code == 0, "in one process, a closure does"
