"""Treated networks through a search, a kill, a retraining and the evaluation from files."""

import json
from pathlib import Path

import pytest
from torch import nn

from nas.base.errors import CheckpointError, ConfigError
from nas.base.records import Candidate
from nas.data.datasets import load_search_data
from nas.runs import make_problem, open_run
from nas.runs.checkpoint import load_checkpoint
from nas.runs.config import load_config
from nas.runs.trial import WEIGHTS, TrialPlan
from nas.runs.work import trained_network
from nas.testing.treatments import zero_channels
from search_spaces.network import Network
from tests.tiny_run import nas, write_config

Capture = pytest.CaptureFixture[str]
TREATED = "treatments=[{name: frozen_zeros, share: 0.5}]"


def frozen(network: Network) -> bool:
    """Whether half of the channels of every convolution are zero."""
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    return all(zero_channels(conv.weight) == conv.out_channels // 2 for conv in convolutions)


def test_a_treated_search_ends_in_a_treated_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path)
    assert nas(capsys, "search", "tiny.yaml", "--set", TREATED).code == 0
    run = open_run(Path("runs/tiny"))
    assert run.records
    assert all(frozen(trained_network(run, record)) for record in run.records)
    assert nas(capsys, "retrain", "runs/tiny", "--pick", "0").code == 0
    assert frozen(load_checkpoint(Path("runs/tiny/retrained/00000")).network)
    stored = json.loads(Path("runs/tiny/retrained/00000/evaluation.json").read_bytes())
    again = json.loads(nas(capsys, "evaluate", "runs/tiny/retrained/00000", "--format", "json").out)
    assert again["robust_accuracy"] == stored["robust_accuracy"]
    audit = ("evaluate", "--audit", "runs/tiny/retrained/00000", "--images", "20")
    assert nas(capsys, *audit, "--format", "json").code == 0
    description = Path("runs/tiny/retrained/00000/genotype.json")
    description.write_text(json.dumps({**json.loads(description.read_text()), "treatments": []}))
    with pytest.raises(CheckpointError, match=r"holds another network.*treatments\.0\.mask_0"):
        load_checkpoint(Path("runs/tiny/retrained/00000"))


@pytest.mark.parametrize(
    "treated",
    [
        TREATED,
        "treatments=[{name: quantize, weights: ternary, stochastic: true}]",
        "treatments=[{name: quantize, weights: 4, start: 0.75}]",
    ],
)
def test_a_treated_candidate_that_waits_at_a_rung_of_epochs_goes_on_bit_for_bit(tmp_path: Path, treated: str) -> None:
    config = load_config(write_config(tmp_path), (treated, "training.epochs=2"))
    data = load_search_data(config.data)
    space = make_problem(config, data).space

    def plan(folder: str) -> TrialPlan:
        return TrialPlan(
            space, data, config.threat, config.training, config.evaluation, "cpu", tmp_path / folder,
            treatments=config.treatments,
        )  # fmt: skip

    candidate = Candidate(0, space.largest(), 3, "attack")
    whole = plan("whole")(candidate)
    plan("halted")(Candidate(0, space.largest(), 3, "attack", epochs=1))
    resumed = plan("halted")(candidate)
    assert resumed.evaluation == whole.evaluation
    name = f"00000/{WEIGHTS}"
    assert (tmp_path / "halted" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_supernet_is_not_treated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="treatments: a supernet's networks are not treated"):
        load_config(write_config(tmp_path), (TREATED, "search.evaluator=supernet"))
    with pytest.raises(ConfigError, match="unknown treatment 'zeros'"):
        load_config(write_config(tmp_path), ("treatments=[{name: zeros}]",))
