"""A finished sweep of two networks that several tests read."""

import shutil
from pathlib import Path

import pytest

from tests.tiny_run import TRACKED, call, write_config


@pytest.fixture(scope="session")
def _swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("swept")
    config = write_config(folder, TRACKED)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert call(["sweep", config]) == 0
    return folder


@pytest.fixture
def swept(_swept: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with tiny.yaml and a finished sweep, as current folder; to be read only."""
    monkeypatch.chdir(_swept)
    return _swept


@pytest.fixture
def swept_copy(_swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(_swept, folder)
    monkeypatch.chdir(folder)
    return folder
