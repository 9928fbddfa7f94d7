"""The outer step's pass through a network in training mode, forwards and backwards by hand.

Autograd sees the whole network as one operation: logits in front, gradients of the parameters behind. Several
batches (clean, adversarial) go through together, each with batch-norm statistics of its own, exactly as in passes
one after the other.

Letters: G batches of N images, C channels, M = N·H·W pixels of a batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nas.layers import (
    Layer,
    convolve,
    convolve_back,
    flipped,
    in_layout,
    layers_of,
    matrix_of,
    relu6_back_,
    weight_gradient,
)
from search_spaces.network import Network

Forward = Callable[..., tuple[Tensor, ...]]
"""Batches (N, C, H, W) of one size to their logits (N, K), with a graph to the parameters."""


def forward_of(network: nn.Module) -> Forward:
    """The fastest pass of `network` in training mode; running statistics move as in passes one after the other.

    On small maps, where the cost of a call outweighs its arithmetic, all batches go through together. A network
    that is not made of known layers is called as it is.
    """
    layers = layers_of(network)
    if layers is None:
        return lambda *batches: tuple(network(batch) for batch in batches)
    assert isinstance(network, Network)
    parameters = [p for layer in layers for p in (layer.conv.weight, layer.norm.weight, layer.norm.bias)]
    parameters += [network.classifier.weight, network.classifier.bias]
    together = all(layer.channel_major_out for layer in layers)

    def forward(*batches: Tensor) -> tuple[Tensor, ...]:
        if not together:
            return tuple(_Pass.apply(network, layers, 1, batch, *parameters) for batch in batches)
        logits: Tensor = _Pass.apply(network, layers, len(batches), torch.cat(batches), *parameters)
        return logits.chunk(len(batches))

    return forward


@dataclass(frozen=True)
class _Saved:
    """What the backward pass of one layer needs."""

    x: Tensor
    z: Tensor
    """Output of the convolution, before batch-norm."""
    output: Tensor
    mean: Tensor
    inverse_std: Tensor
    """Of z, for each channel and, within it, each batch: (C·G,)."""


class _Pass(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, network: Network, layers: tuple[Layer, ...], groups: int, x: Tensor, *_: Tensor) -> Tensor:
        normalization = network.normalization
        h = residual = in_layout(layers[0], (x - normalization.mean) / normalization.std)
        matrices = [matrix_of(layer, layer.conv.weight) for layer in layers]
        saved = []
        for layer, matrix in zip(layers, matrices, strict=True):
            if layer.opens_residual:
                residual = h
            z = convolve(layer, h, matrix)
            output, mean, inverse_std = _normalise(layer, z, groups)
            if layer.relu6:
                output.clamp_(0, 6)
            saved.append(_Saved(h, z, output, mean, inverse_std))
            if layer.closes_residual:
                output.add_(residual)
            h = output
        features = h.mean((2, 3))
        ctx.seen = network, layers, groups, matrices, saved, features
        classifier = network.classifier
        return torch.addmm(classifier.bias, features, classifier.weight.t())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        network, layers, groups, matrices, saved, features = ctx.seen
        gradients = [slope.sum(0), slope.t() @ features]
        last = saved[-1].output
        pooled = slope @ network.classifier.weight / (last.shape[2] * last.shape[3])
        gradient = torch.empty_like(last).copy_(pooled[:, :, None, None].expand_as(last))
        residual = gradient
        for index in reversed(range(len(layers))):
            layer, kept = layers[index], saved[index]
            if layer.closes_residual:
                residual = gradient
            if layer.relu6:
                relu6_back_(gradient, kept.output)
            gradient, scale, shift = _normalise_back(layer, gradient, kept, groups)
            gradients += [shift, scale, weight_gradient(layer, gradient, kept.x)]
            if index:
                turned = flipped(layer, layer.conv.weight) if layer.flips else None
                gradient = convolve_back(layer, gradient, kept.x, matrices[index], turned)
            if layer.opens_residual:
                gradient.add_(residual)
        return None, None, None, None, *gradients[::-1]


def _normalise(layer: Layer, z: Tensor, groups: int) -> tuple[Tensor, Tensor, Tensor]:
    """Batch-norm of each batch in `z` by its own statistics, their mean, and 1 / √(σ² + ε); moves the running ones."""
    norm = layer.norm
    assert norm.momentum is not None, "batch-norm with a cumulative average was let through"
    assert norm.num_batches_tracked is not None, "batch-norm without running statistics was let through"
    norm.num_batches_tracked += groups
    if not layer.channel_major_out:
        assert groups == 1, "batches go through together only where a layer keeps their pixels apart"
        found: tuple[Tensor, Tensor, Tensor] = torch.native_batch_norm(
            z, norm.weight, norm.bias, norm.running_mean, norm.running_var, True, norm.momentum, norm.eps
        )
        return found
    pixels = _by_channel(z, groups)
    # Statistics by two vectorised passes: torch's own pass over this layout is three times slower.
    mean = pixels.mean((0, 2))
    square = torch.linalg.vector_norm(pixels, dim=(0, 2)).square_().div_(pixels.shape[2])
    variance = square.addcmul_(mean, mean, value=-1).clamp_(min=0)
    weight, bias = _repeated(norm.weight, groups), _repeated(norm.bias, groups)
    output, _, _ = torch.native_batch_norm(pixels, weight, bias, mean, variance, False, 0.0, norm.eps)
    _move_statistics_(norm, mean.view(-1, groups), variance.view(-1, groups), pixels.shape[2])
    inverse_std = torch.rsqrt(variance + norm.eps)
    return output.view(z.shape[1], *z.transpose(0, 1).shape[1:]).transpose(0, 1), mean, inverse_std


def _normalise_back(layer: Layer, gradient: Tensor, kept: _Saved, groups: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by z, γ and β from the one by batch-norm's output."""
    norm, z = layer.norm, kept.z
    weight: Tensor = norm.weight
    if layer.channel_major_out:
        gradient, z, weight = _by_channel(gradient, groups), _by_channel(z, groups), _repeated(weight, groups)
    found, scale, shift = torch.ops.aten.native_batch_norm_backward(
        gradient, z, weight, None, None, kept.mean, kept.inverse_std, True, norm.eps, [True, True, True]
    )
    if not layer.channel_major_out:
        return found, scale, shift
    found = found.view(kept.z.transpose(0, 1).shape).transpose(0, 1)
    return found, scale.view(-1, groups).sum(1), shift.view(-1, groups).sum(1)


def _by_channel(z: Tensor, groups: int) -> Tensor:
    """Pixels (1, C·G, M) of channel-major images of G batches: a view."""
    return z.transpose(0, 1).reshape(1, z.shape[1] * groups, -1)


def _repeated(values: Tensor, groups: int) -> Tensor:
    """(C·G,) of (C,): every value for each batch."""
    return values if groups == 1 else values.repeat_interleave(groups)


def _move_statistics_(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: int) -> None:
    """Running statistics after every batch, in turn: means and variances (C, G) of `count` pixels each."""
    assert norm.momentum is not None, "batch-norm with a cumulative average was let through"
    assert norm.running_mean is not None, "batch-norm without running statistics was let through"
    assert norm.running_var is not None, "batch-norm without running statistics was let through"
    unbiased = variance * (count / max(count - 1, 1))
    for batch in range(mean.shape[1]):
        norm.running_mean.lerp_(mean[:, batch], norm.momentum)
        norm.running_var.lerp_(unbiased[:, batch], norm.momentum)
