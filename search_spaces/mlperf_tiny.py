"""The reference networks of MLPerf Tiny, and spaces of their own: widths and depths around each.

Banbury 2021, "MLPerf tiny benchmark"; layers read in the public code of mlcommons/tiny (commit 1afd2c9, 2026-05,
benchmark/training): ResNet-8 for images of 3×32×32 (`resnet_v1_eembc` with 16 filters, the network of the benchmark's
int8 file; the code's default has since become 26) and DS-CNN for spectrograms of 49 steps × 10 coefficients. The
member of a space with width 1, depth 1 and expand ratio 1 everywhere is the reference, but for these deviations, which
hold for all networks here: ReLU6 in place of ReLU; convolutions without bias (batch-norm has one) and a batch-norm
behind the projections, where the code has a bias alone; symmetric zero padding, where TensorFlow pads a stride of 2 at
the end; no dropout. The first map of DS-CNN has 24 × 5 pixels in place of 25 × 5, of which the code pools the first 24.
Folded for a device, both have exactly as many numbers as the reference (a test counts).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import ClassVar, Literal

from search_spaces.space import Choice, SearchSpace, Value
from search_spaces.spec import BlockSpec, NetworkSpec, Size, make_divisible


@dataclass(frozen=True)
class Stack:
    """Blocks of `channels` outputs at width 1, the first with `stride`: one width multiplier, one depth."""

    channels: int
    """Output channels at width 1."""
    stride: int = 1
    """1 or 2."""

    def __post_init__(self) -> None:
        if self.channels < 1 or self.stride not in (1, 2):
            raise ValueError(f"a stack needs channels >= 1 and stride 1 or 2, got {self}")


@dataclass(frozen=True)
class ResnetTiny:
    """Settings of ResNets with projections where the shape changes (He 2016), around MLPerf Tiny's ResNet-8.

    The stem takes the first stack's width multiplier. Channels are rounded to multiples of `divisor`. Depths and expand
    ratios of one option are no choice. With all depths 1, 2 and 3: ResNet-8, ResNet-14, ResNet-20.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # unknown keys in a config are errors

    name: Literal["resnet_tiny"] = "resnet_tiny"
    stacks: tuple[Stack, ...] = (Stack(16), Stack(32, 2), Stack(64, 2))
    """Stacks of blocks of two 3×3 convolutions, each with a width multiplier, a depth, an expand ratio; one or more."""
    stem_channels: int = 16
    """Channels of the first convolution at width 1."""
    stem_stride: int = 1
    """Its stride, 1 or 2."""
    width_multipliers: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.5)
    """Options of every width multiplier, ascending, above 0 and at most 4."""
    depths: tuple[int, ...] = (1, 2, 3)
    """Options of the number of blocks in a stack, ascending, 1 to 16."""
    expand_ratios: tuple[float, ...] = (1.0,)
    """Options of the channels between the two convolutions of a block, as a multiple of its outputs, ascending, above 0
    and at most 8."""
    divisor: int = 8
    """Channels are rounded to multiples of this."""

    def __post_init__(self) -> None:
        if self.stem_stride not in (1, 2):
            raise ValueError(f"stem_stride must be 1 or 2, got {self.stem_stride}")
        _check(self.stacks, self.stem_channels, self.divisor, self.width_multipliers, self.depths)
        _check_options("expand_ratios", self.expand_ratios, 8)


