"""A network as a list of its convolution layers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.networks.known import are_known, first_unknown
from nas.networks.quantized import QuantBatchNorm2d, QuantConv2d, QuantLinear, QuantReLU6, QuantShortcut, Rounding
from search_spaces.blocks import Resnet, Shortcut
from search_spaces.network import Network, Normalization
from search_spaces.spec import BlockSpec

DENSE_PIXELS = 64
DENSE_CHANNELS = 3
"""Input channels up to which a convolution that mixes channels may be dense (a stem)."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One convolution with its batch-norm and what follows."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d
    relu6: bool
    """ReLU6 follows, behind the sum where the layer closes a residual."""
    opens_residual: bool
    """Its input is added to the output of the layer that closes the residual."""
    closes_residual: bool
    projects: bool = False
    """Its output is what the closing layer adds; the next layer has the same input as this one."""
    rounding: Rounding | None = None
    """What rounds its output, behind batch-norm and ReLU6."""
    sum_rounding: Rounding | None = None
    """What rounds the sum, where it closes a residual."""
    channel_major_in: bool = False
    channel_major_out: bool = False
    taps: Tensor | None = None
    """For a dense window: (k_h·k_w, H·W, H', W'), 1 where the tap of the kernel leads from pixel to pixel."""

    @cached_property
    def is_pointwise(self) -> bool:
        """Whether the convolution is one matrix for all pixels."""
        return _is_pointwise(self.conv)

    @cached_property
    def is_depthwise(self) -> bool:
        """Whether every channel has a kernel of its own."""
        return self.conv.groups > 1

    @cached_property
    def flips(self) -> bool:
        """Whether the backward pass by the input is a convolution with the flipped kernel."""
        conv = self.conv
        keeps_size = conv.kernel_size == tuple(2 * int(padding) + 1 for padding in conv.padding)
        return self.taps is None and conv.stride == (1, 1) and keeps_size and conv.kernel_size != (1, 1)


def layers_of(network: nn.Module) -> tuple[Layer, ...] | None:
    """Layers of `network` in order, or None where it is not made of convolution + batch-norm [+ ReLU6] alone.

    Nor where a module has a hook, a parametrization, or tensors that are not its own: see `nas.networks.known`.
    """
    if not isinstance(network, Network) or not are_known(network):
        return None
    parts = [type(network.normalization), type(network.features), type(network.classifier)]
    if parts[:2] != [Normalization, nn.Sequential] or parts[2] not in (nn.Linear, QuantLinear):
        return None
    if len(network.spec.blocks) != len(network.features):
        return None
    found: list[Layer] = []
    for block, module in zip(network.spec.blocks, network.features, strict=True):
        layers = _layers_of_block(module, block)
        if layers is None or len(layers) != len(block.convolutions):
            return None
        found += layers
    if len({layer.norm.momentum for layer in found}) > 1:
        return None
    _, height, width = network.spec.input_shape
    dense = height * width <= DENSE_PIXELS and all(
        layer.is_pointwise or layer.is_depthwise or layer.conv.in_channels <= DENSE_CHANNELS for layer in found
    )
    return _densely(found, height, width) if dense else _with_bottlenecks(found)


def unknown_part(network: nn.Module) -> str:
    """The first part that makes `layers_of` give None, by name and type, for a message."""
    if (name := first_unknown(network)) or not isinstance(network, Network):
        return name
    for index, (block, module) in enumerate(zip(network.spec.blocks, network.features, strict=False)):
        layers = _layers_of_block(module, block)
        if layers is None or len(layers) != len(block.convolutions):
            return f"features.{index} (a block of kind {block.kind!r})"
    return "a part that is used twice, or out of its order"


def is_walked(network: nn.Module) -> bool:
    """Whether the hand-written passes know all layers of `network`."""
    return layers_of(network) is not None


def _layers_of_block(module: nn.Module, block: BlockSpec) -> list[Layer] | None:
    """Layers of the module of `block`, or None where it is not what the spec says."""
    inside = [part for part in module.modules() if part is not module]
    if any(isinstance(part, Shortcut | Resnet) for part in inside):  # a residual that the block's spec lacks
        return None
    if isinstance(module, Resnet):
        return _layers_of_resnet(module, block)
    residual, layers = isinstance(module, Shortcut) and module.adds_input, _chain(module)
    if not layers or block.has_projection or residual != block.has_residual or (residual and layers[-1].relu6):
        return None
    return _closed(layers, module if isinstance(module, QuantShortcut) else None) if residual else layers


def _layers_of_resnet(module: Resnet, block: BlockSpec) -> list[Layer] | None:
    """Its projection, where it has one, then the branch, with the ReLU6 of the sum at its last layer."""
    branch, projection = _chain(module.conv), [] if module.projection is None else _chain(module.projection)
    if not branch or branch[-1].relu6 or not _is_relu6(module.relu) or projection is None:
        return None
    if (block.has_residual, block.has_projection) != (module.projection is None, len(projection) == 1):
        return None
    rounding = module.relu if isinstance(module.relu, QuantReLU6) else None
    branch[-1] = replace(branch[-1], relu6=True)
    if not projection:
        return _closed(branch, rounding)
    branch[-1] = replace(branch[-1], closes_residual=True, sum_rounding=rounding)
    return None if projection[0].relu6 else [replace(projection[0], projects=True), *branch]


