"""A network as a list of convolution layers, and the linear algebra of one layer, by hand.

The attack (`nas.attacks.view`) and the training step (`nas.training.backprop`) walk these layers themselves:
no graph is built, and what is a matrix product is computed as one.

Letters: N images, C channels (O out, I in), H × W pixels in, H' × W' out, M = N·H·W, k × k window.

Two memory layouts of an (N, C, H, W) tensor occur. *Pixel-major* (channels last) is what convolutions of a
window want. *Channel-major* (C outermost) is used between two pointwise convolutions, the bottleneck of an
inverted residual: on a CPU a product whose result has 8 columns runs at a fifth of the speed of its transpose.
On maps of at most `DENSE_PIXELS` everything is channel-major, and the window of a depthwise convolution becomes
a dense (H·W, H'·W') matrix per channel: more arithmetic, but several times less overhead than a library call.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.network import Network

DENSE_PIXELS = 64
DENSE_CHANNELS = 3
"""Input channels up to which a convolution that mixes channels may be dense (a stem)."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One convolution with its batch-norm and what follows."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d
    relu6: bool
    opens_residual: bool
    """Its input is added to the output of the layer that closes the residual."""
    closes_residual: bool
    channel_major_in: bool = False
    channel_major_out: bool = False
    reached: tuple[int, int] = (0, 0)
    """(H', W'), known for dense windows."""
    taps: Tensor | None = None
    """For a dense window: (k·k, H·W, H'·W'), 1 where the tap of the kernel leads from pixel to pixel."""

    @cached_property
    def is_pointwise(self) -> bool:
        """Whether the convolution is one matrix for all pixels."""
        return _is_pointwise(self.conv)

    @cached_property
    def is_depthwise(self) -> bool:
        """Whether every channel has a kernel of its own."""
        return self.conv.groups > 1

    @cached_property
    def flips(self) -> bool:
        """Whether the backward pass by the input is a convolution with the flipped kernel."""
        conv = self.conv
        return self.taps is None and conv.stride == (1, 1) and conv.kernel_size[0] == 2 * int(conv.padding[0]) + 1 > 1


def layers_of(network: nn.Module) -> tuple[Layer, ...] | None:
    """Layers of `network` in order, or None where it is not made of convolution + batch-norm [+ ReLU6] alone."""
    if not isinstance(network, Network):
        return None
    found: list[Layer] = []
    for block, module in zip(network.spec.blocks, network.features, strict=True):
        layers = _layers_of_block(module, block.has_residual)
        if layers is None or len(layers) != len(block.convolutions):
            return None
        found += layers
    if len({layer.norm.momentum for layer in found}) > 1:
        return None
    _, height, width = network.spec.input_shape
    dense = height * width <= DENSE_PIXELS and all(
        layer.is_pointwise or layer.is_depthwise or layer.conv.in_channels <= DENSE_CHANNELS for layer in found
    )
    return _densely(found, height, width) if dense else _with_bottlenecks(found)


def _layers_of_block(block: nn.Module, residual: bool) -> list[Layer] | None:
    leaves = [leaf for leaf in block.modules() if not list(leaf.children())]
    layers: list[Layer] = []
    while leaves:
        conv, norm, leaves = leaves[0], leaves[1] if len(leaves) > 1 else None, leaves[2:]
        if not (isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and _is_known(conv, norm)):
            return None
        relu6 = bool(leaves) and isinstance(leaves[0], nn.ReLU6)
        leaves = leaves[1:] if relu6 else leaves
        layers.append(Layer(conv, norm, relu6, residual and not layers, residual and not leaves))
    return None if residual and layers[-1].relu6 else layers


