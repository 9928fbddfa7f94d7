"""Modules of the block kinds: convolution, batch-norm, ReLU6, and a shortcut around them.

Parameters are named and ordered as in torchvision's MobileNetV2 (a test compares). Its modules would do the same, but
importing them imports all of torchvision's models and torch's compiler: seconds and 170 MB in every worker.
"""

from collections.abc import Callable

from torch import Tensor, nn

from search_spaces.spec import BlockSpec, ConvSpec


class Shortcut(nn.Module):
    """Layers `conv`, and their input added to their output where `adds_input`."""

    def __init__(self, conv: nn.Sequential, adds_input: bool) -> None:
        super().__init__()
        self.conv = conv
        self.adds_input = adds_input

    def forward(self, x: Tensor) -> Tensor:
        """Output (N, C', H', W') of images `x` (N, C, H, W)."""
        out: Tensor = self.conv(x)
        return x + out if self.adds_input else out


class Resnet(nn.Module):
    """ReLU6 of layers `conv` plus a shortcut: their input, or what `projection` makes of it (He 2016)."""

    def __init__(self, projection: nn.Sequential | None, conv: nn.Sequential) -> None:
        super().__init__()
        self.projection = projection
        self.conv = conv
        self.relu = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Output (N, C', H', W') of images `x` (N, C, H, W)."""
        added = x if self.projection is None else self.projection(x)
        out: Tensor = self.relu(self.conv(x) + added)
        return out


def _convolution(conv: ConvSpec) -> list[nn.Module]:
    """Convolution and batch-norm."""
    module = nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, groups=conv.groups, bias=False
    )
    return [module, nn.BatchNorm2d(conv.out_channels)]


def _activated(conv: ConvSpec) -> nn.Sequential:
    """Convolution, batch-norm, ReLU6."""
    return nn.Sequential(*_convolution(conv), nn.ReLU6(inplace=True))


def _conv(block: BlockSpec) -> nn.Module:
    (conv,) = block.convolutions
    return _activated(conv)


def _separable(block: BlockSpec) -> nn.Module:
    return nn.Sequential(*map(_activated, block.convolutions))


def _linear_end(block: BlockSpec) -> nn.Module:
    """Activation behind all convolutions but the last one, as in MobileNetV2 (Sandler 2018)."""
    *first, last = block.convolutions
    return Shortcut(nn.Sequential(*map(_activated, first), *_convolution(last)), block.has_residual)


def _resnet(block: BlockSpec) -> nn.Module:
    *projection, first, last = block.convolutions
    branch = nn.Sequential(_activated(first), *_convolution(last))
    return Resnet(nn.Sequential(*_convolution(projection[0])) if projection else None, branch)


BLOCKS: dict[str, Callable[[BlockSpec], nn.Module]] = {
    "conv": _conv,
    "inverted_residual": _linear_end,
    "separable": _separable,
    "residual": _linear_end,
    "resnet": _resnet,
}
