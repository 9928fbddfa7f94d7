"""Quantized networks: the passes by hand against autograd, what is rounded, when, and what is refused."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas.attacks.threat import ThreatModel
from nas.evaluation.certified import certified_lipschitz
from nas.networks.grids import levels_of
from nas.networks.inheritance import inherit
from nas.networks.layer import folded_weight, is_walked, layers_of
from nas.networks.norms import factors_of
from nas.networks.plain import PlainConv, PlainSum, plain_of, walked
from nas.networks.quantized import QuantConv2d, QuantLinear, QuantReLU6, Rounding, RunningRange
from nas.networks.stored import tensors_of
from nas.networks.treatments.settings import Quantize
from nas.networks.treatments.treatment import after_step_, can_capture, finish_, prepare_
from nas.networks.view import AutogradView, FoldedView, view_of
from nas.training.averaging import reestimate_batch_norm_
from nas.training.loop import batch_norm_batches, scored_network, start_training, train_epoch
from search_spaces import BlockSpec, NetworkSpec
from search_spaces.network import Network, build_network
from tests.builders import (
    BLOCKS,
    TINY_TRAINING,
    generator,
    network_of,
    settled,
    small_resnet,
    tiny_images,
    tiny_network,
)
from tests.nas.networks.test_backprop import assert_same

MIXES: dict[str, dict[str, Any]] = {
    "W8A8": {},
    "W4A2": {"weights": 4, "activations": 2},
    "W2A32": {"weights": 2, "activations": 32},
    "W32A4": {"weights": 32, "activations": 4},
    "stochastic ternary": {"weights": "ternary", "activations": 3, "stochastic": True},
    "not begun": {"weights": "binary", "activations": 4, "start": 0.5},
}


def quantized(network: Network, **settings: Any) -> Network:
    """Treated, its ranges as after some training: grids of equal steps have sums that end on a bound exactly."""
    prepare_(network, (Quantize(**settings),), generator(5))
    for index, module in enumerate(network.modules()):
        if isinstance(module, RunningRange):
            module.mean_square.fill_(0.3 + float(torch.rand((), generator=generator(index))))
    return network


def assert_alike(network: Network) -> None:
    """Training step, logits and gradient by the pixels are those of autograd."""
    assert is_walked(network)
    assert_same(network, 2)
    network.eval()
    shape = (5, *network.spec.input_shape)
    x = torch.rand(shape, generator=generator(3), dtype=torch.float64)
    view, plain = view_of(network), AutogradView(network)
    assert isinstance(view, FoldedView)

    def slope(logits: Tensor) -> Tensor:
        return torch.randn(logits.shape, generator=generator(4), dtype=logits.dtype)

    (logits, gradient), (expected, wanted) = view.gradient(x, slope), plain.gradient(x, slope)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-9)
    assert torch.equal(view.logits(x), logits)


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_is_walked_as_by_autograd(name: str, mix: str, size: int) -> None:
    if size == 9 and (list(BLOCKS).index(name) + list(MIXES).index(mix)) % 3:  # on images, a third of all pairs
        return
    assert_alike(quantized(network_of(BLOCKS[name], size, 3), **MIXES[mix]).double().train())


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("size", [8, (5, 14)], ids=str)
def test_projections_are_walked_as_by_autograd(size: int | tuple[int, int], mix: str) -> None:
    assert_alike(quantized(small_resnet(size), **MIXES[mix]).double().train())


@pytest.mark.parametrize("size", [8, 9])
def test_blocks_of_different_bits_are_walked_as_by_autograd(size: int) -> None:
    bits = [(4, 8), (2, 32), (8, 4), (32, 2), (1, 8)]
    kinds = (
        BlockSpec("conv", 0, 3, 4, 4, 3, 1), BlockSpec("inverted_residual", 1, 4, 8, 4, 3, 1),
        BlockSpec("resnet", 2, 4, 6, 6, 3, 1), BlockSpec("inverted_residual", 3, 6, 12, 6, 3, 1),
        BlockSpec("conv", 4, 6, 10, 10, 1, 1),
    )  # fmt: skip
    blocks = (
        BlockSpec(**{**vars(block), "weight_bits": weights, "activation_bits": activations})
        for block, (weights, activations) in zip(kinds, bits, strict=True)
    )
    network = quantized(settled(NetworkSpec((3, size, size), 5, tuple(blocks))), weights="ternary").double().train()
    grids = [conv.grid if isinstance(conv, QuantConv2d) else 32 for conv in _convolutions(network)]
    assert grids == [4, 2, 2, 2, 8, 8, 8, 32, 32, 32, 1]
    assert_alike(network)


@pytest.mark.parametrize("name", ["two residuals", "all kinds", "resnets in a row", "separable"])
def test_exactly_what_an_integer_network_stores_is_rounded(name: str) -> None:
    plain = network_of(BLOCKS[name], 8, 3)
    steps = plain_of(plain).steps
    layers = layers_of(quantized(copy.deepcopy(plain)))
    assert layers is not None
    assert sum(isinstance(step, PlainConv) for step in steps) == len([one for one in layers if one.rounding])
    assert sum(isinstance(step, PlainSum) for step in steps) == len([one for one in layers if one.sum_rounding])
    assert len(layers) == len([one for one in layers if one.rounding])


def test_every_stored_tensor_is_on_its_grid() -> None:
    network = quantized(network_of(BLOCKS["all kinds"], 8, 3), weights=4, activations=3).double().eval()
    seen: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, Rounding) and not isinstance(module, QuantLinear):
            assert isinstance(module, nn.Module)
            step = module.step
            module.register_forward_hook(lambda m, _, out, step=step: seen.append(out / step))  # type: ignore[misc]
    network(torch.rand(3, *network.spec.input_shape, dtype=torch.float64, generator=generator()))
    assert len(seen) == len(plain_of(network_of(BLOCKS["all kinds"], 8, 3)).steps)
    for values in seen:
        torch.testing.assert_close(values, values.round(), rtol=0, atol=1e-9)
        assert len(values.round().unique()) <= 8


@pytest.mark.parametrize("weights", [8, 4, 2, "ternary", "binary"])
def test_the_deployed_kernel_with_batch_norm_and_normalisation_is_on_its_grid(weights: int | str) -> None:
    network = quantized(settled(NetworkSpec((3, 8, 8), 5, (BlockSpec("conv", 0, 3, 6, 6, 3, 1),))), weights=weights)
    network.double().eval()
    with torch.no_grad():
        network.features[0][1].weight[0] *= -1  # a scale below 0 turns the kernel's sign
        network.normalization.std.copy_(torch.tensor([0.2, 0.3, 0.7]).view(1, 3, 1, 1))
        network.features[0][0].input_scale.copy_(network.normalization.std)
    layers = layers_of(network)
    assert layers is not None
    deployed = folded_weight(layers[0])[0].detach() / network.normalization.std
    levels, scale = levels_of(deployed, weights)
    if weights == 2:  # its scale is that of the weights before they were rounded
        scale = deployed.abs().flatten(1).amin(1).view(-1, 1, 1, 1)
        levels = (deployed / scale).round()
    if weights == "ternary":
        assert all(len(row.abs().round(decimals=9).unique()) <= 2 for row in deployed.flatten(1))
        return
    torch.testing.assert_close(levels * scale, deployed)


def test_a_network_of_rounded_weights_is_exported_as_it_is() -> None:
    network = quantized(network_of(BLOCKS["two residuals"], 8, 3), weights=4, activations=32).eval()
    x = torch.rand(3, *network.spec.input_shape, generator=generator())
    *_, logits = walked(plain_of(network), x)
    torch.testing.assert_close(logits.float(), network(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("name", ["all kinds", "resnets in a row"])
def test_plain_numbers_are_the_network_with_what_it_rounds(name: str, mix: str) -> None:
    network = quantized(network_of(BLOCKS[name], 8, 3), **MIXES[mix]).double().eval()
    x = torch.rand(3, *network.spec.input_shape, generator=generator(), dtype=torch.float64)
    plain = plain_of(network)
    *_, logits = walked(plain, x)
    torch.testing.assert_close(logits, network(x), rtol=0, atol=1e-9)
    assert plain.rounds_activations is (mix not in ("W2A32", "not begun"))
    assert plain.rounds is (mix != "not begun")
    for step in plain.steps:
        if isinstance(step, PlainConv) and step.levels is not None and step.source > 0:
            levels = step.levels.values
            scale = step.weight.abs().amax((1, 2, 3)) / levels.abs().amax((1, 2, 3))
            torch.testing.assert_close(step.weight, levels * scale.view(-1, 1, 1, 1))


def test_ranges_move_after_training_steps_only() -> None:
    network = quantized(tiny_network())
    ranges = [module for module in network.modules() if isinstance(module, RunningRange)]
    x = torch.rand(8, 1, 8, 8, generator=generator())
    before = [float(one.mean_square) for one in ranges]
    network.eval()(x)
    after_step_(network, torch.ones(()))
    assert [float(one.mean_square) for one in ranges] == before
    shortcut = next(one for one in ranges if one.low < 0)
    seen: list[Tensor] = []
    shortcut.register_forward_hook(lambda m, _, out: seen.append(m.seen.clone()))  # type: ignore[attr-defined]
    network.train()(x)
    assert [float(one.mean_square) for one in ranges] == before, "all passes of a step have one grid"
    after_step_(network, torch.ones(()))
    total, batches = seen[0].tolist()
    old = before[ranges.index(shortcut)]
    assert batches == 1
    assert float(shortcut.mean_square) == pytest.approx(0.9 * old + 0.1 * total)


def test_quantization_begins_when_it_is_time_and_always_for_what_is_scored() -> None:
    network = quantized(tiny_network(), weights=4, activations=4, start=0.5).eval()
    plain = tiny_network().eval()
    x = torch.rand(8, 1, 8, 8, generator=generator())
    after_step_(network, torch.tensor(0.4))
    torch.testing.assert_close(network(x), plain(x))
    scored = copy.deepcopy(network)
    finish_(scored)
    assert not torch.allclose(scored(x), plain(x))
    torch.testing.assert_close(network(x), plain(x), msg="the copy that is scored is rounded alone")
    after_step_(network, torch.tensor(0.5))
    assert torch.equal(network(x), scored(x))
    assert not can_capture(network)
    assert can_capture(quantized(tiny_network()))


def test_the_view_of_a_network_before_quantization_is_that_of_the_float_network() -> None:
    network, plain = quantized(tiny_network(), start=0.5).eval(), tiny_network().eval()
    x = torch.rand(8, 1, 8, 8, generator=generator())
    assert torch.equal(view_of(network).logits(x), view_of(plain).logits(x))


def test_stochastic_weights_change_from_step_to_step_and_are_scored_without_noise() -> None:
    network = quantized(tiny_network(), weights="ternary", stochastic=True)
    conv = network.features[1].conv[0][0]
    assert isinstance(conv, QuantConv2d)
    first, scored = conv.kernel(drawn=True), conv.kernel()
    after_step_(network, torch.tensor(0.25))
    assert not torch.equal(conv.kernel(drawn=True), first)
    assert torch.equal(conv.kernel(), scored)
    assert float(network.treatments[0].spread) == 0.75  # type: ignore[arg-type]
    after_step_(network, torch.ones(()))
    assert torch.equal(conv.kernel(drawn=True), scored), "the training ends with what is scored"
    noise = conv.noise
    assert noise is not None
    assert 0 <= float(noise.min()) <= float(noise.max()) < 1


def test_a_module_that_was_changed_is_left_to_autograd() -> None:
    for change in ("forward", "rounded"):
        network = quantized(tiny_network())
        relu6 = next(module for module in network.modules() if isinstance(module, QuantReLU6))
        setattr(relu6, change, lambda x: x)
        assert not is_walked(network), change


def test_weights_pass_from_a_quantized_network_to_a_larger_one() -> None:
    def spec(hidden: int) -> NetworkSpec:
        inner = BlockSpec("inverted_residual", 1, 4, hidden, 4, 3, 1)
        return NetworkSpec((1, 8, 8), 5, (BlockSpec("conv", 0, 1, 4, 4, 3, 1), inner))

    parent = quantized(build_network(spec(8), generator(1)))
    child = quantized(build_network(spec(12), generator(2)), weights=4)
    assert inherit(child, tensors_of(parent)) > 0.5
    (ours, theirs) = (tensors_of(one)["features.1.conv.3.mean_square"] for one in (child, parent))
    assert torch.equal(ours, theirs), "ranges, too"


def test_no_bound_is_given_for_a_function_with_jumps() -> None:
    network = quantized(tiny_network()).eval()
    for bound in (factors_of, certified_lipschitz):
        with pytest.raises(ValueError, match="activations are rounded"):
            bound(network)


def test_the_bound_of_rounded_weights_is_that_of_the_network_with_these_weights() -> None:
    network = quantized(tiny_network(), weights=2, activations=32).eval()
    rounded = tiny_network().eval()
    with torch.no_grad():
        for conv, of in zip(_convolutions(rounded), _convolutions(network), strict=True):
            assert isinstance(of, QuantConv2d)
            conv.weight.copy_(of.kernel())
        assert isinstance(network.classifier, QuantLinear)
        rounded.classifier.weight.copy_(network.classifier.kernel())
    assert certified_lipschitz(network).log10 == pytest.approx(certified_lipschitz(rounded).log10, abs=1e-6)


def _convolutions(network: Network) -> list[nn.Conv2d]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


def test_a_network_that_is_scored_halfway_has_the_statistics_of_weights_that_are_not_drawn() -> None:
    network = quantized(tiny_network(), weights="ternary", stochastic=True)
    state = start_training(network, TINY_TRAINING.model_copy(update={"epochs": 20, "ema_decay": 0.0}), generator())
    data = tiny_images(64)
    train_epoch(state, data, state.settings, ThreatModel(epsilon=0.05))
    assert float(network.treatments[0].spread) > 0.9  # type: ignore[arg-type]
    scored = scored_network(state, data, state.settings)
    wanted = copy.deepcopy(state.network)
    finish_(wanted)
    for conv in (part for part in wanted.modules() if isinstance(part, QuantConv2d)):
        conv.noise = None  # it could not draw if it would
    reestimate_batch_norm_(wanted, batch_norm_batches(data, state.settings))
    for name, tensor in wanted.named_buffers():
        if "running" in name:
            torch.testing.assert_close(scored.get_buffer(name), tensor)
