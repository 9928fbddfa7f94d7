"""Pruning in a config and through a run: what is refused, costs of fewer channels, a whole search and its export."""

import json
import re
from pathlib import Path

import pytest
from torch import nn

from nas.base.errors import ConfigError
from nas.networks.layer import kernel_of
from nas.networks.shrunk import without_zero_channels
from nas.runs import open_run
from nas.runs.checkpoint import load_checkpoint
from nas.runs.config import load_config
from nas.runs.problem import costs_of, make_space
from nas.runs.pruned import check_channels, pruning_text
from search_spaces.mlperf_tiny import DsCnn, ds_cnn
from search_spaces.pruned import pruned_spec
from tests.tiny_run import Refusal, nas, write_config

Capture = pytest.CaptureFixture[str]
HALF = "treatments=[{name: prune, sparsity: 0.5, start: 0}]"
CHANNELS = "treatments=[{name: prune, sparsity: 0.5, of: channels, start: 0}]"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("sparsity={options: [0, 50]}",), "it is chosen but nothing is pruned"),
        ((HALF, "sparsity={options: [50, 0]}"), "percentages from 0 to 99 that ascend"),
        (("treatments=[{name: prune}, {name: prune}]",), "a network is pruned once"),
        (("treatments=[{name: prune, start: 0.5, end: 0.5}]",), "start must be less than end [got 0.5 and 0.5]"),
        (("treatments=[{name: prune, by: scores, of: channels}]",), "scores are learned of weights, not of channels"),
        (("treatments=[{name: prune, sparsity: 1}]",), "less than or equal to 0.99"),
        ((HALF, "deployment={weight_bits: 8}"), "bits 32 of prune contradict deployment.weight_bits 8"),
        (("treatments=[{name: prune}, {name: quantize, weights: 2}]",), "the treatment quantize [2] has no level for"),
        (
            ("treatments=[{name: prune}, {name: quantize, weights: 4}]", "bits={weights: [1, 8]}"),
            "bits.weights [1] has no level for",
        ),
        ((HALF, "search.evaluator=supernet"), "a supernet's networks are not treated"),
        (
            ("treatments=[{name: prune, of: channels}, {name: quantize, weights: ternary}]",),
            "the scale of ternary weights is a mean over all channels",
        ),
        (("treatments=[{name: prune, bits: 8}, {name: quantize}]",), "bits 8 of prune are for weights that nothing"),
        ((CHANNELS, "search.inherit=true"), "has no gradient in its child"),
    ],
)
def test_what_does_not_go_together_is_refused(refusal: Refusal, overrides: tuple[str, ...], words: str) -> None:
    assert words in refusal(*overrides)


def test_pruned_channels_are_not_counted_and_pruned_weights_are(tmp_path: Path) -> None:
    plain, half, channels = (load_config(write_config(tmp_path), more) for more in ((), (HALF,), (CHANNELS,)))
    space = make_space(plain, (1, 8, 8), 10)
    whole = costs_of(plain, space, space.largest())
    assert costs_of(half, space, space.largest()) == whole
    fewer = costs_of(channels, space, space.largest())
    assert fewer.params < whole.params
    assert fewer.macs < whole.macs
    assert pruning_text(plain.treatments) == ""
    assert pruning_text(channels.treatments).startswith("pruned: 50% of the hidden channels by magnitude")


def test_channels_of_networks_without_hidden_ones_are_refused(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path), (CHANNELS,))
    space = ds_cnn(DsCnn(), (1, 49, 10), 12)
    with pytest.raises(ConfigError, match="these networks have neither"):
        check_channels(space.spec(space.largest()), config.treatments)
    own = make_space(config, (1, 8, 8), 10)
    check_channels(own.spec(own.largest()), config.treatments)


def test_a_search_over_sparsities_ends_in_a_sparse_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path)
    sets = (HALF, "sparsity={options: [0, 60, 90], tie: true}", "objectives=[robust_accuracy, sparse_weight_bytes]")
    options = [part for one in sets for part in ("--set", one)]
    assert nas(capsys, "search", "tiny.yaml", *options).code == 0
    run = open_run(Path("runs/tiny"))
    sizes = {}
    for record in run.records:
        assert record.evaluation is not None
        sizes[record.genotype.values["sparsity"]] = record.evaluation.scores["sparse_weight_bytes"]
        assert record.evaluation.scores["sparse_weight_bytes"] > 0
    assert len(sizes) > 1
    rows = json.loads(nas(capsys, "front", "runs/tiny", "--format", "json").out)
    assert all(row["sparse_weight_bytes"] > 0 for row in rows)
    assert "pruned: 50% of the weights by magnitude" in " ".join(nas(capsys, "front", "runs/tiny").out.split())
    shown = " ".join(nas(capsys, "show", "runs/tiny", "0").out.split())
    assert "pruned: 50% of the weights" in shown
    assert re.search(r"sparse [\d.]+ KB zeros not stored", shown)
    assert nas(capsys, "retrain", "runs/tiny", "--pick", "0").code == 0
    checkpoint = load_checkpoint(Path("runs/tiny/retrained/00000"))
    kernels = [kernel_of(part) for part in checkpoint.network.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    zeros = sum(int((kernel == 0).sum()) for kernel in kernels) / sum(kernel.numel() for kernel in kernels)
    assert zeros == pytest.approx(float(checkpoint.genotype["sparsity"]) / 100, abs=0.02)


def test_an_exported_network_is_without_its_pruned_channels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path)
    assert nas(capsys, "search", "tiny.yaml", "--set", CHANNELS).code == 0
    assert nas(capsys, "retrain", "runs/tiny", "--pick", "0").code == 0
    folder = Path("runs/tiny/retrained/00000")
    checkpoint = load_checkpoint(folder)
    smaller = without_zero_channels(checkpoint.network)
    assert smaller.spec == pruned_spec(checkpoint.network.spec, 0.5)
    assert nas(capsys, "export", str(folder), "--format", "torch").code == 0
    record = open_run(Path("runs/tiny")).records[0]
    params = sum(parameter.numel() for parameter in smaller.parameters())
    assert record.costs.params == params
