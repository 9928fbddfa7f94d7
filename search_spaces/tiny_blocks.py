"""Tiny blocks: in every layer a kind of block and a number of channels are chosen.

After Xie, Wang, Yu, Lyu, Zheng, Jin, "Tiny adversarial multi-objective one-shot neural architecture search" (TAM-NAS,
2021). Only its abstract was at hand: the kinds, the rows and the widths here are ours, within its range of 10 K to 2 M
parameters on 32×32 images.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from search_spaces.space import Choice, SearchSpace, Value
from search_spaces.spec import BlockSpec, NetworkSpec, make_divisible

Kind = Literal["skip", "separable", "inverted_3", "inverted_5", "residual"]
KINDS: tuple[Kind, ...] = ("skip", "separable", "inverted_3", "inverted_5", "residual")
"""From the fewest weights to the most: nothing at all; a depthwise and a pointwise convolution (MobileNet); an inverted
bottleneck with a kernel of 3 or 5 (MobileNetV2); two full convolutions with a shortcut (ResNet)."""


@dataclass(frozen=True)
class BlockRow:
    """One layer of `channels` outputs at width 1. One with stride 2 cannot be skipped."""

    channels: int
    """Output channels at width 1."""
    stride: int = 1
    """1 or 2."""

    def __post_init__(self) -> None:
        if self.channels < 1 or self.stride not in (1, 2):
            raise ValueError(f"a layer needs channels >= 1 and stride 1 or 2, got {self}")


LAYERS = (
    BlockRow(32), BlockRow(32), BlockRow(48, 2), BlockRow(48),
    BlockRow(64), BlockRow(96, 2), BlockRow(96), BlockRow(128),
)  # fmt: skip


@dataclass(frozen=True)
class TinyBlocks:
    """Settings of the space: the layers, and the options that are searched.

    Channels are rounded to multiples of `divisor`. Stem and head are fixed.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # unknown keys in a config are errors

    name: Literal["tiny_blocks"] = "tiny_blocks"
    layers: tuple[BlockRow, ...] = LAYERS
    """Layers, each with a kind of block and a width multiplier; one or more, of channels that do not fall."""
    kinds: tuple[Kind, ...] = KINDS
    """Options of every kind of block; one or more beside skip."""
    width_multipliers: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
    """Options of every width multiplier, ascending, above 0 and at most 4."""
    expand_ratio: float = 4
    """Of the inverted bottlenecks, 1 to 64."""
    stem_channels: int = 24
    """Channels of the first convolution."""
    stem_stride: int = 1
    """Its stride, 1 or 2."""
    head_channels: int = 192
    """Channels of the last convolution, before the pooling."""
    divisor: int = 8
    """Channels are rounded to multiples of this."""

    def __post_init__(self) -> None:
        if not self.layers or any(a.channels > b.channels for a, b in zip(self.layers, self.layers[1:], strict=False)):
            raise ValueError(
                "layers needs one or more, of channels that do not fall: the layer behind a skipped one takes what is "
                "before it"
            )
        if len(set(self.kinds)) != len(self.kinds) or not set(self.kinds) - {"skip"}:
            raise ValueError(f"kinds needs different ones, and one beside skip, got {list(self.kinds)}")
        if min(self.stem_channels, self.head_channels, self.divisor) < 1 or self.stem_stride not in (1, 2):
            raise ValueError("stem_channels, head_channels, divisor must be >= 1 and stem_stride 1 or 2")
        widths = self.width_multipliers
        if not widths or list(widths) != sorted(set(widths)) or not 0 < widths[0] <= widths[-1] <= 4:
            raise ValueError(f"width_multipliers must be in (0, 4] and ascend, got {list(widths)}")
        if not 1 <= self.expand_ratio <= 64:
            raise ValueError(f"expand_ratio must be in [1, 64], got {self.expand_ratio}")


def tiny_blocks(settings: TinyBlocks, input_shape: tuple[int, int, int], num_classes: int) -> SearchSpace:
    """Search space of `settings` for images of `input_shape` (C, H, W).

    Choices: `block_1` … `block_L`, in no order, then `width_1` … `width_L`.
    """
    kinds = [kind for kind in KINDS if kind in settings.kinds]
    choices = [
        Choice(f"block_{n}", tuple(k for k in kinds if k != "skip" or layer.stride == 1), is_ordered=False)
        for n, layer in enumerate(settings.layers, 1)
    ]
    choices += [Choice(f"width_{n}", settings.width_multipliers) for n, _ in enumerate(settings.layers, 1)]
    spec = partial(network_spec, settings, input_shape, num_classes)
    return SearchSpace(settings.name, tuple(choices), input_shape, num_classes, spec)


def network_spec(
    settings: TinyBlocks, input_shape: tuple[int, int, int], num_classes: int, values: Mapping[str, Value]
) -> NetworkSpec:
    """Integers of the network with these kinds and widths. A skipped layer is not there, whatever its width."""
    channels = make_divisible(settings.stem_channels, settings.divisor)
    blocks = [BlockSpec("conv", 0, input_shape[0], channels, channels, 3, settings.stem_stride)]
    for number, layer in enumerate(settings.layers, 1):
        kind = values[f"block_{number}"]
        if kind == "skip":
            continue
        out = make_divisible(layer.channels * float(values[f"width_{number}"]), settings.divisor)
        named, kernel = _BUILT_AS[str(kind)]
        hidden = {"separable": channels, "residual": out}.get(named, round(channels * settings.expand_ratio))
        blocks.append(BlockSpec(named, number, channels, hidden, out, kernel, layer.stride))
        channels = out
    head = settings.head_channels
    blocks.append(BlockSpec("conv", len(settings.layers) + 1, channels, head, head, 1, 1))
    return NetworkSpec(input_shape, num_classes, tuple(blocks))


_BUILT_AS = {
    "separable": ("separable", 3),
    "inverted_3": ("inverted_residual", 3),
    "inverted_5": ("inverted_residual", 5),
    "residual": ("residual", 3),
}
"""Kind of a BlockSpec and kernel size."""
