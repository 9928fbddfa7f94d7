"""Convolution, batch-norm and ReLU6 for a penalty on the gradient by the inputs, which is differentiated twice.

torch differentiates twice through any module, at several times the price: it takes a convolution in groups group by
group, and from every ReLU6, whose second derivative is zero, it sends zeros back through all layers before it. The
operations here give the same numbers. Batch-norm is another one: see `_batch_norm`. What else a network is made of is
differentiated by torch.

Two passes backwards are told apart by autograd's mode: that by the inputs is recorded to be differentiated
(`create_graph`), that by the parameters, after it, is not.

Letters: N images, C channels, H × W pixels, O output channels.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Pair = tuple[int, int]


def cheap_twice() -> AbstractContextManager[object]:
    """Inside, what modules compute by conv2d, batch_norm and hardtanh is computed by the operations of this file.

    For the forward pass alone, of a gradient by the inputs: one by the parameters cannot be differentiated again.
    Arguments that they do not know (a bias, a dilation) are left to torch.
    """
    return _Exchanged()


class _Exchanged(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        exchanged = EXCHANGED.get(func)
        found = None if exchanged is None else exchanged(*args, **kwargs)
        return func(*args, **kwargs) if found is None else found


@dataclass(frozen=True)
class _Geometry:
    stride: Pair
    padding: Pair
    groups: int


def _conv2d(
    input: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor | None:  # fmt: skip
    if bias is not None or isinstance(padding, str) or _pair(dilation) != (1, 1) or input.dim() != 4:
        return None
    if weight.shape[2:] == (1, 1) and _pair(padding) == (0, 0):
        down, across = _pair(stride)
        input, stride = input[:, :, ::down, ::across], 1  # oneDNN's own strided kernel can write beyond its memory
    found: Tensor = _Convolution.apply(input, weight, _Geometry(_pair(stride), _pair(padding), groups))
    return found


def _batch_norm(
    input: Tensor, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor | None:  # fmt: skip
    """γ (x − μ) / √(σ² + ε) of a module in eval mode, but with μ and σ² of the batch and not the running ones.

    To the gradient by the inputs they are constants, as in eval mode, so that no image's gradient holds another image.
    To the gradient by the parameters they are not: a kernel that shrinks makes σ smaller, too, and lowers nothing. With
    constants it seems to, and the training shrinks kernels instead of the Jacobian (nas/networks/jacobian.py).
    """
    if training or running_mean is None or weight is None or bias is None or input.dim() != 4:
        return None
    variance, mean = torch.var_mean(input, (0, 2, 3), correction=0)
    scale = weight * torch.rsqrt(_Aside.apply(variance) + eps)
    shift = torch.addcmul(bias, _Aside.apply(mean), scale, value=-1)
    return torch.addcmul(shift[:, None, None], input, scale[:, None, None])


def _hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    found: Tensor = _Clamp.apply(input, min_val, max_val)
    return found


EXCHANGED: Mapping[Callable[..., Any], Callable[..., Tensor | None]] = {
    F.conv2d: _conv2d,
    F.batch_norm: _batch_norm,
    F.hardtanh: _hardtanh,
}
"""By torch's function: what is computed in its place, with the same arguments; None where it is not."""


def _pair(size: Any) -> Pair:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _backward(gradient: Tensor, x: Tensor, weight: Tensor, geometry: _Geometry, of: int) -> Tensor:
    """Gradient of a convolution by `x` (`of` = 0; its values do not matter) or by `weight` (1, values of no matter)."""
    stride, padding, groups = geometry.stride, geometry.padding, geometry.groups
    wanted = [of == 0, of == 1, False]
    found: Sequence[Tensor] = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, stride, padding, (1, 1), False, (0, 0), groups, wanted
    )
    return found[of]


class _Aside(torch.autograd.Function):
    """A constant to the gradient by the inputs, itself to the gradient by the parameters."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor | None:
        return None if torch.is_grad_enabled() else gradient


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, geometry: _Geometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return F.conv2d(x, weight, None, geometry.stride, geometry.padding, 1, geometry.groups)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        by_x = by_weight = None
        if ctx.needs_input_grad[0]:  # of x only the shape matters: detached, nothing is sent back to it
            by_x = _InputGradient.apply(gradient, weight, x.detach(), ctx.geometry)
        if ctx.needs_input_grad[1] and not torch.is_grad_enabled():  # from batch-norm's statistics, or bent activations
            by_weight = _backward(gradient, x, weight, ctx.geometry, 1)
        return by_x, by_weight, None


class _InputGradient(torch.autograd.Function):
    """Gradient (N, C, H, W) of a convolution by its input: linear in the weight and in the gradient that comes in."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, weight: Tensor, x: Tensor, geometry: _Geometry) -> Tensor:
        ctx.save_for_backward(gradient, weight)
        ctx.geometry = geometry
        return _backward(gradient, x, weight, geometry, 0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, second: Tensor) -> tuple[Tensor | None, ...]:
        """⟨second, Wᵀ g⟩ = ⟨W second, g⟩: by g it is W second, by W what `second` as an input would give."""
        gradient, weight = ctx.saved_tensors
        geometry = ctx.geometry
        by_gradient = by_weight = None
        if ctx.needs_input_grad[0]:
            by_gradient = F.conv2d(second, weight, None, geometry.stride, geometry.padding, 1, geometry.groups)
        if ctx.needs_input_grad[1]:
            by_weight = _backward(gradient, second, weight, geometry, 1)
        return by_gradient, by_weight, None, None


class _Clamp(torch.autograd.Function):
    """Clamp to an interval. Where it lets the gradient through is a constant to the second derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward((x > low) & (x < high))
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (passes,) = ctx.saved_tensors
        return gradient * passes, None, None
