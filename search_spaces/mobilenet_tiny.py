"""MobileNet-tiny: MobileNetV2 for small images, with a width multiplier and an expand ratio per row.

Mousavi, Zoljodi, Daneshtalab 2023, "Analysing robustness of tiny deep neural networks", figure 1.
The paper's E is read as: the 16-channel row never expands, the five rows 24 … 160 expand by E, the
320-channel row by 6. Of the readings tried, this is the one whose counts fit the paper's tables 1 and 2
(all six networks within 4 %); no reading fits exactly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import ClassVar, Literal

from search_spaces.space import Choice, SearchSpace, Value
from search_spaces.spec import BlockSpec, NetworkSpec, make_divisible


@dataclass(frozen=True)
class Row:
    """`layers` inverted bottlenecks of `channels` outputs, the first with `stride`.

    `expand_ratio` fixes the ratio of this row; without it, the ratio is searched.
    """

    channels: int
    """Output channels at width 1."""
    layers: int = 1
    """Number of bottlenecks."""
    stride: int = 1
    """Stride of the first of them, 1 or 2."""
    expand_ratio: float | None = None
    """Fixed expand ratio, 1 to 64; null: it is searched."""

    def __post_init__(self) -> None:
        if self.channels < 1 or self.layers < 1 or self.stride not in (1, 2):
            raise ValueError(f"a row needs channels >= 1, layers >= 1 and stride 1 or 2, got {self}")
        if self.expand_ratio is not None and not 1 <= self.expand_ratio <= 64:
            raise ValueError(f"expand_ratio must be in [1, 64], got {self.expand_ratio}")


ROWS = (
    Row(16, 1, 1, expand_ratio=1),
    Row(24, 2, 1),
    Row(32, 3, 2),
    Row(64, 4, 2),
    Row(96, 3, 1),
    Row(160, 3, 2),
    Row(320, 1, 1, expand_ratio=6),
)


@dataclass(frozen=True)
class MobileNetTiny:
    """Settings of the space: fixed rows, stem and head, and the options that are searched.

    `tie` makes one width multiplier ("width"), one expand ratio ("expand") or one of each ("both")
    serve all rows. The stem takes the first row's width multiplier; the head has `head_channels`
    channels, widened only by a multiplier above 1 (MobileNetV2's rule), the last row's. With `scale_head`
    it has a width multiplier of its own, or the tied one: a head of 1,280 channels is most of a network of
    100,000 parameters. Channels are rounded to multiples of `divisor`.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # unknown keys in a config are errors

    name: Literal["mobilenet_tiny"] = "mobilenet_tiny"
    blocks: tuple[Row, ...] = ROWS
    """Rows of inverted bottlenecks, each with a width multiplier and an expand ratio; one or more."""
    stem_channels: int = 32
    """Channels of the first convolution at width 1."""
    stem_stride: int = 1
    """Its stride, 1 or 2."""
    head_channels: int = 1280
    """Channels of the last convolution, before the pooling, at width 1."""
    scale_head: bool = False
    """Whether the head has a width multiplier of its own (or the tied one), which may make it smaller."""
    width_multipliers: tuple[float, ...] = (0.25, 0.35, 0.5, 0.75, 1.0)
    """Options of every width multiplier, ascending, above 0 and at most 4."""
    expand_ratios: tuple[float, ...] = (1, 2, 3, 4, 6)
    """Options of every expand ratio, ascending, 1 to 64."""
    tie: Literal["none", "width", "expand", "both"] = "none"
    """What is one choice for all rows: nothing, the width multiplier, the expand ratio, or each of the two."""
    divisor: int = 8
    """Channels are rounded to multiples of this."""

    def __post_init__(self) -> None:
        if not self.blocks:
            raise ValueError("blocks needs at least one row")
        if min(self.stem_channels, self.head_channels, self.divisor) < 1 or self.stem_stride not in (1, 2):
            raise ValueError("stem_channels, head_channels, divisor must be >= 1 and stem_stride 1 or 2")
        if not self.width_multipliers or not 0 < min(self.width_multipliers) <= max(self.width_multipliers) <= 4:
            raise ValueError(f"width_multipliers must be in (0, 4], got {list(self.width_multipliers)}")
        if not self.expand_ratios or not 1 <= min(self.expand_ratios) <= max(self.expand_ratios) <= 64:
            raise ValueError(f"expand_ratios must be in [1, 64], got {list(self.expand_ratios)}")
        for name in ("width_multipliers", "expand_ratios"):
            options = getattr(self, name)
            if not all(map(isfinite, options)) or list(options) != sorted(set(options)):
                raise ValueError(f"{name} must be numbers that ascend without repetition, got {list(options)}")


# The paper's six networks (tables 1 and 2): one width multiplier and one expand ratio for all rows.
PRESETS: dict[str, tuple[float, float]] = {
    "mousavi_w0.35_e6": (0.35, 6),
    "mousavi_w0.65_e6": (0.65, 6),
    "mousavi_w1.0_e6": (1.0, 6),
    "mousavi_w0.35_e10": (0.35, 10),
    "mousavi_w0.35_e20": (0.35, 20),
    "mousavi_w0.35_e29": (0.35, 29),
}


def preset(name: str, input_shape: tuple[int, int, int] = (3, 32, 32), num_classes: int = 10) -> NetworkSpec:
    """Network of the paper's tables by name. Raises ValueError for an unknown one."""
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r} (known: {', '.join(PRESETS)})")
    width, expand = PRESETS[name]
    rows = len(ROWS)
    return network_spec(MobileNetTiny(), input_shape, num_classes, [width] * rows, [expand] * rows)


