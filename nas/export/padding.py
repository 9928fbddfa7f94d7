"""How TFLite can pad as torch does, symmetrically: its SAME splits what a stride needs, its VALID pads nothing.

With stride 2 and an even size, SAME would shift the kernel by a pixel. A depthwise kernel that is one longer, the new
taps zero, moves it back and costs a few bytes of weights; any other kernel gets explicit padding.
"""

from dataclasses import dataclass
from typing import Literal

from nas.export.integers import IntConv, Shape

Ends = tuple[int, int]
"""Pixels before and after an axis."""


@dataclass(frozen=True)
class Padding:
    """How one convolution is padded."""

    mode: Literal["SAME", "VALID"]
    kernel: Ends
    """Size (height, width) of the kernel, zeros at its end included."""
    explicit: tuple[Ends, Ends] = ((0, 0), (0, 0))
    """Of an operator before it, along height and width."""


def padding_of(step: IntConv, source: Shape, zero: int) -> Padding:
    """Padding of `step` for a tensor of shape `source` whose 0 is the integer `zero`."""
    kernel = (step.weight.shape[2], step.weight.shape[3])
    if step.padding == (0, 0):
        return Padding("VALID", kernel)
    axes = list(zip(source[1:], kernel, step.stride, step.padding, strict=True))
    if (step.border == zero).all():
        found = [_same_kernel(*axis) for axis in axes]
        height, width = found
        if height and width and (step.groups > 1 or (height, width) == kernel):
            return Padding("SAME", (height, width))
    first, second = (_explicit(*axis) for axis in axes)
    return Padding("VALID", kernel, (first, second))


def _same_kernel(size: int, kernel: int, stride: int, pad: int) -> int | None:
    """Shortest kernel, at most one longer, that SAME pads by `pad` before the first pixel; None where there is none."""
    outputs = (size + 2 * pad - kernel) // stride + 1
    if outputs != -(-size // stride):
        return None
    needed = {length: max((outputs - 1) * stride + length - size, 0) // 2 for length in (kernel, kernel + 1)}
    return next((length for length, before in needed.items() if before == pad), None)


def _explicit(size: int, kernel: int, stride: int, pad: int) -> Ends:
    outputs = (size + 2 * pad - kernel) // stride + 1
    return pad, max((outputs - 1) * stride + kernel - size - pad, 0)
