"""Grids of few bits: the real values that weights and activations of a quantized network may take.

All grids are symmetric or begin at 0, and the scale of a weight's grid is proportional to its channel's weights. So
rounding commutes with a factor of either sign for each channel, Q(f · w) = f · Q(w): the kernel that is rounded in
training, before batch-norm, is the one that is deployed, with batch-norm folded into it.
"""

from math import e, log, sqrt
from typing import Any

import torch
from torch import Tensor

WeightGrid = int | str
"""Bits of a weight, 3 to 8; 2: four levels; 1 or "binary"; "ternary"."""
FLOAT_BITS = 32
"""Bits of what is not rounded."""
RELU6_RANGE = 6.0
TWO_BIT_STEP = 0.9957
"""Of the four levels ±1/2, ±3/2 steps, over the root mean square: least mean squared error of normal weights (Max 1960,
table II, N = 4)."""


def levels_of(weight: Tensor, grid: WeightGrid, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Integers (shape of `weight`), and the scale (O, 1, …) of each output channel: the rounded weight's factors.

    3 to 8 bits: round(w / s), s = max|w| / (2^(b−1) − 1), as TFLite's int8 weights. 2 bits: the odd integers −3 … 3, as
    a symmetric grid with 0 has only three levels; s = TWO_BIT_STEP / 2 · √mean w². Binary: the sign, s = mean|w|
    (Rastegari 2016, arXiv 1603.05279, eq. 6). Ternary: the sign where |w| > Δ = .7 · mean|w|, else 0; s = mean of the
    |w| above Δ (Li 2016, arXiv 1605.04711, eq. 5 and 6). With `noise` in [0, 1), shaped as `weight`, a ternary weight
    is ±1 with probability min(1, |w| / 2Δ): what is likelier than not is what is chosen without noise.
    """
    axes, size = tuple(range(1, weight.dim())), weight.abs()
    if grid == "ternary":
        threshold = 0.7 * size.mean(axes, keepdim=True)
        above = size > threshold
        scale = (size * above).sum(axes, keepdim=True) / above.sum(axes, keepdim=True).clamp_min(1)
        chosen = above if noise is None else size > 2 * threshold * noise
        return weight.sign() * chosen, scale
    if grid in ("binary", 1):
        return torch.where(weight < 0, -1.0, 1.0).to(weight.dtype), size.mean(axes, keepdim=True)
    if grid == 2:
        scale = weight.square().mean(axes, keepdim=True).sqrt() * (TWO_BIT_STEP / 2)
        return ((weight / _divisor(scale) / 2).floor() * 2 + 1).clamp(-3, 3), scale
    assert isinstance(grid, int), f"no grid {grid!r}"
    scale = size.amax(axes, keepdim=True) / (2 ** (grid - 1) - 1)
    return (weight / _divisor(scale)).round(), scale


def _divisor(scale: Tensor) -> Tensor:
    """`scale`, or 1 for a channel of zeros."""
    return torch.where(scale > 0, scale, 1.0)


def rounded_weight(weight: Tensor, grid: WeightGrid, noise: Tensor | None = None) -> Tensor:
    """`weight` on its grid (see `levels_of`). The gradient passes straight through, beyond the largest level too."""
    levels, scale = levels_of(weight.detach(), grid, noise)
    return _Straight.apply(weight, levels.mul_(scale))  # type: ignore[no-any-return]


class _Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, rounded: Tensor) -> Tensor:
        return rounded

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def rounded_values(x: Tensor, step: Tensor | float, low: int, high: int) -> Tensor:
    """`x` on the multiples low · step … high · step; the gradient is 1 where x lies strictly between them, else 0.

    Of the clamp, not of the rounded value: with 2 bits, all x in (0, 1) become 0 and keep their gradient.
    """
    return _Rounded.apply(x, step, low, high)  # type: ignore[no-any-return]


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor | float, low: int, high: int) -> Tensor:
        ratio = x / step
        ctx.save_for_backward((ratio > low) & (ratio < high))
        return ratio.clamp_(low, high).round_().mul_(step)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (inside,) = ctx.saved_tensors
        return gradient * inside, None, None, None


def range_factor(levels: int) -> float:
    """Where the grid 0 … `levels` (or its mirror image, too) ends, over the root mean square of what it holds.

    α / √2 for the α with least mean squared error on a Laplace distribution of scale 1 (Banner 2019, arXiv 1810.05723,
    eq. 4 to 6): rounding costs α² / (12 · levels²), clipping 2 exp(−α), so α exp(α) = 12 · levels². Normal values
    would have it nearer; what is clipped has no gradient, so the wider one is taken.
    """
    wanted = 12.0 * levels**2
    alpha = log(wanted) if wanted > e else 1.0
    for _ in range(20):  # Newton's for ln α + α = ln wanted
        alpha -= (log(alpha) + alpha - log(wanted)) / (1 / alpha + 1)
    return alpha / sqrt(2)
