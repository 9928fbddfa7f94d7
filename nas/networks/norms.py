"""Operator norms of a network's layers, and the product of them that bounds its Lipschitz constant.

All norms are l2 to l2. They are exact (matrices) or proved upper bounds (convolutions), up to the rounding of the
dtype they are computed in, and differentiable: training can push them down (`spectral_penalty`), an evaluation can
certify with them (`nas.evaluation.certified`).

Letters: O channels out, I in; k taps of a kernel, N side of a torus, s stride, along one axis each; G groups.
"""

from dataclasses import dataclass
from itertools import islice
from math import pi, prod, sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.networks.layer import Layer, folded_weight, kernel_of, layers_of, rounds_activations
from search_spaces.network import Network

DENSE_ROWS = 16
"""Inputs of a group up to which a convolution's norm is taken from its whole matrix."""


def convolution_norm(
    weight: Tensor, stride: tuple[int, int], padding: tuple[int, int], size: tuple[int, int], groups: int = 1
) -> Tensor:
    """Upper bound of ‖x ↦ conv(x)‖₂ for a zero-padded convolution of images of `size` (H, W); a scalar.

    On a torus, where images wrap around, a convolution is a circulant map, which the Fourier transform makes
    block-diagonal (Sedghi 2019, arXiv 1805.10408). Zero-padded, it is a sub-matrix of such a map on any torus that is
    large enough (`_axis` says why), and a sub-matrix has no larger norm. A stride of s adds up the s_h·s_w
    frequencies that it makes equal: they stand side by side in one block, divided by √(s_h·s_w). The result is

        max over frequencies of σ_max [ŵ(ν + a·N/s)]_a / √(s_h·s_w),    ŵ(ν) = Σ_q w_q exp(−2πi ν q / N),

    over the blocks of every group. Exact for pointwise convolutions. Small maps, where it would be far from the truth
    (1.5 times for 3 × 3 kernels on 2 × 2 pixels), get their exact norm. `weight` is (O, I/G, k_h, k_w); its dtype
    is the result's. Raises ValueError where the padded images are smaller than the kernel.
    """
    heights, widths = (_axis(*numbers) for numbers in zip(weight.shape[2:], stride, padding, size, strict=True))
    if weight.shape[2:] != (1, 1) and weight.shape[1] * prod(size) <= DENSE_ROWS:
        return _dense_norm(weight, stride, padding, size, groups)
    kernel = weight[:, :, heights.first : heights.last, widths.first : widths.last]
    kernel = kernel.reshape(groups, len(weight) // groups, *kernel.shape[1:])
    if kernel.shape[3:] == (1, 1):
        return _largest_singular_value(kernel.flatten(2))
    waves_h, waves_w = heights.waves(weight, half=False), widths.waves(weight, half=True)
    symbol = torch.einsum("goihw,vbw->goihvb", kernel.to(waves_w.dtype), waves_w)
    blocks = torch.einsum("goihvb,uah->guvoabi", symbol, waves_h).flatten(4)
    return _largest_singular_value(blocks) / sqrt(prod(stride))


def _dense_norm(
    weight: Tensor, stride: tuple[int, int], padding: tuple[int, int], size: tuple[int, int], groups: int
) -> Tensor:
    """‖x ↦ conv(x)‖₂ from the matrix of each group: its rows are the convolutions of all unit images."""
    channels = weight.shape[1]
    units = torch.eye(channels * prod(size), dtype=weight.dtype, device=weight.device).view(-1, channels, *size)
    rows = F.conv2d(units, weight, None, stride, padding).reshape(len(units), groups, -1)
    return _largest_singular_value(rows.transpose(0, 1))


@dataclass(frozen=True)
class _Axis:
    """One axis of a convolution: taps `first` to `last` (exclusive) of the kernel, on a torus of `side`."""

    first: int
    last: int
    side: int
    stride: int

    def waves(self, like: Tensor, half: bool) -> Tensor:
        """exp(−2πi ν q / N), shape (N/s, s, taps): output frequency, its aliases, tap q.

        A real kernel's symbol at −ν is the conjugate of the one at ν: along one axis `half` of ν are enough.
        """
        period = self.side // self.stride
        kept = period // 2 + 1 if half else period
        coarse = torch.arange(kept, device=like.device)[:, None, None]
        alias = torch.arange(self.stride, device=like.device)[:, None]
        taps = torch.arange(self.last - self.first, device=like.device)
        turns = (coarse + alias * period) * taps % self.side  # whole turns cost accuracy and change nothing
        angle = turns.to(like.dtype) * (-2 * pi / self.side)
        return torch.polar(torch.ones_like(angle), angle)


def _axis(kernel: int, stride: int, padding: int, size: int) -> _Axis:
    """The taps that ever meet a pixel, and the torus.

    Output p reads pixel t = s·p + q − padding through tap q, for p = 0 … P − 1. Taps below `first` meet padding
    only (t < 0 even for the last p), taps from `last` on too (t >= n even for p = 0). Without them, and with the
    padding that is left, −padding <= t <= n + padding − 1. On a torus of side N >= n + padding that is a multiple of
    s, no two of these meet unless both are padding: t < 0 becomes N + t >= n, and t >= n stays below N. So each
    output that reads a pixel at all is an output of the torus (a different one for each, as their s·p lie less than
    N apart), with pixels outside the image set to zero: the convolution is a sub-matrix.
    """
    outputs = _outputs(kernel, stride, padding, size)
    if outputs < 1:
        raise ValueError(f"a kernel of {kernel} taps does not fit an image of {size} pixels with padding {padding}")
    first = max(0, padding - stride * (outputs - 1))
    last = max(first, min(kernel, padding + size))
    least = size + padding - first
    return _Axis(first, last, -(-least // stride) * stride, stride)


def _outputs(kernel: int, stride: int, padding: int, size: int) -> int:
    return (size + 2 * padding - kernel) // stride + 1


def _largest_singular_value(matrices: Tensor) -> Tensor:
    """The largest singular value of all `matrices` (…, rows, columns), a scalar; its gradient is of one that has it."""
    if 1 in matrices.shape[-2:]:
        lengths: Tensor = torch.linalg.vector_norm(matrices, dim=(-2, -1))
        return lengths.amax()
    if matrices.dim() > 2:  # singular vectors, which a gradient needs, of one matrix only
        matrices = matrices.flatten(0, -3)
        matrices = matrices[torch.linalg.matrix_norm(matrices.detach(), ord=2).argmax()]
    values: Tensor = torch.linalg.svdvals(matrices)
    return values.amax()


@dataclass(frozen=True, eq=False)
class LinearMap:
    """A linear map of the network, batch-norm folded in, and its norm (a scalar)."""

    kind: str
    norm: Tensor


@dataclass(frozen=True, eq=False)
class Factor:
    """One factor of the Lipschitz bound: maps that follow each other, with activations of slope <= 1 between."""

    name: str
    maps: tuple[LinearMap, ...]
    residual: bool = False
    """Whether the input is added to the output."""
    projection: LinearMap | None = None
    """What is added to the output: a linear map of the input."""

    @property
    def value(self) -> Tensor:
        """Π norms; plus 1 with a residual; plus its norm with a projection (a scalar)."""
        product = torch.stack([linear.norm for linear in self.maps]).prod()
        if self.projection is not None:
            return self.projection.norm + product
        return 1 + product if self.residual else product


def factors_of(network: nn.Module) -> tuple[Factor, ...]:
    """Factors whose product bounds ‖f(x) − f(x')‖₂ / ‖x − x'‖₂ of `network` in eval mode, in its dtype.

    Normalisation 1 / min std, a factor per block, global average pooling over h × w pixels 1 / √(h·w), classifier
    ‖W‖₂; ReLU6 has slope at most 1. Batch-norm scales the kernel before it by γ / √(σ² + ε) with the running
    variance σ², a constant to autograd; the network's mode does not matter. Raises ValueError for a network whose
    layers are not known (`layers_of`).
    """
    layers = layers_of(network)
    if layers is None:
        raise ValueError("no norms: the network is not made of convolution, batch-norm and ReLU6 alone")
    if rounds_activations(layers):
        raise ValueError("no norms: activations are rounded, and a function with jumps has no Lipschitz constant")
    assert isinstance(network, Network)
    remaining = iter(layers)
    std, classifier = network.normalization.std, kernel_of(network.classifier)
    factors = [Factor("normalisation", (LinearMap("scale", 1 / std.min()),))]
    size = network.spec.input_shape[1:]
    for index, block in enumerate(network.spec.blocks):
        maps, projection = [], None
        for layer in islice(remaining, len(block.convolutions)):
            linear, outputs = _folded(layer, size)
            if layer.projects:
                projection = linear
            else:
                maps.append(linear)
                size = outputs
        factors.append(Factor(f"block {index}: {block.kind}", tuple(maps), block.has_residual, projection))
    pooling = std.new_tensor(prod(size) ** -0.5)
    factors.append(Factor("pooling", (LinearMap("mean", pooling),)))
    factors.append(Factor("classifier", (LinearMap("linear", _largest_singular_value(classifier)),)))
    return tuple(factors)


def _folded(layer: Layer, size: tuple[int, int]) -> tuple[LinearMap, tuple[int, int]]:
    """A convolution and its batch-norm as one map of images of `size`, and the size of its outputs."""
    conv, (weight, _) = layer.conv, folded_weight(layer)
    stride, padding = (conv.stride[0], conv.stride[1]), (int(conv.padding[0]), int(conv.padding[1]))
    outputs = [_outputs(*numbers) for numbers in zip(weight.shape[2:], stride, padding, size, strict=True)]
    kind = "pointwise" if layer.is_pointwise else "depthwise" if layer.is_depthwise else "convolution"
    kind = "projection" if layer.projects else kind
    return LinearMap(kind, convolution_norm(weight, stride, padding, size, conv.groups)), (outputs[0], outputs[1])


def spectral_penalty(network: nn.Module) -> Tensor:
    """Natural logarithm of the bound of `factors_of`, a scalar: its gradient pushes the certified constant down.

    Residual blocks enter as ln(1 + Π norms), those with a projection by its norm in place of 1, so that a branch gains
    ever less from fading away. Moving averages of the variance are constants here: the part of the gradient that only
    shrinks a kernel before batch-norm is undone by the statistics of the next batches and acts as weight decay. Raises
    ValueError as `factors_of`.
    """
    values = torch.stack([factor.value for factor in factors_of(network)])
    return values.clamp_min(torch.finfo(values.dtype).tiny).log().sum()
