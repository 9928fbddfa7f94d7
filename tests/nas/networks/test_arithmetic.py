"""One layer by hand is one convolution of torch, in both arithmetics: forwards, backwards by input and by weight."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.networks import images, maps
from nas.networks.arithmetic import Arithmetic, arithmetic_of, clamp_back_
from nas.networks.layer import Layer, _densely
from search_spaces.spec import Size
from tests.builders import generator

WINDOWS = [(1, 1, 0), (1, 2, 0), (3, 1, 1), (3, 2, 1), (3, 1, 0), (3, 1, 2), (3, 3, 1), (5, 1, 2), (5, 2, 2)]
SIZES = [(8, 8), (5, 7), (7, 4), (3, 21), (1, 1), (2, 2)]
GRID = [
    (kernel, stride, padding, size)
    for kernel, stride, padding in WINDOWS
    for size in SIZES
    if min(size) + 2 * padding >= kernel
]

each_arithmetic = pytest.mark.parametrize("arithmetic", [images, maps], ids=["images", "maps"])
each_form = pytest.mark.parametrize(
    ("arithmetic", "major"),
    [(images, False), (images, True), (maps, True)],
    ids=["pixel-major images", "channel-major images", "maps"],
)


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def layer_of(
    arithmetic: Arithmetic, into: int, out: int, window: tuple[Size, Size, Size], groups: int, size: tuple[int, int]
) -> Layer:
    """Layer with a window of kernel size, stride and padding, for inputs of `size`."""
    kernel, stride, padding = window
    conv = nn.Conv2d(into, out, kernel, stride, padding, groups=groups, bias=False, device="meta").double()
    conv = conv.to_empty(device="cpu")
    conv.weight.data.copy_(random(*conv.weight.shape))
    layer = Layer(conv, nn.BatchNorm2d(out), relu6=False, opens_residual=False, closes_residual=False)
    return _densely([layer], *size)[0] if arithmetic == maps else layer


def formed(arithmetic: Arithmetic, x: Tensor, major: bool) -> Tensor:
    """Images (N, C, H, W) in the form in which they flow between layers."""
    if arithmetic == maps:
        return x.transpose(0, 1).flatten(2).contiguous()
    order = (1, 0, 2, 3) if major else (0, 2, 3, 1)
    back = (1, 0, 2, 3) if major else (0, 3, 1, 2)
    return x.permute(order).contiguous().permute(back)


def lies(h: Tensor, major: bool) -> bool:
    """Whether `h` lies in memory as `formed` lays it."""
    if h.dim() == 3:
        return h.is_contiguous()
    return h.transpose(0, 1).is_contiguous() if major else h.is_contiguous(memory_format=torch.channels_last)


def storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def assert_is_torchs(arithmetic: Arithmetic, layer: Layer, size: tuple[int, int], count: int = 3) -> None:
    conv = layer.conv
    x = random(count, conv.in_channels, *size, seed=2).requires_grad_()
    weight = conv.weight.detach().clone().requires_grad_()
    bias = random(conv.out_channels, seed=3)
    expected = F.conv2d(x, weight, None, conv.stride, conv.padding, 1, conv.groups)
    gradient = random(*expected.shape, seed=4)
    by_x, by_weight = torch.autograd.grad(expected, (x, weight), gradient)
    weight = weight.detach()

    h = formed(arithmetic, x.detach(), layer.channel_major_in)
    slope = formed(arithmetic, gradient, layer.channel_major_out)
    wanted = formed(arithmetic, expected.detach(), layer.channel_major_out)
    matrix = arithmetic.matrix_of(layer, weight)
    given = [h, slope, matrix, weight, bias]
    before = [tensor.clone() for tensor in given]

    found, shifted = arithmetic.convolve(layer, h, matrix), arithmetic.convolve(layer, h, matrix, bias)
    torch.testing.assert_close(found, wanted)
    shift = bias[:, None, None]
    torch.testing.assert_close(shifted, wanted + shift)
    backs = [arithmetic.convolve_back(layer, slope, h, matrix, None)]
    if layer.flips:
        backs.append(arithmetic.convolve_back(layer, slope, h, matrix, images.flipped(layer, weight)))
    for back in backs:
        torch.testing.assert_close(back, formed(arithmetic, by_x, layer.channel_major_in))
    found_by_weight = arithmetic.weight_gradient(layer, slope, h)
    torch.testing.assert_close(found_by_weight, by_weight)

    for tensor, kept in zip(given, before, strict=True):
        assert torch.equal(tensor, kept), "an input was changed"
    for result in (found, shifted, *backs, found_by_weight):
        assert storage(result) not in map(storage, given), "a result shares the memory of an input"


@each_arithmetic
@pytest.mark.parametrize(("kernel", "stride", "padding", "size"), GRID)
@pytest.mark.parametrize(("into", "out", "groups"), [(1, 4, 1), (3, 5, 1), (4, 4, 4), (1, 1, 1), (6, 2, 1)])
def test_a_layer_is_torchs_convolution(
    kernel: int, stride: int, padding: int, size: tuple[int, int], into: int, out: int, groups: int,
    arithmetic: Arithmetic,
) -> None:  # fmt: skip
    layer = layer_of(arithmetic, into, out, (kernel, stride, padding), groups, size)
    assert (layer.taps is None) == (arithmetic == images or layer.is_pointwise)
    assert_is_torchs(arithmetic, layer, size)


RECTANGLES: list[tuple[Size, Size, Size]] = [
    ((3, 1), 1, (1, 0)), ((1, 5), 1, (0, 2)), ((3, 5), (2, 1), (1, 2)), ((1, 1), (1, 2), 0), ((1, 1), (3, 2), 0),
    ((4, 2), 1, (1, 0)), ((6, 4), 2, (2, 1)), ((4, 3), (3, 2), (1, 1)), ((3, 3), 1, (1, 0)), ((3, 1), (1, 2), (2, 1)),
]  # fmt: skip


@each_arithmetic
@pytest.mark.parametrize("size", [(8, 8), (5, 7), (7, 4), (3, 21)], ids=str)
@pytest.mark.parametrize("window", RECTANGLES, ids=str)
@pytest.mark.parametrize(("into", "out", "groups"), [(1, 4, 1), (3, 5, 1), (4, 4, 4), (6, 2, 1)])
def test_a_layer_of_a_rectangular_window_is_torchs_convolution(
    into: int, out: int, groups: int, window: tuple[Size, Size, Size], size: tuple[int, int], arithmetic: Arithmetic
) -> None:
    layer = layer_of(arithmetic, into, out, window, groups, size)
    assert (layer.taps is None) == (arithmetic == images)
    assert_is_torchs(arithmetic, layer, size)


def test_only_windows_that_keep_the_size_turn_round() -> None:
    turning = [window for window in RECTANGLES if layer_of(images, 4, 4, window, 1, (8, 8)).flips]
    assert turning == [((3, 1), 1, (1, 0)), ((1, 5), 1, (0, 2))]


@each_arithmetic
@pytest.mark.parametrize(("kernel", "stride", "padding"), WINDOWS)
@pytest.mark.parametrize(("into", "out", "groups"), [(1, 4, 1), (3, 5, 1), (4, 4, 4)])
def test_a_layer_is_torchs_convolution_of_one_image(
    kernel: int, stride: int, padding: int, into: int, out: int, groups: int, arithmetic: Arithmetic
) -> None:
    layer = layer_of(arithmetic, into, out, (kernel, stride, padding), groups, (5, 7))
    assert_is_torchs(arithmetic, layer, (5, 7), count=1)


@pytest.mark.parametrize("channel_major_in", [False, True])
@pytest.mark.parametrize("channel_major_out", [False, True])
@pytest.mark.parametrize(("into", "out"), [(3, 7), (7, 3), (1, 2), (2, 1)])
def test_a_matrix_for_all_pixels_leads_from_any_layout_to_any(
    channel_major_in: bool, channel_major_out: bool, into: int, out: int
) -> None:
    layer = layer_of(images, into, out, (1, 1, 0), 1, (4, 5))
    layer = replace(layer, channel_major_in=channel_major_in, channel_major_out=channel_major_out)
    assert_is_torchs(images, layer, (4, 5))


@each_form
@pytest.mark.parametrize(("into", "out", "kernel", "groups"), [(3, 4, 3, 1), (4, 4, 3, 4), (3, 4, 1, 1)])
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("bias", [False, True])
def test_results_lie_in_the_layout_that_the_next_layer_wants(
    bias: bool, stride: int, into: int, out: int, kernel: int, groups: int, arithmetic: Arithmetic, major: bool
) -> None:
    layer = layer_of(arithmetic, into, out, (kernel, stride, kernel // 2), groups, (8, 8))
    major = major and (arithmetic == maps or layer.is_pointwise)  # windows of images are pixel-major
    layer = replace(layer, channel_major_in=major, channel_major_out=major)
    h = formed(arithmetic, random(5, into, 8, 8), major)
    matrix = arithmetic.matrix_of(layer, layer.conv.weight.detach())
    y = arithmetic.convolve(layer, h, matrix, random(out) if bias else None)
    assert lies(y, major), f"strides {y.stride()} of {tuple(y.shape)}"
    turned = [None, images.flipped(layer, layer.conv.weight.detach())] if layer.flips else [None]
    for kernel_back in turned:
        back = arithmetic.convolve_back(layer, y, h, matrix, kernel_back)
        assert lies(back, major), f"strides {back.stride()} of {tuple(back.shape)}"


@each_arithmetic
def test_the_matrix_of_a_pointwise_layer_is_its_live_weight(arithmetic: Arithmetic) -> None:
    layer = layer_of(arithmetic, 3, 5, (1, 1, 0), 1, (4, 5))
    matrix = arithmetic.matrix_of(layer, layer.conv.weight.detach())
    assert matrix.shape == (5, 3)
    assert matrix.data_ptr() == layer.conv.weight.data_ptr()


@pytest.mark.parametrize("groups", [1, 4])
def test_images_convolve_with_the_live_weight_itself(groups: int) -> None:
    layer = layer_of(images, 4, 4, (3, 1, 1), groups, (4, 5))
    weight = layer.conv.weight.detach()
    assert images.matrix_of(layer, weight) is weight


@pytest.mark.parametrize("window", [(1, 2, 0), (3, 1, 1), (3, 2, 1), (5, 2, 2), (3, 1, 0)], ids=str)
def test_the_matrix_of_a_dense_window_holds_the_output_for_every_unit_image(window: tuple[int, int, int]) -> None:
    _, stride, padding = window
    depthwise, mixing = (layer_of(maps, 3, out, window, groups, (4, 5)) for out, groups in ((3, 3), (2, 1)))
    units = torch.eye(20, dtype=torch.float64).view(20, 1, 4, 5)
    weight = depthwise.conv.weight.detach()
    expected = F.conv2d(units.expand(-1, 3, -1, -1), weight, None, stride, padding, groups=3)
    torch.testing.assert_close(maps.matrix_of(depthwise, weight), expected.flatten(2).transpose(0, 1))
    units = torch.eye(60, dtype=torch.float64).view(60, 3, 4, 5)
    weight = mixing.conv.weight.detach()
    expected = F.conv2d(units, weight, None, stride, padding)
    torch.testing.assert_close(maps.matrix_of(mixing, weight), expected.flatten(1))


@each_arithmetic
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=["last", "first"])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 4])
def test_images_enter_and_their_gradient_leaves(
    count: int, channels: int, size: tuple[int, int], layout: torch.memory_format, arithmetic: Arithmetic
) -> None:
    x = random(count, channels, *size).contiguous(memory_format=layout)
    kept = x.clone()
    h = arithmetic.enter(x)
    assert torch.equal(h, formed(arithmetic, x, major=False))
    assert lies(h, major=False)
    gradient = formed(arithmetic, random(*x.shape, seed=2), major=False)
    before = gradient.clone()
    live = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(arithmetic.enter(live) * 1, live, gradient)
    assert torch.equal(arithmetic.leave(gradient, x), expected)
    assert torch.equal(arithmetic.leave(h, x), x)
    assert torch.equal(x, kept)
    assert torch.equal(gradient, before)


@each_form
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 4])
def test_pooling_is_torchs_mean(
    count: int, channels: int, size: tuple[int, int], arithmetic: Arithmetic, major: bool
) -> None:
    x = random(count, channels, *size).requires_grad_()
    expected = F.adaptive_avg_pool2d(x, 1).flatten(1)
    gradient = random(count, channels, seed=2)
    (by_x,) = torch.autograd.grad(expected, x, gradient)
    h = formed(arithmetic, x.detach(), major)
    given = [h, gradient]
    before = [tensor.clone() for tensor in given]
    pooled, back = arithmetic.pool(h), arithmetic.unpool(gradient, h)
    torch.testing.assert_close(pooled, expected.detach())
    torch.testing.assert_close(back, formed(arithmetic, by_x, major))
    assert lies(back, major)
    for tensor, kept in zip(given, before, strict=True):
        assert torch.equal(tensor, kept)
    back.zero_()  # what comes next works in place
    assert torch.equal(gradient, before[1])
    assert torch.equal(h, before[0])


@each_arithmetic
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_channels_of_several_batches_are_a_view(
    groups: int, channels: int, size: tuple[int, int], arithmetic: Arithmetic
) -> None:
    x = random(2 * groups, channels, *size)
    h = formed(arithmetic, x, major=True)
    found = arithmetic.by_channel(h, groups)
    assert found.shape == (1, channels * groups, 2 * size[0] * size[1])
    assert found.data_ptr() == h.data_ptr()
    assert found.is_contiguous()
    for channel in range(channels):
        for index, batch in enumerate(x.chunk(groups)):
            assert torch.equal(found[0, channel * groups + index], batch[:, channel].flatten())


@pytest.mark.parametrize("major", [False, True])
def test_pixels_are_a_view_in_both_layouts(major: bool) -> None:
    x = formed(images, random(4, 3, 5, 6), major)
    pixels = images.rows(x)
    assert pixels.shape == (120, 3)
    assert pixels.data_ptr() == x.data_ptr()
    assert torch.equal(pixels[31], x[1, :, 0, 1])


def test_maps_are_for_dense_windows_and_images_for_all_others() -> None:
    window, matrix = ((3, 1, 1), 4), ((1, 1, 0), 1)
    for arithmetic in (images, maps):
        layers = [layer_of(arithmetic, 4, 4, *each, (4, 5)) for each in (matrix, window, matrix)]
        assert arithmetic_of(layers) == arithmetic


def test_relu6_lets_through_where_it_is_not_at_an_end() -> None:
    z = torch.tensor([-1.0, 0.0, 1e-30, 3.0, 6.0, 7.0, torch.nan], requires_grad=True)
    output = F.relu6(z)
    output.backward(torch.arange(1.0, 8.0))  # type: ignore[no-untyped-call]
    gradient = torch.arange(1.0, 8.0)
    clamp_back_(gradient, output.detach(), 0, 6)
    assert z.grad is not None
    assert torch.equal(gradient, z.grad)
