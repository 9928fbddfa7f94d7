"""Space, block, measure and treatment of a user's own module: under their contracts, killed and resumed."""

import shutil
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

import nas as nas_api
from nas.base.plugins import load_plugins
from nas.measures import MEASURES
from nas.networks.layer import is_walked
from nas.networks.treatments import TREATMENTS
from nas.runs import open_run
from nas.runs.trial import WEIGHTS
from nas.runs.work import trained_network
from nas.testing import SpaceContract, TreatmentContract
from nas.training import methods
from search_spaces import SPACES, SearchSpace
from search_spaces.blocks import BLOCKS
from search_spaces.network import Network
from search_spaces.spec import CONVOLUTIONS
from tests.conftest import ROOT
from tests.tiny_run import TINY, nas, write_config

REGISTRIES: tuple[Mapping[str, Any], ...] = (BLOCKS, CONVOLUTIONS, MEASURES, SPACES, TREATMENTS)
MODULE = "outside"
SPACE = "space: {name: silu_rows, widths: [4, 6, 8], rows: 2}\n"
CONFIG = (
    TINY.replace(TINY[TINY.index("space:") : TINY.index("threat:")], SPACE)
    + f"plugins: [{MODULE}]\ntreatments: [{{name: small, largest: 0.02}}]\nobjectives: [least_logit, params]\n"
)


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module, imported from the current folder as a config names it; registries are afterwards as they were."""
    kept = [(cast(MutableMapping[str, Any], registry), dict(registry)) for registry in REGISTRIES]
    monkeypatch.setattr(sys, "path", [*sys.path])
    shutil.copy(ROOT / "tests" / "outside.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    load_plugins([MODULE])
    yield sys.modules[MODULE]
    del sys.modules[MODULE]
    for registry, entries in kept:
        registry.clear()
        registry.update(entries)


class TestSpaceOfAUser(SpaceContract):
    registered = "silu_rows"

    @staticmethod
    def make(shape: tuple[int, int, int], classes: int) -> SearchSpace:
        entry = SPACES["silu_rows"]
        return entry.constructor(entry.settings(), shape, classes)


class TestTreatmentOfAUser(TreatmentContract):
    registered = "small"

    @pytest.fixture(autouse=True)
    def _settings(self, module: Any) -> None:
        self.settings = module.Small(largest=0.02)

    def holds(self, network: Network) -> bool:
        return float(network.classifier.weight.detach().abs().max()) <= 0.02


@pytest.mark.parametrize(("threads", "at"), [(1, 7), (2, 2)])
def test_a_search_with_all_of_them_killed_at_a_step_and_resumed_ends_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, threads: int, at: int
) -> None:
    monkeypatch.setattr("nas.runs.placement.available_cores", lambda: threads)
    path = write_config(tmp_path, CONFIG)
    assert nas(capsys, "search", path, "--run", "whole").code == 0

    taken, left = methods.Trades.loss, [at]

    def killed(*arguments: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return taken(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(methods.Trades, "loss", killed)
        assert nas(capsys, "search", path, "--run", "killed").code == 130
    assert left == [0], "killed in the middle of a training"
    assert nas(capsys, "search", path, "--run", "killed").code == 0
    whole, resumed = (open_run(Path("runs", name)) for name in ("whole", "killed"))
    timeless = [[replace(r, seconds=0, scoring_seconds=0) for r in run.records] for run in (whole, resumed)]
    assert timeless[0] == timeless[1]
    scored = [record for record in whole.records if record.evaluation and record.reused_from is None]
    assert len(scored) == 3
    for record in scored:
        assert record.evaluation is not None
        assert -20 < record.evaluation.scores["least_logit"] < 0
        network = trained_network(whole, record)
        assert not is_walked(network), "an activation of one's own goes through autograd"
        assert float(network.classifier.weight.abs().max()) <= 0.02
        name = f"trials/{record.number:05d}/{WEIGHTS}"
        assert (whole.folder / name).read_bytes() == (resumed.folder / name).read_bytes()


def test_a_network_with_an_activation_of_its_own_is_reported_and_its_export_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nas(capsys, "search", write_config(tmp_path, CONFIG), "--set", "search.trials=2").code == 0
    assert nas(capsys, "report", "runs/tiny").code == 0
    assert "least logit under attack" in Path("runs/tiny/report.html").read_text()
    assert nas(capsys, "retrain", "runs/tiny", "--pick", "0").code == 0
    folder = Path("runs/tiny/retrained/00000")
    kept = {path.name for path in folder.iterdir()}
    for kind in ("torch", "onnx", "tflite", "c"):
        refused = nas(capsys, "export", folder, "--format", kind)
        assert refused.code == 2
        said = " ".join(refused.message.split())
        assert said.startswith("error features.0.2 (SiLU): no other format is written for it (allowed: convolution, ")
        assert "for PyTorch through nas.load; or retrain the genotype without that part" in said
    assert {path.name for path in folder.iterdir()} == kept
    assert nas_api.load(folder)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