@dataclass(frozen=True)
class DsCnn:
    """Settings of depthwise-separable CNNs for spectrograms (Zhang 2017), around MLPerf Tiny's DS-CNN.

    The stem takes the first stack's width multiplier. Channels are rounded to multiples of `divisor`. Depths of one
    option are no choice.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # unknown keys in a config are errors

    name: Literal["ds_cnn"] = "ds_cnn"
    stacks: tuple[Stack, ...] = (Stack(64), Stack(64), Stack(64), Stack(64))
    """Stacks of separable blocks (3×3 depthwise, then 1×1), each with a width multiplier and a depth; one or more."""
    stem_channels: int = 64
    """Channels of the first convolution at width 1."""
    stem_kernel: tuple[int, int] = (10, 4)
    """Its kernel: height (time) and width (coefficients)."""
    stem_stride: tuple[int, int] = (2, 2)
    """Its stride along them."""
    width_multipliers: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.5)
    """Options of every width multiplier, ascending, above 0 and at most 4."""
    depths: tuple[int, ...] = (1, 2)
    """Options of the number of blocks in a stack, ascending, 1 to 16."""
    divisor: int = 8
    """Channels are rounded to multiples of this."""

    def __post_init__(self) -> None:
        if min(*self.stem_kernel, *self.stem_stride) < 1:
            raise ValueError(
                f"stem_kernel and stem_stride must be >= 1, got {list(self.stem_kernel)}, {list(self.stem_stride)}"
            )
        _check(self.stacks, self.stem_channels, self.divisor, self.width_multipliers, self.depths)


def _check(
    stacks: Sequence[Stack], stem_channels: int, divisor: int, widths: Sequence[float], depths: Sequence[int]
) -> None:
    if not stacks or min(stem_channels, divisor) < 1:
        raise ValueError("stacks needs at least one, stem_channels and divisor must be >= 1")
    _check_options("width_multipliers", widths, 4)
    _check_options("depths", depths, 16)


def _check_options(name: str, options: Sequence[float], most: float) -> None:
    if not options or not all(map(isfinite, options)) or not 0 < min(options) <= max(options) <= most:
        raise ValueError(f"{name} must be above 0 and at most {most}, got {list(options)}")
    if list(options) != sorted(set(options)):
        raise ValueError(f"{name} must ascend without repetition, got {list(options)}")


def resnet_tiny(settings: ResnetTiny, input_shape: tuple[int, int, int], num_classes: int) -> SearchSpace:
    """Space of `settings` for images of `input_shape` (C, H, W).

    Choices: `width_1` … `width_S`, then `depth_s` and `expand_s` where there are several options.
    """
    kinds = {"depth": settings.depths, "expand": settings.expand_ratios}
    spec = partial(_resnet_spec, settings, input_shape, num_classes)
    return SearchSpace(settings.name, _choices(settings, kinds), input_shape, num_classes, spec)


def ds_cnn(settings: DsCnn, input_shape: tuple[int, int, int], num_classes: int) -> SearchSpace:
    """Space of `settings` for spectrograms or images of `input_shape` (C, H, W).

    Choices: `width_1` … `width_S`, then `depth_s` where there are several options.
    """
    spec = partial(_ds_cnn_spec, settings, input_shape, num_classes)
    return SearchSpace(settings.name, _choices(settings, {"depth": settings.depths}), input_shape, num_classes, spec)


def _choices(settings: ResnetTiny | DsCnn, kinds: Mapping[str, tuple[Value, ...]]) -> tuple[Choice, ...]:
    several = {kind: options for kind, options in kinds.items() if len(options) > 1}
    named = {"width": settings.width_multipliers, **several}
    return tuple(
        Choice(f"{kind}_{number}", tuple(options))
        for kind, options in named.items()
        for number, _ in enumerate(settings.stacks, 1)
    )


def _resnet_spec(
    settings: ResnetTiny, input_shape: tuple[int, int, int], num_classes: int, values: Mapping[str, Value]
) -> NetworkSpec:
    def hidden(number: int, channels: int, out: int) -> int:
        ratio = float(values.get(f"expand_{number}", settings.expand_ratios[0]))
        return make_divisible(out * ratio, settings.divisor)

    blocks = _blocks(settings, input_shape[0], values, "resnet", hidden, (3, settings.stem_stride))
    return NetworkSpec(input_shape, num_classes, tuple(blocks))


def _ds_cnn_spec(
    settings: DsCnn, input_shape: tuple[int, int, int], num_classes: int, values: Mapping[str, Value]
) -> NetworkSpec:
    def hidden(number: int, channels: int, out: int) -> int:
        return channels

    stem = settings.stem_kernel, settings.stem_stride
    blocks = _blocks(settings, input_shape[0], values, "separable", hidden, stem)
    return NetworkSpec(input_shape, num_classes, tuple(blocks))


def _blocks(
    settings: ResnetTiny | DsCnn,
    inputs: int,
    values: Mapping[str, Value],
    kind: str,
    hidden: Callable[[int, int, int], int],
    stem: tuple[Size, Size],
) -> Iterator[BlockSpec]:
    """Stem, then the blocks of all stacks; `hidden` (stack, inputs, outputs) is their inner width."""
    widths = [float(values[f"width_{number}"]) for number, _ in enumerate(settings.stacks, 1)]
    channels = make_divisible(settings.stem_channels * widths[0], settings.divisor)
    yield BlockSpec("conv", 0, inputs, channels, channels, *stem)
    for number, (stack, width) in enumerate(zip(settings.stacks, widths, strict=True), 1):
        out = make_divisible(stack.channels * width, settings.divisor)
        for layer in range(int(values.get(f"depth_{number}", settings.depths[0]))):
            stride = stack.stride if layer == 0 else 1
            yield BlockSpec(kind, number, channels, hidden(number, channels, out), out, 3, stride)
            channels = out


REFERENCES = {"resnet8": "resnet_tiny", "ds_cnn": "ds_cnn"}
"""The benchmark's networks, and the space that each is the width-1 member of."""


def reference_values(name: str, space: SearchSpace) -> dict[str, Value]:
    """Values of the choices of `space` that make the reference network `name`: 1 for each.

    Whether they are options is for `space.genotype` to say; the network is the reference where stacks and stem are.
    Raises ValueError for an unknown name and for another space.
    """
    if name not in REFERENCES:
        raise ValueError(f"unknown reference {name!r} (known: {', '.join(REFERENCES)})")
    if REFERENCES[name] != space.name:
        raise ValueError(f"it is a network of the space {REFERENCES[name]}, not of {space.name}")
    return {choice.name: 1 for choice in space.choices}


def reference(name: str) -> NetworkSpec:
    """ResNet-8 for 3×32×32 images and 10 classes, or DS-CNN for 1×49×10 spectrograms and 12 classes.

    Raises ValueError for a name that is not in `REFERENCES`.
    """
    space = ds_cnn(DsCnn(), (1, 49, 10), 12) if name == "ds_cnn" else resnet_tiny(ResnetTiny(), (3, 32, 32), 10)
    return space.spec(space.genotype(reference_values(name, space)))
