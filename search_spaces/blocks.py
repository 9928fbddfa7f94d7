"""Modules of the block kinds, from torchvision's building blocks."""

from collections.abc import Callable

from torch import nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.ops.misc import Conv2dNormActivation

from search_spaces.spec import BlockSpec


def _activated(inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> nn.Module:
    """Convolution, batch-norm, ReLU6."""
    module: nn.Module = Conv2dNormActivation(
        inputs, outputs, kernel, stride, groups=groups, norm_layer=nn.BatchNorm2d, activation_layer=nn.ReLU6
    )
    return module


def _conv(block: BlockSpec) -> nn.Module:
    return _activated(block.in_channels, block.out_channels, block.kernel_size, block.stride)


def _inverted_residual(block: BlockSpec) -> nn.Module:
    # torchvision rounds in_channels * expand_ratio; the quotient of two integers survives that exactly.
    ratio = block.hidden_channels / block.in_channels
    module = InvertedResidual(block.in_channels, block.out_channels, block.stride, ratio)
    if block.kernel_size != 3:  # torchvision's depthwise kernel is always 3×3
        hidden, kernel = block.hidden_channels, block.kernel_size
        depthwise = module.conv[-3]  # before the projection and its batch-norm
        depthwise[0] = nn.Conv2d(hidden, hidden, kernel, block.stride, kernel // 2, groups=hidden, bias=False)
    found: nn.Module = module
    return found


def _separable(block: BlockSpec) -> nn.Module:
    inputs = block.in_channels
    return nn.Sequential(
        _activated(inputs, inputs, block.kernel_size, block.stride, groups=inputs),
        _activated(inputs, block.out_channels, 1, 1),
    )


def _residual(block: BlockSpec) -> nn.Module:
    hidden, out, kernel = block.hidden_channels, block.out_channels, block.kernel_size
    # Of torchvision's block the shortcut alone is wanted: it adds the input where strides and channels allow.
    module: nn.Module = InvertedResidual(block.in_channels, out, block.stride, 1)
    module.conv = nn.Sequential(
        _activated(block.in_channels, hidden, kernel, block.stride),
        nn.Conv2d(hidden, out, kernel, 1, kernel // 2, bias=False),
        nn.BatchNorm2d(out),
    )
    return module


BLOCKS: dict[str, Callable[[BlockSpec], nn.Module]] = {
    "conv": _conv,
    "inverted_residual": _inverted_residual,
    "separable": _separable,
    "residual": _residual,
}
