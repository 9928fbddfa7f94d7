"""A module of the user's adds a data set: a config names it, and every verb finds its images, with no other edit."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.base.errors import ConfigError
from nas.data.sources import DATASETS
from nas.runs.config import dump_config, load_config
from tests.tiny_run import TINY, nas, write_config

MODULE = "shades_plugin"
PLUGIN = '''\
"""Grey images of two shades."""

from typing import Literal

from nas.data.raw import Raw
from nas.data.settings import Source
from nas.data.sources import DATASETS, SourceEntry


class Shades(Source):
    name: Literal["shades"] = "shades"
    images: int = 100


def load(settings, part):
    import torch

    from nas.data.split import Split

    labels = torch.arange(settings.images) % 2
    noise = torch.randint(0, 100, (settings.images, 1, 8, 8), generator=torch.Generator().manual_seed(len(part)))
    return Raw(Split((noise + 100 * labels[:, None, None, None]).to(torch.uint8), labels), ("dark", "bright"))


DATASETS["shades"] = SourceEntry(Shades, load)
'''
TEXT = TINY.replace("{name: digits, limit: 200, test_limit: 100}", "{name: shades}") + f"plugins: [{MODULE}]\n"


def forget() -> None:
    """This process is as if it had not imported the plugin."""
    sys.modules.pop(MODULE, None)
    DATASETS.pop("shades", None)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A config that names the plugin's data set; the current folder has both."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{MODULE}.py").write_text(PLUGIN)
    yield write_config(tmp_path, TEXT)
    forget()


def test_a_plugin_may_bring_a_data_set(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = load_config(path)
    Path("again.yaml").write_text(dump_config(config))
    assert load_config(Path("again.yaml")) == config
    with pytest.raises(ConfigError, match=r"data\.imags: unknown field .*did you mean images\?"):
        load_config(path, ["data.imags=80"])
    with pytest.raises(ConfigError, match=r"data: unknown data set 'shade' \(allowed: digits, .*shades\)"):
        load_config(path, ["data.name=shade"])

    assert nas(capsys, "search", path).code == 0
    assert nas(capsys, "retrain", "runs/tiny", "--pick", "0").code == 0
    forget()
    again = nas(capsys, "evaluate", "runs/tiny/retrained/00000", "--format", "json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["num_images"] == 100
