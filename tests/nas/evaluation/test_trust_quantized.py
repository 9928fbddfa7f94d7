"""Planted maskings of quantized networks are caught, each by the check of its name; honest ones raise nothing."""

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas.attacks import Pgd, Square
from nas.attacks.transfer import Transfer
from nas.base.records import Fidelity
from nas.evaluation import EvaluationSettings, Ladder
from nas.evaluation.course import rung_passes
from nas.evaluation.evaluate import Scored, score
from nas.evaluation.float_twin import TWIN, twin_passes, with_twin
from nas.evaluation.trust import CHECKS, QUANTIZED, SHALLOW
from nas.networks.quantized import QuantConv2d, QuantLinear, QuantReLU6, RunningRange, degenerate_grids
from nas.networks.treatments.quantize import float_twin
from nas.networks.view import FoldedView, view_of
from search_spaces.network import Network
from tests import honest
from tests.builders import generator, tiny_network
from tests.honest import digits_config, digits_data, honest_network, quantized_network


@pytest.fixture(scope="module", autouse=True)
def _shared(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One folder for all processes of this test run; pytest removes it."""
    own = tmp_path_factory.getbasetemp()
    honest.SHARED = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "honest"


QUICK = EvaluationSettings(attack=Pgd(steps=10), ladder=Ladder(front=(), final=(), trust_images=8))


def judged(
    network: nn.Module,
    fidelity: Fidelity = "front",
    settings: EvaluationSettings = QUICK,
    before: Scored | None = None,
    count: int = 120,
) -> Scored:
    return score(
        network, digits_data().validation[:count], digits_config().threat, settings, generator(5),
        split_name="validation", fidelity=fidelity, before=before,
    )  # fmt: skip


def failed(scored: Scored) -> set[str]:
    return {check.name for check in scored.evaluation.failed_checks}


class Masked(torch.autograd.Function):
    """`rounded` in place of `x`, whose gradient is multiplied by `mask`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rounded: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        return rounded

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return gradient * ctx.saved_tensors[0], None, None


Change = Callable[[Network], None]
"""Plants a masking in a network."""
Rounds = Callable[[QuantReLU6, Tensor], Tensor]


def on_grid(module: QuantReLU6, x: Tensor) -> Tensor:
    return (x / module.step).clamp(module.low, module.high).round() * module.step


def with_rounding(rounds: Rounds) -> Change:
    """Another rounding behind every ReLU6."""

    def change(network: Network) -> None:
        for module in network.modules():
            if isinstance(module, QuantReLU6):
                setattr(module, "rounded", lambda x, own=module: rounds(own, x))  # noqa: B010

    return change


def wrong_sign(module: QuantReLU6, x: Tensor) -> Tensor:
    inside = (x > 0) & (x < 6)
    return Masked.apply(x, on_grid(module, x.detach()), -1.0 * inside)  # type: ignore[no-any-return]


def mask_of_rounded_values(module: QuantReLU6, x: Tensor) -> Tensor:
    levels = (x.detach() / 2).clamp(0, 3).round()  # of 2 bits
    return Masked.apply(x, on_grid(module, x.detach()), ((levels > 0) & (levels < 3)).float())  # type: ignore[no-any-return]


def dithered(module: QuantReLU6, x: Tensor) -> Tensor:
    return QuantReLU6.rounded(module, x) + 0.03 * torch.sin(3e3 * x)


CHANCE = generator(3)


def stochastic(module: QuantReLU6, x: Tensor) -> Tensor:
    noise = torch.rand(x.shape, generator=CHANCE) - 0.5
    return QuantReLU6.rounded(module, x + noise * module.step)


def with_ranges(factor: float) -> Change:
    """Mean squares that ranges follow, times `factor`."""

    def change(network: Network) -> None:
        for module in network.modules():
            if isinstance(module, RunningRange):
                module.mean_square.mul_(factor)

    return change


def of_huge_logits(network: Network) -> None:
    for parameter in network.classifier.parameters():
        parameter.data.mul_(1e4)


def detached(network: Network) -> None:
    network.classifier.register_forward_pre_hook(lambda _, inputs: (inputs[0].detach(),))


def of_rounded_pixels(network: Network) -> None:
    network.normalization.register_forward_pre_hook(lambda _, inputs: ((7 * inputs[0]).round() / 7,))


def of_zero_weights(network: Network) -> None:
    next(module for module in network.modules() if isinstance(module, QuantConv2d)).weight.data.zero_()


def of_infinite_weights(network: Network) -> None:
    network.classifier.weight.data[3, 0] = torch.inf


@dataclass(frozen=True)
class Masking:
    caught_by: str
    change: Change


MASKINGS = {
    "rounding without a straight-through gradient": Masking("gradients", with_rounding(on_grid)),
    "a straight-through gradient of the wrong sign": Masking("transfer", with_rounding(wrong_sign)),
    "a mask of the rounded values": Masking("transfer", with_rounding(mask_of_rounded_values)),
    "ranges far too small": Masking("grids", with_ranges(1e-4)),
    "ranges of zero": Masking("grids", with_ranges(0.0)),
    "ranges far too large": Masking("grids", with_ranges(1e6)),
    "logits of a huge scale": Masking("logit_scale", of_huge_logits),
    "a detached layer": Masking("gradients", detached),
    "stochastic rounding left on": Masking("deterministic", with_rounding(stochastic)),
    "rounded pixels": Masking("gradients", of_rounded_pixels),
    "a layer whose weights have a scale of zero": Masking("grids", of_zero_weights),
    "a dithered activation": Masking("transfer", with_rounding(dithered)),
    "weights that are not finite": Masking("finite_logits", of_infinite_weights),
}


@pytest.mark.parametrize("name", MASKINGS)
def test_a_planted_masking_of_a_quantized_network_is_caught_by_name(name: str) -> None:
    masking = MASKINGS[name]
    network = copy.deepcopy(quantized_network("W4A4"))
    masking.change(network)
    is_shallow = masking.caught_by in SHALLOW  # without further attacks
    found = judged(network, "attack", count=24) if is_shallow else judged(network, count=60)
    assert masking.caught_by in failed(found)
    words = next(check.words for check in found.evaluation.checks if check.name == masking.caught_by)
    assert words in found.evaluation.warnings, "a failed check travels as a warning"


def test_every_check_of_quantized_networks_has_a_masking_that_it_catches() -> None:
    assert {masking.caught_by for masking in MASKINGS.values()} >= set(QUANTIZED)


@pytest.mark.parametrize("bits", ["W8A8", "W4A4", "W2A4", "ternary"])
def test_an_honest_quantized_network_raises_nothing(bits: str) -> None:
    settings, found = digits_config().evaluation, None
    for fidelity in settings.ladder.search_rungs:
        found = judged(quantized_network(bits), fidelity, settings, found)
        assert failed(found) == set(), found.evaluation.failed_checks
    assert found is not None
    assert [check.name for check in found.evaluation.checks] == [*CHECKS, *QUANTIZED]
    names = [rung.attack["name"] for rung in found.evaluation.ladder]
    assert names == ["pgd", "pgd", "apgd", "rescaled", "transfer", "square"]


def test_a_float_network_meets_neither_those_attacks_nor_those_checks() -> None:
    found = judged(honest_network(1), count=20)
    assert [rung.attack["name"] for rung in found.evaluation.ladder] == ["pgd"]
    assert not {check.name for check in found.evaluation.checks} & set(QUANTIZED)


def test_the_float_twin_has_the_same_weights_without_rounding() -> None:
    network, x = quantized_network("W4A4"), digits_data().validation[:5].inputs()
    twin = float_twin(network)
    assert twin is not None
    kept = network(x)
    for module in (view_of(twin), view_of(network)):
        assert isinstance(module, FoldedView)
    assert not torch.allclose(twin(x), kept)
    conv = next(module for module in twin.modules() if isinstance(module, QuantConv2d))
    assert conv.kernel() is conv.weight
    assert torch.equal(network(x), kept), "the network itself goes on rounding"
    assert float_twin(tiny_network()) is None


def test_what_uses_no_gradient_comes_last_and_the_work_is_counted() -> None:
    twin = view_of(tiny_network())
    attacks = with_twin((Pgd(), Square(), Pgd(loss="margin"), Square()), twin)
    assert [one.describe(digits_config().threat)["name"] for one in attacks] == [
        "pgd", "square", "pgd", "rescaled", "transfer", "square",
    ]  # fmt: skip
    assert isinstance(attacks[4], Transfer)
    assert attacks[4].describe(digits_config().threat)["source"] == TWIN
    first = 90 * QUICK.attack.passes(10)  # of the measures
    besides = 30 * twin_passes(10)
    for rung, more in {"attack": first, "front": besides, "final": first + besides}.items():
        plain, quantized = (rung_passes(rung, QUICK, 10, 90, 30, is_quantized=one) for one in (False, True))  # type: ignore[arg-type]
        assert quantized - plain == pytest.approx(more)
    assert twin_passes(10) == pytest.approx(61)


def test_weights_of_zero_are_named_as_such_where_nothing_else_shows_them() -> None:
    network, x = copy.deepcopy(quantized_network("W4A4")), digits_data().validation[:20].inputs()
    network.classifier.weight.data.zero_()
    (fault,) = degenerate_grids(network, x).values()
    assert "weight" in fault


def test_grids_of_an_honest_network_are_sound_and_a_fault_names_its_layer() -> None:
    network, x = copy.deepcopy(quantized_network("W2A4")), digits_data().validation[:20].inputs()
    assert degenerate_grids(network, x) == {}
    network.classifier.mean_square.fill_(torch.inf)
    assert isinstance(network.classifier, QuantLinear)
    assert degenerate_grids(network, x) == {"classifier": "the step of its grid is inf"}
