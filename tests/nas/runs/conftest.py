"""What several tests of configs ask for."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.base.errors import ConfigError
from nas.measures import MEASURES
from nas.runs.config import load_config
from tests.nas.runs.margin import MODULE, PLUGIN
from tests.tiny_run import Refusal, write_config


@pytest.fixture
def refusal(tmp_path: Path) -> Refusal:
    """What is said where the small config is refused with overrides."""

    def refuse(*overrides: str) -> str:
        with pytest.raises(ConfigError) as caught:
            load_config(write_config(tmp_path), overrides)
        return str(caught.value)

    return refuse


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules, search path and measures are afterwards as they were."""
    modules, entries = {*sys.modules}, dict(MEASURES)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for name in (MODULE, "another_plugin", "another_plugin_torch"):
        if name not in modules:
            sys.modules.pop(name, None)
    MEASURES.clear()
    MEASURES.update(entries)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: None) -> Path:
    """An empty current folder with the plugin in it."""
    (tmp_path / f"{MODULE}.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    return tmp_path
