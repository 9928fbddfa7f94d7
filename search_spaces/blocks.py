"""Modules of the block kinds, from torchvision's building blocks."""

from collections.abc import Callable

from torch import nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.ops.misc import Conv2dNormActivation

from search_spaces.spec import BlockSpec


def _conv(block: BlockSpec) -> nn.Module:
    module: nn.Module = Conv2dNormActivation(
        block.in_channels,
        block.out_channels,
        kernel_size=block.kernel_size,
        stride=block.stride,
        norm_layer=nn.BatchNorm2d,
        activation_layer=nn.ReLU6,
    )
    return module


def _inverted_residual(block: BlockSpec) -> nn.Module:
    if block.kernel_size != 3:
        raise ValueError(f"inverted_residual has a 3×3 depthwise kernel, got {block.kernel_size}")
    # torchvision rounds in_channels * expand_ratio; the quotient of two integers survives that exactly.
    ratio = block.hidden_channels / block.in_channels
    module: nn.Module = InvertedResidual(block.in_channels, block.out_channels, block.stride, ratio)
    return module


BLOCKS: dict[str, Callable[[BlockSpec], nn.Module]] = {
    "conv": _conv,
    "inverted_residual": _inverted_residual,
}
