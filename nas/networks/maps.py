"""Arithmetic on small maps (C, N, P) of P = H·W pixels, where the overhead of a library call outweighs its work.

Every layer is one matrix product: a pointwise convolution (O, I) times (I, N·P), a depthwise one (N, P) times a dense
(P, P') matrix per channel. More arithmetic, several times less overhead.
"""

import torch
from torch import Tensor

from nas.networks.layer import Layer


def enter(x: Tensor) -> Tensor:
    """Maps of images (N, C, H, W)."""
    return x.flatten(2).transpose(0, 1).contiguous()


def leave(gradient: Tensor, x: Tensor) -> Tensor:
    """Images (N, C, H, W) of maps."""
    return gradient.transpose(0, 1).reshape(x.shape)


def matrix_of(layer: Layer, weight: Tensor) -> Tensor:
    """Pointwise: (O, I). Depthwise: (C, P, P'). Where a window mixes channels: (I·P, O·P')."""
    if layer.taps is None:
        return weight.flatten(1)
    count, pixels = layer.taps.shape[:2]
    matrix = weight.reshape(-1, count) @ layer.taps.view(count, -1)
    if layer.is_depthwise:
        return matrix.view(len(weight), pixels, -1)
    out, into = weight.shape[:2]
    return matrix.view(out, into, pixels, -1).permute(1, 2, 0, 3).reshape(into * pixels, -1)


def convolve(layer: Layer, h: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """Output (O, N, P') of the layer's convolution, plus `bias` (O,)."""
    if layer.taps is None:
        flat = h.flatten(1)
        product = torch.mm(matrix, flat) if bias is None else torch.addmm(bias[:, None], matrix, flat)
        return product.view(-1, *h.shape[1:])
    if not layer.is_depthwise:
        channels, count, pixels = h.shape
        product = torch.mm(h.transpose(0, 1).reshape(count, channels * pixels), matrix)
        product = product.view(count, layer.conv.out_channels, -1).transpose(0, 1)
    elif matrix.shape[2] < 8:  # the transposed product is three times faster where so few columns result
        product = torch.bmm(matrix.transpose(1, 2), h.transpose(1, 2)).transpose(1, 2)
    else:
        return torch.bmm(h, matrix) if bias is None else torch.baddbmm(bias[:, None, None], h, matrix)
    product = product.contiguous()  # a sum would keep the strides of the turned product
    return product if bias is None else product.add_(bias[:, None, None])


def convolve_back(layer: Layer, gradient: Tensor, h: Tensor, matrix: Tensor, turned: Tensor | None) -> Tensor:
    """Gradient by the input `h` (I, N, P)."""
    if layer.taps is None:
        return torch.mm(matrix.t(), gradient.flatten(1)).view(h.shape)
    if layer.is_depthwise:
        return torch.bmm(gradient, matrix.transpose(1, 2))
    channels, count, pixels = h.shape
    product = torch.mm(gradient.transpose(0, 1).reshape(count, -1), matrix.t())
    return product.view(count, channels, pixels).transpose(0, 1).contiguous()


def weight_gradient(layer: Layer, gradient: Tensor, h: Tensor) -> Tensor:
    """Gradient (shape of the weight) by the weight."""
    weight = layer.conv.weight
    if layer.taps is None:
        return torch.mm(gradient.flatten(1), h.flatten(1).t()).view(weight.shape)
    if layer.is_depthwise:
        product = torch.bmm(h.transpose(1, 2), gradient)
    else:
        (channels, count, pixels), (out, _, reached) = h.shape, gradient.shape
        product = h.transpose(0, 1).reshape(count, -1).t() @ gradient.transpose(0, 1).reshape(count, -1)
        product = product.view(channels, pixels, out, reached).permute(2, 0, 1, 3)
    taps = layer.taps.flatten(1)
    return (product.reshape(-1, taps.shape[1]) @ taps.t()).view(weight.shape)


def pool(h: Tensor) -> Tensor:
    """Means (N, C) over the pixels."""
    return h.mean(2).t()


def unpool(gradient: Tensor, h: Tensor) -> Tensor:
    """Gradient by maps `h` from the one (N, C) by their means."""
    return (gradient.t() / h.shape[2])[:, :, None].expand(h.shape).contiguous()


def by_channel(h: Tensor, groups: int) -> Tensor:
    """(1, C·G, M) of maps of G batches: a view."""
    return h.view(1, len(h) * groups, -1)
