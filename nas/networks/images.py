"""Arithmetic on images (N, C, H, W) of any size.

Two memory layouts occur. *Pixel-major* (channels last) is what convolutions of a window want. *Channel-major* (C
outermost) lies between two pointwise convolutions, in the bottleneck of an inverted residual: on a CPU a product
whose result has 8 columns runs at a fifth of the speed of its transpose.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.networks.layer import Layer


def enter(x: Tensor) -> Tensor:
    """Pixel-major images."""
    return x.contiguous(memory_format=torch.channels_last)


def leave(gradient: Tensor, x: Tensor) -> Tensor:
    """As it is."""
    return gradient


def matrix_of(layer: Layer, weight: Tensor) -> Tensor:
    """Pointwise: (O, I). Else the weight itself."""
    return weight.flatten(1) if layer.is_pointwise else weight


def convolve(layer: Layer, h: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """Output (N, O, H', W') of the layer's convolution, plus `bias` (O,), in the layer's layout."""
    if not layer.is_pointwise:
        conv = layer.conv
        return F.conv2d(h, matrix, bias, conv.stride, conv.padding, 1, conv.groups)
    pixels = rows(h)
    if layer.channel_major_out:
        turned = pixels.t()
        product = torch.mm(matrix, turned) if bias is None else torch.addmm(bias[:, None], matrix, turned)
        return _from_channels(product, h)
    turned = matrix.t()
    return _from_rows(torch.mm(pixels, turned) if bias is None else torch.addmm(bias, pixels, turned), h)


def convolve_back(layer: Layer, gradient: Tensor, h: Tensor, matrix: Tensor, turned: Tensor | None) -> Tensor:
    """Gradient by the input `h`, in its layout, from the gradient by the output.

    `turned` is `flipped(layer, weight)` where the layer has it: a forward convolution is up to twice as fast
    as the library's backward pass on a CPU.
    """
    conv = layer.conv
    if layer.is_pointwise:
        if layer.channel_major_in:
            return _from_channels(torch.mm(matrix.t(), rows(gradient).t()), h)
        return _from_rows(torch.mm(rows(gradient), matrix), h)
    if turned is not None:
        return F.conv2d(gradient, turned, None, 1, conv.padding, 1, conv.groups)
    pad = [int(padding) for padding in conv.padding]
    axes = zip(h.shape[2:], gradient.shape[2:], conv.kernel_size, conv.stride, pad, strict=True)
    extra = [size - ((out - 1) * stride - 2 * padding + kernel) for size, out, kernel, stride, padding in axes]
    return F.conv_transpose2d(gradient, matrix, None, conv.stride, pad, extra, conv.groups)


def flipped(layer: Layer, weight: Tensor) -> Tensor:
    """Kernel of the convolution that is the backward pass by the input; for layers with `flips`."""
    turned = weight.flip(2, 3)
    return turned if layer.is_depthwise else turned.transpose(0, 1)


def weight_gradient(layer: Layer, gradient: Tensor, h: Tensor) -> Tensor:
    """Gradient (shape of the weight) by the weight."""
    conv, weight = layer.conv, layer.conv.weight
    if conv.kernel_size == (1, 1) and conv.groups == 1 and conv.padding == (0, 0):
        down, across = conv.stride
        h = h[:, :, ::down, ::across]  # all it reads; oneDNN's own strided kernel can write beyond its memory
        # The thin matrix first: the other order is up to ten times slower on a CPU.
        wide = conv.out_channels > conv.in_channels
        product = torch.mm(rows(h).t(), rows(gradient)).t() if wide else torch.mm(rows(gradient).t(), rows(h))
        return product.reshape(weight.shape)
    found: Tensor = torch.ops.aten.convolution_backward(
        gradient, h, weight, None, conv.stride, conv.padding, [1, 1], False, [0, 0], conv.groups, [False, True, False]
    )[1]
    return found


def pool(h: Tensor) -> Tensor:
    """Means (N, C) over the pixels."""
    return h.mean(dim=(2, 3))


def unpool(gradient: Tensor, h: Tensor) -> Tensor:
    """Gradient by images `h` from the one (N, C) by their means, in the layout of `h`."""
    shared = gradient / (h.shape[2] * h.shape[3])
    return torch.empty_like(h).copy_(shared[:, :, None, None].expand_as(h))


def by_channel(h: Tensor, groups: int) -> Tensor:
    """(1, C·G, M) of channel-major images of G batches: a view."""
    return h.transpose(0, 1).reshape(1, h.shape[1] * groups, -1)


def rows(h: Tensor) -> Tensor:
    """Pixels (N·H·W, C) of images (N, C, H, W): a view in both layouts."""
    return h.permute(0, 2, 3, 1).reshape(-1, h.shape[1])


def _from_rows(product: Tensor, like: Tensor) -> Tensor:
    """Images, pixel-major, of their pixels (M, C)."""
    count, _, height, width = like.shape
    return product.view(count, height, width, -1).permute(0, 3, 1, 2)


def _from_channels(product: Tensor, like: Tensor) -> Tensor:
    """Images, channel-major, of their channels (C, M)."""
    count, _, height, width = like.shape
    return product.view(-1, count, height, width).transpose(0, 1)
