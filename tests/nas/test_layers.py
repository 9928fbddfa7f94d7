"""One layer by hand is one convolution of torch: forwards, backwards by the input, backwards by the weight."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.layers import (
    Layer,
    _densely,
    _maps,
    convolve,
    convolve_back,
    flipped,
    in_layout,
    layers_of,
    matrix_of,
    relu6_back_,
    rows,
    weight_gradient,
)
from tests.builders import BLOCKS, generator, network_of

WINDOWS = [(1, 1, 0), (1, 2, 0), (3, 1, 1), (3, 2, 1), (3, 1, 0), (3, 1, 2), (3, 3, 1), (5, 1, 2), (5, 2, 2)]
GRID = [
    (kernel, stride, padding, size)
    for kernel, stride, padding in WINDOWS
    for size in [(8, 8), (5, 7), (7, 4), (3, 21), (1, 1), (2, 2)]
    if min(size) + 2 * padding >= kernel
]


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def layer_of(into: int, out: int, kernel: int, stride: int, padding: int, groups: int) -> Layer:
    conv = nn.Conv2d(into, out, kernel, stride, padding, groups=groups, bias=False, device="meta").double()
    conv = conv.to_empty(device="cpu")
    conv.weight.data.copy_(random(*conv.weight.shape))
    return Layer(conv, nn.BatchNorm2d(out), relu6=False, opens_residual=False, closes_residual=False)


def assert_is_torchs(layer: Layer, size: tuple[int, int], images: int = 3) -> None:
    conv = layer.conv
    x = in_layout(layer, random(images, conv.in_channels, *size, seed=2)).requires_grad_()
    weight = conv.weight.detach().clone().requires_grad_()
    bias = random(conv.out_channels, seed=3)
    expected = F.conv2d(x, weight, None, conv.stride, conv.padding, 1, conv.groups)
    gradient = random(*expected.shape, seed=4)
    by_x, by_weight = torch.autograd.grad(expected, (x, weight), gradient)
    x, expected, weight = x.detach(), expected.detach(), weight.detach()
    gradient = in_layout(replace(layer, channel_major_in=layer.channel_major_out), gradient)
    matrix = matrix_of(layer, weight)
    turned = flipped(layer, weight) if layer.flips else None
    kept = x.clone(), gradient.clone()
    found = convolve(layer, x, matrix)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(convolve(layer, x, matrix, bias), expected + bias[:, None, None])
    back = convolve_back(layer, gradient, x, matrix, turned)
    torch.testing.assert_close(back, by_x)
    found_by_weight = weight_gradient(layer, gradient, x)
    assert found_by_weight.shape == weight.shape
    torch.testing.assert_close(found_by_weight, by_weight)
    assert torch.equal(x, kept[0])
    assert torch.equal(gradient, kept[1])
    for result in (found, back, convolve(layer, x, matrix, bias)):
        assert not any(result.data_ptr() == given.data_ptr() for given in (x, gradient, matrix))


@pytest.mark.parametrize(("kernel", "stride", "padding", "size"), GRID)
@pytest.mark.parametrize(("into", "out", "groups"), [(1, 4, 1), (3, 5, 1), (4, 4, 4), (1, 1, 1), (6, 2, 1)])
def test_a_layer_is_torchs_convolution(
    kernel: int, stride: int, padding: int, size: tuple[int, int], into: int, out: int, groups: int
) -> None:
    assert_is_torchs(layer_of(into, out, kernel, stride, padding, groups), size)


@pytest.mark.parametrize(("kernel", "stride", "padding", "size"), GRID)
@pytest.mark.parametrize(("into", "out", "groups"), [(1, 4, 1), (3, 5, 1), (4, 4, 4), (1, 1, 1)])
def test_a_dense_layer_is_torchs_convolution(
    kernel: int, stride: int, padding: int, size: tuple[int, int], into: int, out: int, groups: int
) -> None:
    (layer,) = _densely([layer_of(into, out, kernel, stride, padding, groups)], *size)
    assert (layer.taps is None) == layer.is_pointwise
    assert_is_torchs(layer, size)


@pytest.mark.parametrize("channel_major_in", [False, True])
@pytest.mark.parametrize("channel_major_out", [False, True])
@pytest.mark.parametrize(("into", "out"), [(3, 7), (7, 3), (1, 2), (2, 1)])
def test_a_matrix_for_all_pixels_leads_from_any_layout_to_any(
    channel_major_in: bool, channel_major_out: bool, into: int, out: int
) -> None:
    layer = replace(
        layer_of(into, out, 1, 1, 0, 1), channel_major_in=channel_major_in, channel_major_out=channel_major_out
    )
    assert_is_torchs(layer, (4, 5))


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize(("into", "out", "kernel", "groups"), [(3, 4, 3, 1), (4, 4, 3, 4), (3, 4, 1, 1)])
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("bias", [False, True])
def test_results_lie_in_the_layout_that_the_next_layer_wants(
    bias: bool, stride: int, into: int, out: int, kernel: int, groups: int, dense: bool
) -> None:
    layer = layer_of(into, out, kernel, stride, kernel // 2, groups)
    if dense:
        (layer,) = _densely([layer], 8, 8)
    x = in_layout(layer, random(5, into, 8, 8))
    y = convolve(layer, x, matrix_of(layer, layer.conv.weight.detach()), random(out) if bias else None)
    lies = y.transpose(0, 1).is_contiguous() if dense else y.is_contiguous(memory_format=torch.channels_last)
    assert lies, f"strides {y.stride()} of {tuple(y.shape)}"


def test_pixels_are_a_view_in_both_layouts() -> None:
    layer = layer_of(3, 3, 1, 1, 0, 1)
    for major in (False, True):
        x = in_layout(replace(layer, channel_major_in=major), random(4, 3, 5, 6))
        pixels = rows(x)
        assert pixels.shape == (120, 3)
        assert pixels.data_ptr() == x.data_ptr()
        assert torch.equal(pixels[31], x[1, :, 0, 1])
    assert _maps(x).data_ptr() == x.data_ptr()
    assert torch.equal(_maps(x)[2, 3], x[3, 2].flatten())


def test_taps_lead_from_every_pixel_of_a_window_to_its_centre() -> None:
    (layer,) = _densely([layer_of(1, 1, 3, 1, 1, 1)], 2, 3)
    assert layer.taps is not None
    assert layer.taps.shape == (9, 6, 6)
    assert torch.equal(layer.taps[4], torch.eye(6, dtype=torch.float64))
    expected = torch.zeros(6, 6, dtype=torch.float64)
    expected[3, 1] = expected[4, 2] = 1  # the kernel's lower left corner: from (1, 0) to (0, 1), from (1, 1) to (0, 2)
    assert torch.equal(layer.taps[6], expected)


def test_the_matrix_of_a_pointwise_layer_is_its_live_weight() -> None:
    layer = layer_of(3, 5, 1, 1, 0, 1)
    matrix = matrix_of(layer, layer.conv.weight.detach())
    assert matrix.shape == (5, 3)
    assert matrix.data_ptr() == layer.conv.weight.data_ptr()


def test_relu6_lets_through_where_it_is_not_at_an_end() -> None:
    z = torch.tensor([-1.0, 0.0, 1e-30, 3.0, 6.0, 7.0, torch.nan], requires_grad=True)
    output = F.relu6(z)
    output.backward(torch.arange(1.0, 8.0))  # type: ignore[no-untyped-call]
    gradient = torch.arange(1.0, 8.0)
    relu6_back_(gradient, output.detach())
    assert z.grad is not None
    assert torch.equal(gradient, z.grad)


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("name", BLOCKS)
def test_layers_are_the_convolutions_of_the_spec_in_order(name: str, size: int) -> None:
    network = network_of(BLOCKS[name], size)
    layers = layers_of(network)
    assert layers is not None
    expected = [conv for block in network.spec.blocks for conv in block.convolutions]
    assert [tuple(layer.conv.weight.shape) for layer in layers] == [conv.weight_shape for conv in expected]
    residuals = sum(block.has_residual for block in network.spec.blocks)
    assert sum(layer.opens_residual for layer in layers) == residuals
    assert sum(layer.closes_residual for layer in layers) == residuals
    for before, after in pairwise(layers):
        assert before.channel_major_out == after.channel_major_in
