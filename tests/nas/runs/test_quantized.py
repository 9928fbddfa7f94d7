"""Quantization in a config and through a run: bits that are taken over, contradictions, a whole search."""

import json
from pathlib import Path

import pytest

from nas.measures.float_twin import NAMES
from nas.networks.quantized import QuantConv2d
from nas.runs import open_run
from nas.runs.checkpoint import load_checkpoint
from nas.runs.config import dump_config, load_config
from nas.runs.quantized import quantization_text
from nas.runs.work import trained_network
from tests.tiny_run import Refusal, nas, write_config

Capture = pytest.CaptureFixture[str]
TERNARY_DRAWN = "treatments=[{name: quantize, weights: ternary, stochastic: true}]"
W4A4 = "treatments=[{name: quantize, weights: 4, activations: 4}]"
BITS = "bits={weights: [2, 8], activations: [4, 8], tie: activations}"


@pytest.mark.parametrize(("weights", "bits"), [("3", 3), ("ternary", 2), ("binary", 1), ("32", 32)])
def test_the_deployment_has_the_bits_of_the_treatment(tmp_path: Path, weights: str, bits: int) -> None:
    treated = f"treatments=[{{name: quantize, weights: {weights}, activations: 5}}]"
    config = load_config(write_config(tmp_path), (treated,))
    assert (config.deployment.weight_bits, config.deployment.activation_bits) == (bits, 5)
    assert load_config(write_config(tmp_path, dump_config(config))) == config


def test_a_deployment_of_other_bits_is_refused_and_both_are_named(refusal: Refusal, tmp_path: Path) -> None:
    said = refusal(W4A4, "deployment={weight_bits: 8}")
    assert "weight_bits 8 contradicts the treatment quantize, weights: 4" in said
    assert "leave deployment.weight_bits out" in said
    assert "activation_bits 8 contradicts" in refusal(W4A4, "deployment={activation_bits: 8}")
    assert load_config(write_config(tmp_path), (W4A4, "deployment={weight_bits: 4}")).deployment.activation_bits == 4


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ((BITS,), "bits are chosen but nothing is quantized"),
        (("bits={weights: [8, 4]}", W4A4), "that ascend"),
        (("treatments=[{name: quantize}, {name: quantize}]",), "a network is quantized once"),
        (("treatments=[{name: quantize, weights: 1}]",), "weights: 2 to 8 bits, or 32 for float"),
        (("treatments=[{name: quantize, activations: 16}]",), "activations: 2 to 8 bits, or 32 for float"),
        (("treatments=[{name: quantize, weights: 4, stochastic: true}]",), "only ternary weights are drawn"),
        ((W4A4, "training.lipschitz_penalty=0.1"), "training.lipschitz_penalty: it lowers a constant of weights that"),
        ((TERNARY_DRAWN, "bits={weights: [4, 8]}"), "every row has one of bits.weights [4, 8]"),
        ((W4A4, "objectives=[robust_accuracy, lipschitz_certified_log10]"), "has jumps and no Lipschitz constant"),
        (("evaluation.measures=[float_robust_accuracy]",), "is its own float twin"),
        ((W4A4, "search.evaluator=supernet"), "a supernet's networks are not treated"),
    ],
)
def test_what_does_not_go_together_is_refused(refusal: Refusal, overrides: tuple[str, ...], words: str) -> None:
    assert words in refusal(*overrides)


def test_a_network_of_rounded_weights_and_float_activations_has_a_certified_constant(tmp_path: Path) -> None:
    only_weights = "treatments=[{name: quantize, weights: 4, activations: 32}]"
    load_config(write_config(tmp_path), (only_weights, "objectives=[robust_accuracy, lipschitz_certified_log10]"))


def test_natural_training_is_never_robust_and_it_is_said(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path), (W4A4, "training.method=natural"))
    assert quantization_text(config).endswith("robustness is trained never")


@pytest.mark.parametrize(
    ("start", "words"),
    [(0, "while quantized"), (1, "before quantizing"), (0.25, "then while quantized from 25% of the training on")],
)
def test_when_robustness_is_trained_is_said(start: float, words: str, tmp_path: Path) -> None:
    treated = f"treatments=[{{name: quantize, start: {start}}}]"
    assert words in quantization_text(load_config(write_config(tmp_path), (treated,)))
    assert quantization_text(load_config(write_config(tmp_path))) == ""
    late = load_config(write_config(tmp_path), (treated, "training.natural_until=0.5"))
    wanted = "natural training until 50%" if start == 1 else "trained after quantizing"
    assert wanted in quantization_text(late)


def test_a_search_over_bits_ends_in_a_quantized_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path)
    sized = "objectives=[robust_accuracy, weight_bytes]"
    assert nas(capsys, "search", "tiny.yaml", "--set", W4A4, "--set", BITS, "--set", sized).code == 0
    run = open_run(Path("runs/tiny"))
    for record in run.records:
        bits = [value for name, value in record.genotype.values.items() if name.startswith("weight_bits")]
        network = trained_network(run, record)
        grids = [part.grid for part in network.modules() if isinstance(part, QuantConv2d)]
        assert grids[0] == bits[0]
        assert set(grids) <= set(bits)
        assert record.evaluation is not None
        assert set(record.evaluation.scores) == set(NAMES)
    assert {"rescaled", "transfer"} <= {
        rung.attack["name"] for r in run.front().records if r.evaluation for rung in r.evaluation.ladder
    }
    rows = json.loads(nas(capsys, "front", "runs/tiny", "--format", "json").out)
    assert all(0 <= row[name] <= 1 for row in rows for name in NAMES)
    shown = nas(capsys, "show", "runs/tiny", "0").out
    assert "the same weights without rounding" in shown
    assert "quantized: weights 4 bits" in shown
    assert "bits W/A" in shown
    assert "robustness is trained while quantized" in " ".join(nas(capsys, "front", "runs/tiny").out.split())
    assert nas(capsys, "retrain", "runs/tiny", "--pick", "0").code == 0
    network = load_checkpoint(Path("runs/tiny/retrained/00000")).network
    assert any(isinstance(part, QuantConv2d) for part in network.modules())
    stored = json.loads(Path("runs/tiny/retrained/00000/evaluation.json").read_bytes())
    again = json.loads(nas(capsys, "evaluate", "runs/tiny/retrained/00000", "--format", "json").out)
    assert again["robust_accuracy"] == stored["robust_accuracy"]
    refused = nas(capsys, "export", "runs/tiny/retrained/00000", "--format", "onnx")
    assert refused.code
    assert "treatment quantize" in " ".join(refused.err.split())
