"""The pass by hand is the network's own pass in training mode: logits, gradients, statistics, number for number."""

import copy
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.networks import images, maps
from nas.networks.arithmetic import Arithmetic, arithmetic_of
from nas.networks.backprop import forward_of
from nas.networks.layer import layers_of
from search_spaces import BlockSpec, NetworkSpec
from search_spaces.mobilenet_tiny import preset
from search_spaces.network import build_network
from search_spaces.spec import Size
from tests.builders import BLOCKS, STEMS, generator, network_of, settled, small_resnet, spectrogram_spec
from tests.nas.networks.by_hand import assert_equal, assert_same, batches_for, loss_of, plain, step, walked

LAST, FIRST = torch.channels_last, torch.contiguous_format


@pytest.mark.parametrize(
    ("size", "channels", "count", "layout"),  # every pair of values is there
    [(8, 1, 1, LAST), (9, 3, 1, FIRST), (8, 3, 2, FIRST), (9, 1, 2, LAST), (9, 1, 3, FIRST), (8, 3, 3, LAST)],
)
@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_trains_as_by_autograd(
    name: str, size: int, channels: int, count: int, layout: torch.memory_format
) -> None:
    network = network_of(BLOCKS[name], size, channels).double().to(memory_format=layout)
    assert walked(network)
    assert_same(network, count)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (2, 9), (9, 7), (4, 17)], ids=str)
@pytest.mark.parametrize("name", BLOCKS)
def test_maps_of_any_shape_train_as_by_autograd(name: str, size: tuple[int, int]) -> None:
    assert_same(network_of(BLOCKS[name], size).double())


@pytest.mark.parametrize("size", [7, 8, 9])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("stem", STEMS)
def test_every_stem_trains_as_by_autograd(stem: str, channels: int, size: int) -> None:
    assert_same(network_of(BLOCKS["residuals around a stride"], size, channels, STEMS[stem]).double())


@pytest.mark.parametrize("stride", [1, 2, (3, 1)], ids=str)
@pytest.mark.parametrize("kernel", [(10, 4), (3, 1), (4, 5)], ids=str)
def test_spectrograms_train_as_by_autograd(kernel: Size, stride: Size) -> None:
    assert_same(settled(spectrogram_spec(kernel, stride)).double(), images=4)


def test_a_mobilenet_tiny_of_spectrograms_trains_as_by_autograd() -> None:
    network = build_network(preset("mousavi_w0.35_e6", (1, 49, 10)), generator()).double()
    assert walked(network)
    assert_same(network, images=4)


@pytest.mark.parametrize("size", [8, 9])
def test_a_network_without_any_window_trains_as_by_autograd(size: int) -> None:
    assert_same(network_of(BLOCKS["conv 1x1"], size, stem=(1, 1)).double())


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 7, 8, (4, 16), (5, 14)], ids=str)
def test_projections_train_as_by_autograd_in_both_arithmetics(size: int | tuple[int, int], count: int) -> None:
    network = small_resnet(size).double()
    layers = layers_of(network)
    assert layers is not None
    assert arithmetic_of(layers) == (images if size == (5, 14) else maps)
    assert_same(network, count)


def test_maps_are_dense_up_to_64_pixels_where_channels_mix_in_the_stem_only() -> None:
    def dense(name: str, size: int | tuple[int, int]) -> bool:
        layers = layers_of(network_of(BLOCKS[name], size))
        assert layers is not None
        windows = {layer.taps is not None for layer in layers if not layer.is_pointwise}
        assert windows == {arithmetic_of(layers) == maps}
        return windows == {True}

    assert dense("two residuals", 8)
    assert dense("two residuals", (4, 16))
    assert not dense("two residuals", (5, 13))
    assert not dense("conv 3x3", 8)


@pytest.mark.parametrize("name", ["inverted, stride 2", "conv 5x5, stride 2"])
def test_two_images_whose_maps_end_at_one_pixel_train_as_by_autograd(name: str) -> None:
    # Two values for each channel: the unbiased variance is twice the biased one.
    for size in (1, 2):
        assert_same(network_of(BLOCKS[name], size).double(), count=2, images=2)


@pytest.mark.parametrize("hidden", [3, 9])
@pytest.mark.parametrize("size", [8, 9])
def test_a_network_that_begins_with_a_residual_trains_as_by_autograd(size: int, hidden: int) -> None:
    first = BlockSpec("inverted_residual", 0, 3, hidden, 3, 3, 1)
    assert_same(settled(NetworkSpec((3, size, size), 5, (first, BlockSpec("conv", 1, 3, 6, 6, 1, 1)))).double())


def test_a_whole_mobilenet_tiny_trains_as_by_autograd() -> None:
    assert_same(build_network(preset("mousavi_w0.35_e6", (3, 16, 16)), generator()).double(), images=4)


@pytest.mark.parametrize("size", [8, 9])
def test_a_channel_that_is_constant_trains_as_by_autograd(size: int) -> None:
    network = network_of(BLOCKS["inverted, residual"], size).double()
    with torch.no_grad():
        network.features[0][0].weight[1].zero_()  # the same at every pixel: variance 0
        network.features[1].conv[0][0].weight[2].zero_()
        network.features[1].conv[1][0].weight[3].zero_()
    assert_same(network)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("size", [8, 9])
def test_gradients_add_up_over_several_steps(size: int) -> None:
    network = network_of(BLOCKS["two residuals"], size).double()
    other = copy.deepcopy(network)
    forward = forward_of(network)
    for count in (4, 6):
        batches = batches_for(network, 2, count)
        assert_equal(step(forward, network, batches), step(plain(other), other, batches))


