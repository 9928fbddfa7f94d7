"""The outer step's pass through a network in training mode, forwards and backwards by hand.

Autograd sees the whole network as one operation: logits in front, gradients of the parameters behind. Several
batches (clean, adversarial) go through together, each with batch-norm statistics of its own, exactly as in passes
one after the other.

Letters: G batches of N images, C channels, M = N·H·W pixels of a batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from nas.networks.arithmetic import Arithmetic, arithmetic_of
from nas.networks.images import flipped
from nas.networks.layer import Layer, kernel_of, layers_of
from nas.networks.rounding import Head, LayerGrids, grids_of
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
        return _AsItIs(network)
    assert isinstance(network, Network)
    return _ByHand(network, layers)


@dataclass(frozen=True)
class _AsItIs:
    """One call after the other. A class, as is the other: a copied function would still call the first network."""

    network: nn.Module

    def __call__(self, *batches: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network(batch) for batch in batches)


class _ByHand:
    def __init__(self, network: Network, layers: tuple[Layer, ...]) -> None:
        self._network, self._layers = network, layers
        self._parameters = [p for layer in layers for p in (layer.conv.weight, layer.norm.weight, layer.norm.bias)]
        self._parameters += [network.classifier.weight, network.classifier.bias]
        self._together = all(layer.channel_major_out for layer in layers)

    def __call__(self, *batches: Tensor) -> tuple[Tensor, ...]:
        network, layers, parameters = self._network, self._layers, self._parameters
        if not self._together:
            return tuple(_Pass.apply(network, layers, 1, batch, *parameters) for batch in batches)
        logits: Tensor = _Pass.apply(network, layers, len(batches), torch.cat(batches), *parameters)
        return logits.chunk(len(batches))


@dataclass(frozen=True)
class _Saved:
    """What the backward pass of one layer needs."""

    matrix: Tensor
    x: Tensor
    z: Tensor
    """Output of the convolution, before batch-norm."""
    inner: Tensor | None
    """Own output before its rounding, where it is added to another."""
    output: Tensor
    """Output, or the sum, before its rounding."""
    mean: Tensor
    inverse_std: Tensor
    """Of z, for each channel and, within it, each batch: (C·G,)."""
    weight: Tensor
    """γ, repeated likewise, over the step of the output."""


class _Pass(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, network: Network, layers: tuple[Layer, ...], groups: int, x: Tensor, *_: Tensor) -> Tensor:
        normalization = network.normalization
        arithmetic, (grids, step) = arithmetic_of(layers), grids_of(layers)
        h = residual = arithmetic.enter((x - normalization.mean) / normalization.std)
        weights, biases = _repeated(layers, grids, groups)
        saved: list[_Saved] = []
        for layer, grid, weight, bias in zip(layers, grids, weights, biases, strict=True):
            if layer.opens_residual:
                residual = h
            matrix = arithmetic.matrix_of(layer, _kernel(layer, grid))
            z = arithmetic.convolve(layer, h, matrix)
            output, mean, inverse_std = _normalise(layer, arithmetic, z, groups, weight, bias)
            inner, output, stored = grid.stored(output, residual, in_place=False, batches=groups)
            saved.append(_Saved(matrix, h, z, inner, output, mean, inverse_std, weight))
            if layer.projects:
                residual = stored
            else:
                h = stored
        _move_statistics_(layers, saved, groups)
        head = Head(network, step)
        clamped, features = head.taken(arithmetic.pool(h), groups)
        ctx.seen = layers, grids, groups, head
        tensors = [tensor for kept in saved for tensor in vars(kept).values()]
        ctx.save_for_backward(
            *tensors, clamped, features, head.weight
        )  # freed by the backward pass, changes are noticed
        return head.logits(features)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        layers, grids, groups, head = ctx.seen
        *tensors, clamped, features, _ = ctx.saved_tensors
        size = len(tensors) // len(layers)
        saved = [_Saved(*tensors[start : start + size]) for start in range(0, len(tensors), size)]
        gradients = [slope.sum(0), slope.t() @ features]
        arithmetic = arithmetic_of(layers)
        gradient = residual = arithmetic.unpool(head.back(slope, clamped), saved[-1].output)
        for index in reversed(range(len(layers))):
            layer, grid, kept = layers[index], grids[index], saved[index]
            behind, added = grid.back(residual if layer.projects else gradient, kept.inner, kept.output)
            residual = residual if added is None else added
            behind, scale, shift = _normalise_back(layer, arithmetic, behind, kept, groups)
            gradients += _of_parameters(grid, shift, scale, arithmetic.weight_gradient(layer, behind, kept.x))
            if index == 0:  # the images need no gradient
                break
            turned = flipped(layer, kept.matrix) if layer.flips else None
            before = arithmetic.convolve_back(layer, behind, kept.x, kept.matrix, turned)
            gradient = gradient.add_(before) if layer.projects else before
            if layer.opens_residual:
                gradient.add_(residual)
        return None, None, None, None, *gradients[::-1]


def _kernel(layer: Layer, grids: LayerGrids) -> Tensor:
    """Kernel for an input in steps of its grid."""
    kernel = kernel_of(layer.conv, drawn=True).detach()
    return kernel if grids.is_float else kernel * grids.before


def _of_parameters(grids: LayerGrids, *found: Tensor) -> tuple[Tensor, ...]:
    """Gradients by β, γ and the weight, from those by β and γ over the output's step and w times the input's."""
    if grids.is_float:
        return found
    shift, scale, weight = found
    return shift / grids.own.step, scale / grids.own.step, weight * grids.before


def _repeated(
    layers: Sequence[Layer], grids: Sequence[LayerGrids], groups: int
) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """γ and β (C·G,) of all layers, every value once for each batch; together, as tiny calls cost more than work.

    Over the step of the layer's own output.
    """
    sizes = [layer.norm.num_features * groups for layer in layers]
    parameters = [p for name in ("weight", "bias") for layer in layers for p in [getattr(layer.norm, name)]]
    if not all(grid.is_float for grid in grids):
        parameters = [p / grid.own.step for p, grid in zip(parameters, [*grids, *grids], strict=True)]
    together = torch.cat(parameters)
    pieces = torch.split(together.repeat_interleave(groups), sizes * 2)
    return pieces[: len(layers)], pieces[len(layers) :]


def _normalise(
    layer: Layer, arithmetic: Arithmetic, z: Tensor, groups: int, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch-norm of each batch in `z` by its own statistics, their mean, and 1 / √(σ² + ε)."""
    norm = layer.norm
    if not layer.channel_major_out:
        assert groups == 1, "batches go through together only where a layer keeps their pixels apart"
        found: tuple[Tensor, Tensor, Tensor] = torch.native_batch_norm(z, weight, bias, None, None, True, 0.0, norm.eps)
        return found
    pixels = arithmetic.by_channel(z, groups)
    # By hand and vectorised: torch's own pass over this layout is three times slower. The variance is that of
    # centred values, as E[z²] − E[z]² loses its digits where a channel lies far from 0.
    mean = pixels.mean((0, 2))
    centred = pixels - mean[:, None]
    variance = torch.linalg.vector_norm(centred, dim=(0, 2)).square_().div_(pixels.shape[2])
    inverse_std = variance.add_(norm.eps).rsqrt_()
    output = centred.mul_((weight * inverse_std)[:, None]).add_(bias[:, None])
    return _like(output, z), mean, inverse_std


