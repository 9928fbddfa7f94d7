"""A network as integers: what every cost, bound and module in this project is derived from."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any


def make_divisible(channels: float, divisor: int = 8) -> int:
    """Number of channels nearest to `channels` that is a multiple of `divisor`, at least 90 % of it.

    The rounding of the MobileNet family (Sandler 2018): never below `divisor`, and one step up where
    rounding down would lose more than a tenth.
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


@dataclass(frozen=True)
class ConvSpec:
    """One bias-free convolution with batch-norm after it; padding is (kernel_size - 1) // 2."""

    in_channels: int
    out_channels: int
    kernel_size: int
    stride: int
    groups: int = 1

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """(out, in / groups, k, k)."""
        return self.out_channels, self.in_channels // self.groups, self.kernel_size, self.kernel_size

    @property
    def num_weights(self) -> int:
        """Number of weights of the kernel."""
        out, fan, height, width = self.weight_shape
        return out * fan * height * width

    def output_size(self, size: int) -> int:
        """Output side for an input side of `size` pixels."""
        return (size + 2 * ((self.kernel_size - 1) // 2) - self.kernel_size) // self.stride + 1


@dataclass(frozen=True)
class BlockSpec:
    """One block. `row` numbers the decision it belongs to: 0 the stem, 1 … R the rows, R + 1 the head."""

    kind: str
    row: int
    in_channels: int
    hidden_channels: int
    out_channels: int
    kernel_size: int
    stride: int

    def __post_init__(self) -> None:
        if self.kind not in CONVOLUTIONS:
            raise ValueError(f"unknown block kind {self.kind!r} (known: {', '.join(CONVOLUTIONS)})")
        sizes = (self.in_channels, self.hidden_channels, self.out_channels, self.kernel_size, self.stride)
        if min(sizes) < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"a block needs positive sizes and an odd kernel, got {self}")

    @property
    def convolutions(self) -> tuple[ConvSpec, ...]:
        """The convolutions of the block, in the order they are applied."""
        return CONVOLUTIONS[self.kind](self)

    @property
    def has_residual(self) -> bool:
        """Whether the input of the block is added to its output."""
        return self.kind in RESIDUAL_KINDS and self.stride == 1 and self.in_channels == self.out_channels


def _conv(block: BlockSpec) -> tuple[ConvSpec, ...]:
    return (ConvSpec(block.in_channels, block.out_channels, block.kernel_size, block.stride),)


def _inverted_residual(block: BlockSpec) -> tuple[ConvSpec, ...]:
    hidden = block.hidden_channels
    expand = () if hidden == block.in_channels else (ConvSpec(block.in_channels, hidden, 1, 1),)
    depthwise = ConvSpec(hidden, hidden, block.kernel_size, block.stride, groups=hidden)
    return (*expand, depthwise, ConvSpec(hidden, block.out_channels, 1, 1))


def _separable(block: BlockSpec) -> tuple[ConvSpec, ...]:
    inputs = block.in_channels
    depthwise = ConvSpec(inputs, inputs, block.kernel_size, block.stride, groups=inputs)
    return depthwise, ConvSpec(inputs, block.out_channels, 1, 1)


def _residual(block: BlockSpec) -> tuple[ConvSpec, ...]:
    hidden, kernel = block.hidden_channels, block.kernel_size
    return ConvSpec(block.in_channels, hidden, kernel, block.stride), ConvSpec(hidden, block.out_channels, kernel, 1)


CONVOLUTIONS: dict[str, Callable[[BlockSpec], tuple[ConvSpec, ...]]] = {
    "conv": _conv,
    "inverted_residual": _inverted_residual,
    "separable": _separable,
    "residual": _residual,
}
RESIDUAL_KINDS = frozenset({"inverted_residual", "residual"})


@dataclass(frozen=True)
class NetworkSpec:
    """A whole network: blocks, then global average pooling and one linear layer with bias.

    `input_shape` is (channels, height, width). Raises ValueError where consecutive blocks do not fit.
    """

    input_shape: tuple[int, int, int]
    num_classes: int
    blocks: tuple[BlockSpec, ...]

    def __post_init__(self) -> None:
        if min(self.input_shape) < 1 or self.num_classes < 2 or not self.blocks:
            raise ValueError(
                f"a network needs a positive input shape, at least 2 classes and a block, "
                f"got {self.input_shape}, {self.num_classes} classes, {len(self.blocks)} blocks"
            )
        channels = self.input_shape[0]
        for index, block in enumerate(self.blocks):
            if block.in_channels != channels:
                raise ValueError(f"block {index} takes {block.in_channels} channels but gets {channels}")
            channels = block.out_channels

    @property
    def key(self) -> str:
        """Name of the architecture: 12 hex digits, equal exactly where the networks are equal.

        A field that has its default does not enter, so that a new field with a default renames no old network. A
        default may therefore never change.
        """
        named = {**_not_default(self), "blocks": [_not_default(block) for block in self.blocks]}
        return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:12]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "NetworkSpec":
        """Inverse of `dataclasses.asdict`, after a round trip through JSON.

        Raises ValueError or TypeError or KeyError for anything that is not such a dictionary.
        """
        channels, height, width = (int(size) for size in data["input_shape"])
        blocks = tuple(BlockSpec(**block) for block in data["blocks"])
        return cls((channels, height, width), int(data["num_classes"]), blocks)


def _not_default(spec: BlockSpec | NetworkSpec) -> dict[str, Any]:
    """Fields of `spec` by name, without those that have their default."""
    named = ((field, getattr(spec, field.name)) for field in fields(spec))
    return {field.name: value for field, value in named if value != field.default}
