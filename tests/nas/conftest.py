"""A finished tiny run, made once and only read; tests that write take a copy."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny_run import call, write_config


@pytest.fixture(scope="session", autouse=True)
def _one_core() -> Iterator[None]:
    """One thread for everything: a tiny network on two busy cores is slower than on one."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("nas.runs.placement", "nas.runs.retrain", "nas.timing.estimate"):
            patch.setattr(f"{module}.available_cores", lambda: 1)
        yield


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with tiny.yaml and a finished runs/tiny."""
    folder = tmp_path_factory.mktemp("workplace")
    config = write_config(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert call(["search", config]) == 0
    return folder


@pytest.fixture(scope="session")
def _retrained(workplace: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workplace)
        assert call(["retrain", "runs/tiny", "--pick", "0"]) == 0
    return workplace / "runs" / "tiny" / "retrained" / "00000"


@pytest.fixture
def retrained(_retrained: Path, here: Path) -> Path:
    """Folder of trial 0 of the workplace, retrained; the workplace is the current folder."""
    return _retrained


@pytest.fixture
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workplace as current folder, to be read only."""
    monkeypatch.chdir(workplace)
    return workplace


@pytest.fixture
def copy(workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the workplace as current folder."""
    folder = tmp_path / "copy"
    shutil.copytree(workplace, folder)
    monkeypatch.chdir(folder)
    return folder
