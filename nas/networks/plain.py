"""A network as plain numbers: weights with batch-norm folded in, and which tensor every step takes. What is exported.

Tensor 0 is the normalised image; step i makes tensor i + 1. The last one is averaged over its pixels and classified.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.base.errors import UsageError
from nas.networks.layer import folded_weight, kernel_of, layers_of, rounds_activations, unknown_part
from search_spaces import NetworkSpec
from search_spaces.network import Network
from search_spaces.spec import Pair


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


@dataclass(frozen=True)
class PlainSum:
    """The sum of two tensors of one shape and, where `relu6`, ReLU6."""

    left: int
    right: int
    relu6: bool


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


def plain_of(network: nn.Module) -> PlainNetwork:
    """The numbers of `network`, copied. Raises UsageError where it has parts that are not known.

    Known are convolution, batch-norm, ReLU6, shortcuts and one linear layer (nas/networks/known.py). A treatment is
    none of them where it replaces modules or leaves hooks; one that only changes weights is.
    """
    layers = layers_of(network)
    if layers is None or not isinstance(network, Network):
        raise UsageError(
            f"{unknown_part(network)}: no other format is written for it (allowed: convolution, batch-norm, ReLU6, "
            "shortcuts and one linear layer, without hooks); its model.safetensors stays as it is, for PyTorch through "
            "nas.load; or retrain the genotype without that part"
        )
    if rounds_activations(layers):
        raise UsageError(
            "the network is quantized (treatment quantize): other formats are written for float networks, which they "
            "round by rules of their own; keep its model.safetensors, or retrain the genotype without the treatment"
        )
    steps: list[PlainConv | PlainSum] = []
    current = shortcut = 0
    for layer in layers:
        weight, scale = folded_weight(layer)
        norm, conv = layer.norm, layer.conv
        assert norm.running_mean is not None, "batch-norm without running statistics was let through"
        if layer.opens_residual:
            shortcut = current
        relu6 = layer.relu6 and not layer.closes_residual
        bias = norm.bias - norm.running_mean * scale
        padding = (int(conv.padding[0]), int(conv.padding[1]))
        stride = (conv.stride[0], conv.stride[1])
        steps.append(PlainConv(current, _copy(weight), _copy(bias), stride, padding, conv.groups, relu6))
        if layer.projects:
            shortcut = len(steps)
            continue
        current = len(steps)
        if layer.closes_residual:
            steps.append(PlainSum(current, shortcut, layer.relu6))
            current = len(steps)
    normalization, classifier = network.normalization, network.classifier
    mean, std = (_copy(values.flatten()) for values in (normalization.mean, normalization.std))
    return PlainNetwork(network.spec, mean, std, tuple(steps), _copy(kernel_of(classifier)), _copy(classifier.bias))


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
        tensors.append(out.clamp(0, 6) if step.relu6 else out)
        yield tensors[-1]
    yield (features := tensors[-1].mean(dim=(2, 3)))
    yield F.linear(features, network.weight, network.bias)
