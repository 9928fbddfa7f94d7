"""A network as plain numbers: weights with batch-norm folded in, and which tensor every step takes. What is exported.

Tensor 0 is the normalised image; step i makes tensor i + 1. The last one is averaged over its pixels and classified.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.base.errors import UsageError
from nas.networks.grids import WeightGrid, rounded_values
from nas.networks.layer import Layer, folded_weight, kernel_of, layers_of, unknown_part
from nas.networks.quantized import QuantConv2d, QuantLinear
from nas.networks.rounding import Head, TensorGrid, grids_of
from search_spaces import NetworkSpec
from search_spaces.network import Network
from search_spaces.spec import Pair


@dataclass(frozen=True)
class PlainGrid:
    """The numbers low · step … high · step, which a tensor is rounded to."""

    step: float
    low: int
    high: int

    def rounded(self, x: Tensor) -> Tensor:
        """`x` on the grid, shape as `x`; beyond its ends, the nearest end."""
        return rounded_values(x, self.step, self.low, self.high)


@dataclass(frozen=True, eq=False)
class PlainLevels:
    """Integers of rounded weights: of each output channel, the weights are these times one scale ≥ 0."""

    values: Tensor
    """int64, shape as the weight. Of the first convolution: of its weight divided by the image's deviations."""
    grid: WeightGrid


@dataclass(frozen=True, eq=False)
class PlainConv:
    """A convolution with bias, zero padding and, where `relu6`, ReLU6."""

    source: int
    weight: Tensor
    """float64 (O, I / groups, k_h, k_w)."""
    bias: Tensor
    """float64 (O,)."""
    stride: Pair
    padding: Pair
    """Zeros at each end of the two axes."""
    groups: int
    """1, or the number of channels, each with a kernel of its own."""
    relu6: bool
    levels: PlainLevels | None = None
    """Of the weight, where it is rounded."""
    grid: PlainGrid | None = None
    """Of the output, where it is rounded."""


@dataclass(frozen=True)
class PlainSum:
    """The sum of two tensors of one shape and, where `relu6`, ReLU6."""

    left: int
    right: int
    relu6: bool
    grid: PlainGrid | None = None
    """Of the sum, where it is rounded."""


@dataclass(frozen=True, eq=False)
class PlainNetwork:
    """Everything that the logits of a network in eval mode depend on, in float64 on the CPU."""

    spec: NetworkSpec
    mean: Tensor
    """Of the pixels (C,): tensor 0 is (x − mean) / std."""
    std: Tensor
    steps: tuple[PlainConv | PlainSum, ...]
    weight: Tensor
    """Of the classifier (K, C)."""
    bias: Tensor
    """Of the classifier (K,)."""
    levels: PlainLevels | None = None
    """Of the classifier's weight, where it is rounded."""
    average_grid: PlainGrid | None = None
    """Of the averages that the classifier takes, where they are rounded."""

    @property
    def rounds_activations(self) -> bool:
        """Whether a tensor is rounded."""
        return self.average_grid is not None or any(step.grid is not None for step in self.steps)

    @property
    def rounds(self) -> bool:
        """Whether a tensor or a weight is rounded."""
        convs = (step for step in self.steps if isinstance(step, PlainConv))
        return self.rounds_activations or self.levels is not None or any(step.levels is not None for step in convs)


