"""A network as integers: what every cost, bound and module in this project is derived from."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

Pair = tuple[int, int]
"""Along the height and along the width."""
Size = int | Pair
"""The same along both axes, or a pair. A spec keeps an integer wherever both are the same."""


def pair(size: Size) -> Pair:
    """`size` along the height and along the width."""
    return (size, size) if isinstance(size, int) else size


def shortest(size: Any) -> Size:
    """A pair as one integer where both axes have the same. Raises ValueError for what is no pair of integers."""
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(isinstance(side, int) for side in size):
        raise ValueError(f"a size is an integer or a pair of them (height, width), got {size!r}")
    height, width = size
    return height if height == width else (height, width)


def size_text(size: Size) -> str:
    """`size` as in a table: 3, or 10×4 (height × width)."""
    return str(size) if isinstance(size, int) else "×".join(map(str, size))


def make_divisible(channels: float, divisor: int = 8) -> int:
    """Number of channels nearest to `channels` that is a multiple of `divisor`, at least 90 % of it.

    The rounding of the MobileNet family (Sandler 2018): never below `divisor`, and one step up where
    rounding down would lose more than a tenth.
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


@dataclass(frozen=True)
class ConvSpec:
    """One bias-free convolution with batch-norm after it."""

    in_channels: int
    out_channels: int
    kernel_size: Size
    stride: Size
    groups: int = 1

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """(out, in / groups, k_h, k_w)."""
        return self.out_channels, self.in_channels // self.groups, *pair(self.kernel_size)

    @property
    def padding(self) -> Pair:
        """Zeros at each end of an axis: (k - 1) // 2, which keeps the size for an odd kernel at stride 1."""
        height, width = pair(self.kernel_size)
        return (height - 1) // 2, (width - 1) // 2

    @property
    def num_weights(self) -> int:
        """Number of weights of the kernel."""
        out, fan, height, width = self.weight_shape
        return out * fan * height * width

    def output_size(self, size: Pair) -> Pair:
        """Height and width of the output for an input of `size` (H, W), in pixels."""
        (height, width), (kernel_h, kernel_w), (stride_h, stride_w) = size, pair(self.kernel_size), pair(self.stride)
        padding_h, padding_w = self.padding
        return (
            (height + 2 * padding_h - kernel_h) // stride_h + 1,
            (width + 2 * padding_w - kernel_w) // stride_w + 1,
        )


@dataclass(frozen=True)
class BlockSpec:
    """One block. `row` numbers the decision it belongs to: 0 the stem, 1 … R the rows, R + 1 the head.

    `kernel_size` and `stride` are an integer for both axes or (height, width); a pair of equal ones becomes an integer,
    so that one network has one key. A kernel of even size makes maps smaller: no block with a shortcut has one.
    `weight_bits` and `activation_bits` (of what its layers store) are its own, 1 to 32, or 0: as the run says. So is
    `sparsity`, the percentage of its weights (or hidden channels) that are pruned, 0 to 99, or −1.
    """

    kind: str
    row: int
    in_channels: int
    hidden_channels: int
    out_channels: int
    kernel_size: Size
    stride: Size
    weight_bits: int = 0
    activation_bits: int = 0
    sparsity: int = -1

    def __post_init__(self) -> None:
        if self.kind not in CONVOLUTIONS:
            raise ValueError(f"unknown block kind {self.kind!r} (known: {', '.join(CONVOLUTIONS)})")
        for name in ("kernel_size", "stride"):
            if not isinstance(size := getattr(self, name), int):
                object.__setattr__(self, name, shortest(size))
        channels = (self.in_channels, self.hidden_channels, self.out_channels)
        if min(*channels, *pair(self.kernel_size), *pair(self.stride)) < 1:
            raise ValueError(f"a block needs positive sizes, got {self}")
        if not (0 <= self.weight_bits <= 32 and 0 <= self.activation_bits <= 32):
            raise ValueError(f"bits of a block are 1 to 32, or 0 where it has none of its own, got {self}")
        if not -1 <= self.sparsity <= 99:
            raise ValueError(
                f"the sparsity of a block is 0 to 99 percent, or -1 where it has none of its own, got {self}"
            )
        if (self.has_residual or self.has_projection) and self.has_even_kernel:
            raise ValueError(f"a block that adds its input needs an odd kernel, got {self}")

    @property
    def has_even_kernel(self) -> bool:
        """Whether the kernel is of even size along an axis, so that maps become smaller there even at stride 1."""
        height, width = pair(self.kernel_size)
        return height % 2 == 0 or width % 2 == 0

    @property
    def convolutions(self) -> tuple[ConvSpec, ...]:
        """The convolutions of the block, in the order they are applied; the projection first, where it has one."""
        return CONVOLUTIONS[self.kind](self)

    def layers(self, size: Pair) -> Iterator[tuple[ConvSpec, Pair, Pair]]:
        """Every convolution with the size (H, W) of its input and of its output, for an input of `size`."""
        inner = size
        for index, conv in enumerate(self.convolutions):
            before = size if self.has_projection and index < 2 else inner  # the projection and the first of the branch
            inner = conv.output_size(before)
            yield conv, before, inner

    @property
    def has_residual(self) -> bool:
        """Whether the input of the block, as it is, is added to the output of its convolutions."""
        return self.kind in RESIDUAL_KINDS and self._keeps_shape

    @property
    def has_projection(self) -> bool:
        """Whether a 1×1 convolution of the input, with batch-norm, is added to the output of the other convolutions."""
        return self.kind in PROJECTION_KINDS and not self._keeps_shape

    @property
    def _keeps_shape(self) -> bool:
        return self.stride == 1 and self.in_channels == self.out_channels


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


def _resnet(block: BlockSpec) -> tuple[ConvSpec, ...]:
    projection = ConvSpec(block.in_channels, block.out_channels, 1, block.stride)
    return (projection, *_residual(block)) if block.has_projection else _residual(block)


CONVOLUTIONS: dict[str, Callable[[BlockSpec], tuple[ConvSpec, ...]]] = {
    "conv": _conv,
    "inverted_residual": _inverted_residual,
    "separable": _separable,
    "residual": _residual,
    "resnet": _resnet,
}
RESIDUAL_KINDS = frozenset({"inverted_residual", "residual", "resnet"})
"""Kinds that add their input where it has the shape of their output."""
PROJECTION_KINDS = frozenset({"resnet"})
"""Kinds that add a projection of their input where it has another shape."""


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
        if any(block.has_even_kernel for block in self.blocks):  # with odd ones, a pixel always remains
            self._check_sizes()

    def _check_sizes(self) -> None:
        size = self.input_shape[1:]
        for index, block in enumerate(self.blocks):
            for _, before, after in block.layers(size):
                if min(after) < 1:
                    kernel, pixels = size_text(block.kernel_size), size_text(before)
                    raise ValueError(f"block {index} has a kernel of {kernel}, too large for {pixels} pixels")
                size = after

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