def _normalise_back(
    layer: Layer, arithmetic: Arithmetic, gradient: Tensor, kept: _Saved, groups: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by z, γ and β from the one by batch-norm's output."""
    z = kept.z
    if layer.channel_major_out:
        gradient, z = arithmetic.by_channel(gradient, groups), arithmetic.by_channel(z, groups)
    found, scale, shift = torch.ops.aten.native_batch_norm_backward(
        gradient, z, kept.weight, None, None, kept.mean, kept.inverse_std, True, layer.norm.eps, [True, True, True]
    )
    if not layer.channel_major_out:
        return found, scale, shift
    return _like(found, kept.z), scale.view(-1, groups).sum(1), shift.view(-1, groups).sum(1)


def _like(pixels: Tensor, z: Tensor) -> Tensor:
    """Contiguous channel-major `pixels` in the form of `z`: a view."""
    return pixels.view(z.shape) if z.dim() == 3 else pixels.view(z.transpose(0, 1).shape).transpose(0, 1)


def _move_statistics_(layers: Sequence[Layer], saved: Sequence[_Saved], groups: int) -> None:
    """Moves the running statistics of all layers by those of every batch, in turn.

    After batches 1 … G with means μ_g, r becomes (1 − m)^G r + Σ m (1 − m)^(G − g) μ_g; the variances enter
    unbiased, as in torch.
    """
    norms = [layer.norm for layer in layers]
    momentum = norms[0].momentum
    assert momentum is not None, "batch-norm with a cumulative average was let through"
    sizes, counts = [norm.num_features for norm in norms], [kept.z.numel() // kept.mean.numel() for kept in saved]
    keep = (1 - momentum) ** groups
    means = torch.split(_shared([kept.mean for kept in saved], momentum, groups), sizes)
    variances = list(torch.split(_shared([kept.inverse_std.pow(-2) for kept in saved], momentum, groups), sizes))
    torch._foreach_sub_(variances, [norm.eps * (1 - keep) for norm in norms])
    torch._foreach_mul_(variances, [count / max(count - 1, 1) for count in counts])
    for name, moved in (("running_mean", means), ("running_var", variances)):
        running = [getattr(norm, name) for norm in norms]
        torch._foreach_mul_(running, keep)
        torch._foreach_add_(running, moved)
    torch._foreach_add_([cast(Tensor, norm.num_batches_tracked) for norm in norms], groups)


def _shared(values: Sequence[Tensor], momentum: float, groups: int) -> Tensor:
    """Σ m (1 − m)^(G − g) v_g of values (C·G,) of all layers, one after the other: (ΣC,)."""
    columns = torch.cat(list(values)).view(-1, groups).unbind(1)
    shares = [momentum * (1 - momentum) ** (groups - 1 - batch) for batch in range(groups)]
    found = shares[0] * columns[0]
    for share, column in zip(shares[1:], columns[1:], strict=True):
        found.add_(column, alpha=share)
    return found