def plain_of(network: nn.Module) -> PlainNetwork:
    """The numbers of `network`, copied. Raises UsageError where it has parts that are not known.

    Known are convolution, batch-norm, ReLU6, shortcuts and one linear layer (nas/networks/known.py), each as it is or
    rounded as the treatment `quantize` does. Other treatments are none of them where they replace modules or leave
    hooks; those that only change weights are.
    """
    layers = layers_of(network)
    if layers is None or not isinstance(network, Network):
        raise UsageError(
            f"{unknown_part(network)}: no other format is written for it (allowed: convolution, batch-norm, ReLU6, "
            "shortcuts and one linear layer, without hooks); its model.safetensors stays as it is, for PyTorch through "
            "nas.load; or retrain the genotype without that part"
        )
    steps: list[PlainConv | PlainSum] = []
    current = shortcut = 0
    grids, last = grids_of(layers)
    for layer, around in zip(layers, grids, strict=True):
        weight, scale = folded_weight(layer)
        norm, conv = layer.norm, layer.conv
        assert norm.running_mean is not None, "batch-norm without running statistics was let through"
        if layer.opens_residual:
            shortcut = current
        relu6 = layer.relu6 and not layer.closes_residual
        bias = norm.bias - norm.running_mean * scale
        padding = (int(conv.padding[0]), int(conv.padding[1]))
        stride = (conv.stride[0], conv.stride[1])
        levels, grid = _levels(layer, scale), _grid(around.own)
        steps.append(PlainConv(current, _copy(weight), _copy(bias), stride, padding, conv.groups, relu6, levels, grid))
        if layer.projects:
            shortcut = len(steps)
            continue
        current = len(steps)
        if around.total is not None:
            steps.append(PlainSum(current, shortcut, layer.relu6, _grid(around.total)))
            current = len(steps)
    normalization, classifier = network.normalization, network.classifier
    mean, std = (_copy(values.flatten()) for values in (normalization.mean, normalization.std))
    return PlainNetwork(
        network.spec, mean, std, tuple(steps), _copy(kernel_of(classifier)), _copy(classifier.bias),
        _levels_of_classifier(classifier), _grid(Head(network, last).grid),
    )  # fmt: skip


def _levels(layer: Layer, factor: Tensor) -> PlainLevels | None:
    """Of the folded weight: a batch-norm's `factor` (O,) below 0 turns the signs of its channel."""
    if not isinstance(layer.conv, QuantConv2d) or (found := layer.conv.levels()) is None:
        return None
    signs = torch.where(factor < 0, -1, 1)[:, None, None, None]
    return PlainLevels((found.detach().long() * signs).cpu().contiguous(), layer.conv.grid)


def _levels_of_classifier(classifier: nn.Linear) -> PlainLevels | None:
    if not isinstance(classifier, QuantLinear) or (found := classifier.levels()) is None:
        return None
    return PlainLevels(found.detach().long().cpu(), classifier.grid)


def _grid(grid: TensorGrid) -> PlainGrid | None:
    return PlainGrid(float(grid.step), int(grid.low), int(grid.high)) if grid.rounds else None


def _copy(values: Tensor) -> Tensor:
    return values.detach().cpu().double().clone(memory_format=torch.contiguous_format)


def shapes_of(network: PlainNetwork) -> tuple[tuple[int, int, int], ...]:
    """(C, H, W) of every tensor."""
    shapes = [network.spec.input_shape]
    for step in network.steps:
        if isinstance(step, PlainSum):
            shapes.append(shapes[step.left])
            continue
        sizes = zip(shapes[step.source][1:], step.padding, step.weight.shape[2:], step.stride, strict=True)
        height, width = ((size + 2 * pad - kernel) // stride + 1 for size, pad, kernel, stride in sizes)
        shapes.append((len(step.weight), height, width))
    return tuple(shapes)


def walked(network: PlainNetwork, x: Tensor) -> Iterator[Tensor]:
    """Every tensor for pixels `x` (N, C, H, W), then the averages (N, C) and the logits (N, K); in float64."""
    mean, std = network.mean.view(-1, 1, 1), network.std.view(-1, 1, 1)
    tensors = [(x.double() - mean) / std]
    yield tensors[0]
    for step in network.steps:
        if isinstance(step, PlainSum):
            out = tensors[step.left] + tensors[step.right]
        else:
            weight, bias = step.weight, step.bias
            out = F.conv2d(tensors[step.source], weight, bias, step.stride, step.padding, 1, step.groups)
        out = out.clamp(0, 6) if step.relu6 else out
        tensors.append(out if step.grid is None else step.grid.rounded(out))
        yield tensors[-1]
    features = tensors[-1].mean(dim=(2, 3))
    yield (features := features if network.average_grid is None else network.average_grid.rounded(features))
    yield F.linear(features, network.weight, network.bias)