def _closed(layers: list[Layer], rounding: Rounding | None) -> list[Layer]:
    """`layers` with a residual from the first one's input to the last one's output, and what rounds the sum."""
    layers = [replace(layers[0], opens_residual=True), *layers[1:]]
    return [*layers[:-1], replace(layers[-1], closes_residual=True, sum_rounding=rounding)]


def _chain(module: nn.Module) -> list[Layer] | None:
    """Layers of a module whose parts follow each other, without residuals; None where one is not known."""
    leaves = [part for part in module.modules() if not list(part.children())]
    layers: list[Layer] = []
    while leaves:
        conv, norm, leaves = leaves[0], leaves[1] if len(leaves) > 1 else None, leaves[2:]
        if type(conv) not in (nn.Conv2d, QuantConv2d) or type(norm) not in (nn.BatchNorm2d, QuantBatchNorm2d):
            return None
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        relu6 = bool(leaves) and _is_relu6(leaves[0])
        if not _is_known(conv, norm) or (relu6 and isinstance(norm, QuantBatchNorm2d)):
            return None
        last, leaves = (leaves[0], leaves[1:]) if relu6 else (norm, leaves)
        rounding = last if isinstance(last, Rounding) else None
        layers.append(Layer(conv, norm, relu6, opens_residual=False, closes_residual=False, rounding=rounding))
    return layers


def _is_relu6(module: nn.Module) -> bool:
    if not isinstance(module, nn.ReLU6) or type(module) not in (nn.ReLU6, QuantReLU6):
        return False
    return (float(module.min_val), float(module.max_val)) == (0, 6)


def _is_known(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> bool:
    plain = conv.bias is None and conv.padding_mode == "zeros" and conv.dilation == (1, 1)
    numbers = not isinstance(conv.padding, str)
    groups = conv.groups == 1 or conv.groups == conv.in_channels == conv.out_channels
    return plain and numbers and groups and norm.track_running_stats and norm.momentum is not None


def _is_pointwise(conv: nn.Conv2d) -> bool:
    return conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.groups == 1 and conv.padding == (0, 0)


def _with_bottlenecks(layers: list[Layer]) -> tuple[Layer, ...]:
    # Beside a projection, two layers share an input: in one layout, that of windows.
    pointwise = [False, *(layer.is_pointwise and not layer.projects for layer in layers), False]
    between = [a and b for a, b in pairwise(pointwise)]
    return tuple(
        replace(layer, channel_major_in=between[i], channel_major_out=between[i + 1]) for i, layer in enumerate(layers)
    )


def _densely(layers: list[Layer], height: int, width: int) -> tuple[Layer, ...]:
    found = []
    for layer in layers:
        taps = None
        if not layer.is_pointwise:
            taps = _taps(layer.conv, height, width)
            height, width = (height, width) if layer.projects else taps.shape[2:]
        found.append(replace(layer, channel_major_in=True, channel_major_out=True, taps=taps))
    return tuple(found)


def _taps(conv: nn.Conv2d, height: int, width: int) -> Tensor:
    """(k_h·k_w, H·W, H', W'): the convolution of every unit kernel with every unit image."""
    (rows, columns), weight = conv.kernel_size, conv.weight.detach()
    images = torch.eye(height * width, dtype=weight.dtype, device=weight.device).view(-1, 1, height, width)
    kernels = torch.eye(rows * columns, dtype=weight.dtype, device=weight.device).view(-1, 1, rows, columns)
    return F.conv2d(images, kernels, None, conv.stride, conv.padding).transpose(0, 1).contiguous()


def rounds_activations(layers: Sequence[Layer]) -> bool:
    """Whether what one of `layers` stores is rounded."""
    return any(layer.rounding is not None or layer.sum_rounding is not None for layer in layers)


def kernel_of(module: nn.Conv2d | nn.Linear, drawn: bool = False) -> Tensor:
    """Weight that `module` computes with: rounded, where it rounds; differentiable by its weight.

    As it is scored, or, where `drawn` and its rounding is stochastic, as this training step has drawn it.
    """
    if isinstance(module, QuantConv2d):
        return module.kernel(drawn)
    return module.kernel() if isinstance(module, QuantLinear) else module.weight


def folded_weight(layer: Layer) -> tuple[Tensor, Tensor]:
    """Weight (O, I/groups, k_h, k_w) with batch-norm in eval mode folded in, and the factor of each output (O,).

    w · γ / √(σ² + ε) with the running variance σ² and the rounded w, where it is; differentiable by w and γ.
    """
    norm = layer.norm
    assert norm.running_var is not None, "batch-norm without running statistics was let through"
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return kernel_of(layer.conv) * scale[:, None, None, None], scale
