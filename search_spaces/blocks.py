"""Modules of the block kinds: convolution, batch-norm, ReLU6, and a shortcut around them.

Parameters are named and ordered as in torchvision's MobileNetV2 (a test compares). Its modules would do the same, but
importing them imports all of torchvision's models and torch's compiler: seconds and 170 MB in every worker.
"""

from collections.abc import Callable

from torch import Tensor, nn

from search_spaces.spec import BlockSpec


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


def _convolution(inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> list[nn.Module]:
    """Convolution that keeps the size at stride 1, and batch-norm."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


def _activated(inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> nn.Sequential:
    """Convolution, batch-norm, ReLU6."""
    return nn.Sequential(*_convolution(inputs, outputs, kernel, stride, groups), nn.ReLU6(inplace=True))


def _conv(block: BlockSpec) -> nn.Module:
    return _activated(block.in_channels, block.out_channels, block.kernel_size, block.stride)


def _inverted_residual(block: BlockSpec) -> nn.Module:
    """MobileNetV2 (Sandler 2018): expansion where it widens, depthwise convolution, linear projection."""
    inputs, hidden = block.in_channels, block.hidden_channels
    expansion = [] if hidden == inputs else [_activated(inputs, hidden, 1, 1)]
    depthwise = _activated(hidden, hidden, block.kernel_size, block.stride, groups=hidden)
    projection = _convolution(hidden, block.out_channels, 1, 1)
    return Shortcut(nn.Sequential(*expansion, depthwise, *projection), block.has_residual)


def _separable(block: BlockSpec) -> nn.Module:
    inputs = block.in_channels
    return nn.Sequential(
        _activated(inputs, inputs, block.kernel_size, block.stride, groups=inputs),
        _activated(inputs, block.out_channels, 1, 1),
    )


def _residual(block: BlockSpec) -> nn.Module:
    hidden, out, kernel = block.hidden_channels, block.out_channels, block.kernel_size
    first = _activated(block.in_channels, hidden, kernel, block.stride)
    return Shortcut(nn.Sequential(first, *_convolution(hidden, out, kernel, 1)), block.has_residual)


BLOCKS: dict[str, Callable[[BlockSpec], nn.Module]] = {
    "conv": _conv,
    "inverted_residual": _inverted_residual,
    "separable": _separable,
    "residual": _residual,
}