@pytest.mark.parametrize("size", [8, 9])
def test_parameters_that_are_frozen_get_no_gradient(size: int) -> None:
    network = network_of(BLOCKS["inverted, residual"], size).double()
    network.features[0].requires_grad_(False)
    other = copy.deepcopy(network)
    for net, forward in ((network, forward_of(network)), (other, plain(other))):
        loss_of(forward(*batches_for(net, 2))).backward()  # type: ignore[no-untyped-call]
    for (name, found), expected in zip(network.named_parameters(), other.parameters(), strict=True):
        assert (found.grad is None) == (expected.grad is None), name
        if expected.grad is not None:
            torch.testing.assert_close(found.grad, expected.grad, rtol=0, atol=1e-9)


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_without_a_graph_logits_and_statistics_are_the_same(guard: Callable[[], torch.no_grad], size: int) -> None:
    network = network_of(BLOCKS["inverted, residual"], size).double()
    other = copy.deepcopy(network)
    forward, batches = forward_of(network), batches_for(network, 2)
    with guard():
        found, expected = forward(*batches), plain(other)(*batches)
        for one, wanted in zip(found, expected, strict=True):
            assert not one.requires_grad
            torch.testing.assert_close(one, wanted, rtol=0, atol=1e-9)
    assert_equal(dict(network.named_buffers()), dict(other.named_buffers()))
    assert_same(network)  # the statistics are no inference tensors: training goes on


@pytest.mark.parametrize("size", [8, 9])
def test_a_second_backward_pass_is_refused_unless_the_graph_is_retained(size: int) -> None:
    network = network_of(BLOCKS["inverted, residual"], size).double()
    loss = torch.cat(forward_of(network)(*batches_for(network, 2))).sum()  # a sum keeps nothing that could refuse
    loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    once = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    loss.backward()  # type: ignore[no-untyped-call]
    for parameter, expected in zip(network.parameters(), once, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, 2 * expected)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("size", [8, 9])
def test_weights_that_changed_before_the_backward_pass_are_noticed(size: int) -> None:
    network = network_of(BLOCKS["inverted, residual"], size).double()
    loss = loss_of(forward_of(network)(*batches_for(network, 2)))
    with torch.no_grad():
        network.features[1].conv[0][0].weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("size", [8, 9])
def test_activations_live_no_longer_than_the_backward_pass(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    network = network_of(BLOCKS["inverted, residual"], size)
    arithmetic: Arithmetic = maps if size == 8 else images
    convolve = arithmetic.convolve
    alive: list[weakref.ref[Tensor]] = []

    def watched(*args: Any) -> Tensor:
        z = convolve(*args)
        alive.append(weakref.ref(z))
        return z

    monkeypatch.setattr(arithmetic, "convolve", watched)
    logits = forward_of(network)(*batches_for(network, 2))
    assert all(ref() is not None for ref in alive)
    loss = loss_of(logits)
    loss.backward()  # type: ignore[no-untyped-call]
    assert len(alive) >= 4
    assert [ref() for ref in alive if ref() is not None] == [], "the logits keep what only the backward pass needs"


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("name", BLOCKS)
def test_in_float32_it_is_as_exact_as_autograd(name: str, size: int) -> None:
    network = network_of(BLOCKS[name], size)
    exact, other = copy.deepcopy(network).double(), copy.deepcopy(network)
    batches = batches_for(network, 2, images=32)
    truth = step(plain(exact), exact, [batch.double() for batch in batches])
    ours, theirs = step(forward_of(network), network, batches), step(plain(other), other, batches)
    for part in ("logits", "gradient", "features"):
        error, usual = (distance(side, truth, part) for side in (ours, theirs))
        assert error <= 2 * usual + 1e-6, part


def distance(found: dict[str, Tensor], truth: dict[str, Tensor], part: str) -> float:
    """Relative error, in the l2 norm, of everything whose name starts with `part`."""
    names = [name for name in truth if name.startswith(part)]
    one, other = (torch.cat([side[name].double().flatten() for name in names]) for side in (found, truth))
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("shift", [10, 100, 1000])
def test_in_float32_a_channel_far_from_zero_is_as_exact_as_by_autograd(shift: float) -> None:
    # The channel's mean is `shift` standard deviations away from 0: E[z²] − E[z]² would lose its digits.
    network = network_of(BLOCKS["inverted, residual"], 8, stem=(1, 1))
    with torch.no_grad():
        network.normalization.mean.fill_(0.5 - shift * 0.29)
        network.normalization.std.fill_(1.0)
        network.features[0][0].weight.abs_()
    exact, other = copy.deepcopy(network).double(), copy.deepcopy(network)
    batches = batches_for(network, 1, images=32)
    truth = plain(exact)(batches[0].double())[0]
    error, usual = (
        float((side(batches[0])[0].double() - truth).abs().max().detach())
        for side in (forward_of(network), plain(other))
    )
    assert error <= 10 * usual + 1e-5, f"{error:.1e}, by autograd {usual:.1e}"


def test_a_network_that_changes_its_number_format_needs_a_new_pass() -> None:
    network = network_of(BLOCKS["inverted, residual"], 8)
    forward = forward_of(network)
    network.double()
    with pytest.raises(RuntimeError):
        forward(*batches_for(network, 1))
    assert_same(network)


def test_a_copied_pass_belongs_to_the_copied_network() -> None:
    network = network_of(BLOCKS["inverted, residual"], 8).double()
    before = copy.deepcopy(network.state_dict())
    other, forward = copy.deepcopy((network, forward_of(network)))
    step(forward, other, batches_for(other, 2))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(p.grad is None for p in network.parameters())