def _is_known(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> bool:
    plain = conv.bias is None and conv.padding_mode == "zeros" and conv.dilation == (1, 1)
    square = all(len(set(pair)) == 1 for pair in (conv.kernel_size, conv.stride, conv.padding))
    groups = conv.groups == 1 or conv.groups == conv.in_channels == conv.out_channels
    return plain and square and groups and norm.affine and norm.track_running_stats and norm.momentum is not None


def _is_pointwise(conv: nn.Conv2d) -> bool:
    return conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.groups == 1 and conv.padding == (0, 0)


def _with_bottlenecks(layers: list[Layer]) -> tuple[Layer, ...]:
    pointwise = [False, *(layer.is_pointwise for layer in layers), False]
    between = [a and b for a, b in pairwise(pointwise)]
    return tuple(
        replace(layer, channel_major_in=between[i], channel_major_out=between[i + 1]) for i, layer in enumerate(layers)
    )


def _densely(layers: list[Layer], height: int, width: int) -> tuple[Layer, ...]:
    found = []
    for layer in layers:
        taps = None if layer.is_pointwise else _taps(layer.conv, height, width)
        if taps is not None:
            taps, height, width = taps.flatten(2), taps.shape[2], taps.shape[3]
        found.append(replace(layer, channel_major_in=True, channel_major_out=True, taps=taps, reached=(height, width)))
    return tuple(found)


def _taps(conv: nn.Conv2d, height: int, width: int) -> Tensor:
    """(k·k, H·W, H', W'): the convolution of every unit kernel with every unit image."""
    (kernel, _), weight = conv.kernel_size, conv.weight.detach()
    images = torch.eye(height * width, dtype=weight.dtype, device=weight.device).view(-1, 1, height, width)
    kernels = torch.eye(kernel * kernel, dtype=weight.dtype, device=weight.device).view(-1, 1, kernel, kernel)
    return F.conv2d(images, kernels, None, conv.stride, conv.padding).transpose(0, 1).contiguous()


def matrix_of(layer: Layer, weight: Tensor) -> Tensor:
    """What `convolve` multiplies by or convolves with, from a weight (O, I/groups, k, k).

    Pointwise: (O, I). Dense window: (C, H·W, H'·W') of a depthwise convolution, (I·H·W, O·H'·W') where channels
    mix. Else the weight itself.
    """
    if layer.is_pointwise:
        return weight.flatten(1)
    if layer.taps is None:
        return weight
    count, pixels, reached = layer.taps.shape
    matrix = weight.reshape(-1, count) @ layer.taps.view(count, -1)
    if layer.is_depthwise:
        return matrix.view(-1, pixels, reached)
    out, into = weight.shape[:2]
    return matrix.view(out, into, pixels, reached).permute(1, 2, 0, 3).reshape(into * pixels, out * reached)


def in_layout(layer: Layer, x: Tensor) -> Tensor:
    """`x` (N, C, H, W) in the memory layout that the first layer wants."""
    if layer.channel_major_in:
        return x.transpose(0, 1).contiguous().transpose(0, 1)
    return x.contiguous(memory_format=torch.channels_last)


def convolve(layer: Layer, x: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolution (N, O, H', W') of `x` (N, I, H, W) with `matrix_of` its weight, plus `bias` (O,)."""
    if layer.is_pointwise:
        pixels = rows(x)
        if layer.channel_major_out:
            turned = pixels.t()
            product = torch.mm(matrix, turned) if bias is None else torch.addmm(bias[:, None], matrix, turned)
            return _from_channels(product, x.shape)
        turned = matrix.t()
        product = torch.mm(pixels, turned) if bias is None else torch.addmm(bias, pixels, turned)
        return _from_rows(product, x.shape)
    conv = layer.conv
    if layer.taps is None:
        return F.conv2d(x, matrix, bias, conv.stride, conv.padding, 1, conv.groups)
    size = (len(x), conv.out_channels, *layer.reached)
    if not layer.is_depthwise:
        product = torch.mm(x.reshape(len(x), -1), matrix).view(size[0], size[1], -1).transpose(0, 1)
    elif matrix.shape[2] < 8:  # the transposed product is three times faster where so few columns result
        product = torch.bmm(matrix.transpose(1, 2), _maps(x).transpose(1, 2)).transpose(1, 2)
    else:
        maps = _maps(x)
        product = torch.bmm(maps, matrix) if bias is None else torch.baddbmm(bias[:, None, None], maps, matrix)
        return _from_channels(product, size)
    return _from_channels(product.contiguous() if bias is None else product + bias[:, None, None], size)


def convolve_back(layer: Layer, gradient: Tensor, x: Tensor, matrix: Tensor, turned: Tensor | None) -> Tensor:
    """Gradient by the input `x` of a layer, in x's layout, from the gradient by its output.

    `turned` is `flipped(layer, weight)` where the layer has it: a forward convolution is up to twice as fast
    as the library's backward pass on a CPU.
    """
    conv = layer.conv
    if layer.is_pointwise:
        if layer.channel_major_in:
            return _from_channels(torch.mm(matrix.t(), rows(gradient).t()), x.shape)
        return _from_rows(torch.mm(rows(gradient), matrix), x.shape)
    if turned is not None:
        return F.conv2d(gradient, turned, None, 1, conv.padding, 1, conv.groups)
    if layer.taps is not None:
        if layer.is_depthwise:
            return _from_channels(torch.bmm(_maps(gradient), matrix.transpose(1, 2)), x.shape)
        product = torch.mm(gradient.reshape(len(gradient), -1), matrix.t())
        return product.view(x.shape).transpose(0, 1).contiguous().transpose(0, 1)
    (kernel, _), (stride, _), (padding, _) = conv.kernel_size, conv.stride, (int(p) for p in conv.padding)
    sizes = zip(x.shape[2:], gradient.shape[2:], strict=True)
    extra = [size - ((out - 1) * stride - 2 * padding + kernel) for size, out in sizes]
    return F.conv_transpose2d(gradient, matrix, None, stride, padding, extra, conv.groups)


def flipped(layer: Layer, weight: Tensor) -> Tensor:
    """Kernel of the convolution that is the backward pass by the input; for layers with `flips`."""
    turned = weight.flip(2, 3)
    return turned if layer.is_depthwise else turned.transpose(0, 1)


def weight_gradient(layer: Layer, gradient: Tensor, x: Tensor) -> Tensor:
    """Gradient (shape of the weight) by the weight of a layer with input `x`, from the gradient by its output."""
    conv, weight = layer.conv, layer.conv.weight
    if layer.is_pointwise:  # the thin matrix first: the other order is up to ten times slower on a CPU
        wide = conv.out_channels > conv.in_channels
        product = torch.mm(rows(x).t(), rows(gradient)).t() if wide else torch.mm(rows(gradient).t(), rows(x))
        return product.reshape(weight.shape)
    if layer.taps is None:
        found: Tensor = torch.ops.aten.convolution_backward(
            gradient, x, weight, None, conv.stride, conv.padding, [1, 1], False, [0, 0], conv.groups,
            [False, True, False],
        )[1]  # fmt: skip
        return found
    if layer.is_depthwise:
        product = torch.bmm(_maps(x).transpose(1, 2), _maps(gradient))
    else:
        _, pixels, reached = layer.taps.shape
        product = x.reshape(len(x), -1).t() @ gradient.reshape(len(gradient), -1)
        product = product.view(-1, pixels, conv.out_channels, reached).permute(2, 0, 1, 3)
    return (product.reshape(weight.shape[0] * weight.shape[1], -1) @ layer.taps.flatten(1).t()).view(weight.shape)


def relu6_back_(gradient: Tensor, output: Tensor) -> None:
    """In place: `gradient` where 0 < `output` < 6, else 0."""
    torch.ops.aten.hardtanh_backward.grad_input(gradient, output, 0.0, 6.0, grad_input=gradient)


def rows(x: Tensor) -> Tensor:
    """Pixels (M, C) of images (N, C, H, W): a view in both layouts."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _maps(x: Tensor) -> Tensor:
    """Maps (C, N, H·W) of channel-major images: a view."""
    return x.transpose(0, 1).flatten(2)


def _from_rows(product: Tensor, like: Sequence[int]) -> Tensor:
    """Images, pixel-major, of their pixels (M, C)."""
    count, _, height, width = like
    return product.view(count, height, width, -1).permute(0, 3, 1, 2)


def _from_channels(product: Tensor, like: Sequence[int]) -> Tensor:
    """Images, channel-major, of their channels (C, …)."""
    count, _, height, width = like
    return product.view(-1, count, height, width).transpose(0, 1)