def preset_values(name: str, space: SearchSpace) -> dict[str, Value]:
    """Values of the choices of `space` with the width multiplier and the expand ratio of a preset in every row.

    Whether they are options is for `space.genotype` to say; the network is the paper's where the rows are. Raises
    ValueError for an unknown preset, and for a space with a choice of another kind, of which a preset says nothing.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r} (known: {', '.join(PRESETS)})")
    width, expand = PRESETS[name]
    meant = {"width": width, "expand": expand}
    kinds = {choice.name: choice.kind for choice in space.choices}
    for choice in space.choices:
        if kinds[choice.name] not in meant:
            raise ValueError(f"it says nothing of {choice.name}, one of {list(choice.options)}")
    return {choice: meant[kind] for choice, kind in kinds.items()}


def network_spec(
    settings: MobileNetTiny,
    input_shape: tuple[int, int, int],
    num_classes: int,
    widths: Sequence[float],
    expands: Sequence[float],
    head_width: float | None = None,
) -> NetworkSpec:
    """Integers of the network with one width multiplier and one expand ratio per row.

    The expand ratio of a row that fixes its own is ignored. Without `head_width`, the head follows MobileNetV2's rule.
    """
    rounded = partial(make_divisible, divisor=settings.divisor)
    channels = rounded(settings.stem_channels * widths[0])
    blocks = [BlockSpec("conv", 0, input_shape[0], channels, channels, 3, settings.stem_stride)]
    for number, (row, width, searched) in enumerate(zip(settings.blocks, widths, expands, strict=True), 1):
        ratio = searched if row.expand_ratio is None else row.expand_ratio
        out = rounded(row.channels * width)
        for layer in range(row.layers):
            stride = row.stride if layer == 0 else 1
            hidden = round(channels * ratio)
            blocks.append(BlockSpec("inverted_residual", number, channels, hidden, out, 3, stride))
            channels = out
    head = rounded(settings.head_channels * (max(1.0, widths[-1]) if head_width is None else head_width))
    blocks.append(BlockSpec("conv", len(settings.blocks) + 1, channels, head, head, 1, 1))
    return NetworkSpec(input_shape, num_classes, tuple(blocks))


def mobilenet_tiny(settings: MobileNetTiny, input_shape: tuple[int, int, int], num_classes: int) -> SearchSpace:
    """Search space of `settings` for images of `input_shape` (C, H, W).

    Choices: `width` or `width_1` … `width_R`, `width_head` where it is scaled, then `expand` or `expand_r` for the rows
    that do not fix it.
    """
    widths, expands = _choice_names(settings)
    choices = [
        Choice(name, settings.width_multipliers) for name in dict.fromkeys((*widths, _head_name(settings))) if name
    ]
    choices += [Choice(name, settings.expand_ratios) for name in dict.fromkeys(expands) if name]
    spec = partial(_spec_of_values, settings, input_shape, num_classes)
    return SearchSpace(settings.name, tuple(choices), input_shape, num_classes, spec)


def _choice_names(settings: MobileNetTiny) -> tuple[list[str], list[str]]:
    """Name of the choice that decides each row's width and expand ratio ("" where the row fixes it)."""
    one_width, one_expand = settings.tie in ("width", "both"), settings.tie in ("expand", "both")
    rows = list(enumerate(settings.blocks, 1))
    widths = ["width" if one_width else f"width_{number}" for number, _ in rows]
    expands = ["expand" if one_expand else f"expand_{number}" for number, _ in rows]
    return widths, [name if row.expand_ratio is None else "" for name, (_, row) in zip(expands, rows, strict=True)]


def _head_name(settings: MobileNetTiny) -> str:
    """Name of the choice that decides the head's width ("" where it is fixed)."""
    if not settings.scale_head:
        return ""
    return "width" if settings.tie in ("width", "both") else "width_head"


def _spec_of_values(
    settings: MobileNetTiny,
    input_shape: tuple[int, int, int],
    num_classes: int,
    values: Mapping[str, Value],
) -> NetworkSpec:
    width_names, expand_names = _choice_names(settings)
    widths = [float(values[name]) for name in width_names]
    expands = [float(values[name]) if name else 1.0 for name in expand_names]
    head = _head_name(settings)
    return network_spec(settings, input_shape, num_classes, widths, expands, float(values[head]) if head else None)
