"""Balls that an adversary may move in, one class for each norm, and the registry `BALLS`.

A ball is intersected with the domain: all points whose coordinates are in [low, high]. Pixels are in [0, 1]; a latent
code has no bounds (−inf, inf). Imports torch only where it computes, as settings are checked without it.

Letters: N points of shape (N, …), for images (N, C, H, W). The norm is over all coordinates of a point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    import torch
    from torch import Tensor

NormName = Literal["linf", "l2"]
LOW, HIGH = 0.0, 1.0
"""Bounds of a pixel: black and white."""


@dataclass(frozen=True)
class _Ball:
    """All points of the domain at most epsilon from a given one."""

    epsilon: float
    """Radius, in the unit of the coordinates."""
    low: float = LOW
    """Smallest coordinate of the domain."""
    high: float = HIGH
    """Largest coordinate of the domain."""

    def outside(self, z: Tensor) -> Tensor:
        """Distance of every coordinate from the domain, shape (N, …): negative inside, inf where it is NaN."""
        return (-(z - self.low)).maximum(z - self.high).nan_to_num(math.inf)

    def distance(self, z: Tensor, x: Tensor) -> Tensor:
        """Norm of each perturbation, shape (N,)."""
        raise NotImplementedError

    def excess(self, z: Tensor, x: Tensor) -> Tensor:
        """Distance minus epsilon, shape (N,): positive beyond the ball, inf where it is NaN."""
        return (self.distance(z, x) - self.epsilon).nan_to_num(math.inf)


class LInf(_Ball):
    """The largest change of a coordinate is at most epsilon."""

    norm: ClassVar[NormName] = "linf"

    def start(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Uniform in the cube, then clipped to the domain."""
        import torch

        uniform = torch.empty_like(x).uniform_(-1, 1, generator=generator)
        return (x + self.epsilon * uniform).clamp(self.low, self.high)

    def border(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """A uniform draw scaled until its largest coordinate reaches epsilon, as in the code of Auto-PGD."""
        import torch

        noise = 2 * torch.rand(x.shape, dtype=x.dtype, device=x.device, generator=generator) - 1
        noise = noise / (noise.abs().amax(dim=_coordinates(x), keepdim=True) + 1e-12)
        return (x + self.epsilon * noise).clamp(self.low, self.high)

    def direction(self, gradient: Tensor) -> Tensor:
        """The sign."""
        return gradient.nan_to_num(0.0, 0.0, 0.0).sign()

    def project(self, z: Tensor, x: Tensor) -> Tensor:
        """Clipped to the cube, then to the domain."""
        return z.maximum(x - self.epsilon).minimum(x + self.epsilon).clamp(self.low, self.high)

    def distance(self, z: Tensor, x: Tensor) -> Tensor:
        """Largest change of a coordinate, shape (N,)."""
        return _norms(z - x, math.inf).flatten()

    def diameter(self, shape: Sequence[int]) -> float:
        """From one bound to the other, whatever the shape."""
        return self.high - self.low


class L2(_Ball):
    """The Euclidean length of the perturbation is at most epsilon."""

    norm: ClassVar[NormName] = "l2"

    def start(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Uniform in volume, then clipped to the domain."""
        import torch

        direction = self.direction(torch.empty_like(x).normal_(generator=generator))
        one_each = (len(x), *(1,) * (x.ndim - 1))
        radius = torch.rand(one_each, device=x.device, generator=generator) ** (1 / x[0].numel())
        return (x + self.epsilon * radius * direction).clamp(self.low, self.high)

    def border(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Uniform on the sphere, then clipped to the domain."""
        import torch

        noise = self.direction(torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator))
        return (x + self.epsilon * noise).clamp(self.low, self.high)

    def direction(self, gradient: Tensor) -> Tensor:
        """The unit vector."""
        gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
        # Scaled first: the squares of very small or very large gradients leave the range of float32.
        scaled = gradient / gradient.abs().amax(dim=_coordinates(gradient), keepdim=True).clamp_min(_TINY)
        return scaled / _norms(scaled, 2).clamp_min(_TINY)

    def project(self, z: Tensor, x: Tensor) -> Tensor:
        """The perturbation shortened to epsilon, then clipped to the domain."""
        delta = z - x
        shortened = delta * (self.epsilon / _norms(delta, 2).clamp_min(_TINY)).clamp(max=1)
        return (x + shortened).clamp(self.low, self.high)

    def distance(self, z: Tensor, x: Tensor) -> Tensor:
        """Euclidean length of each perturbation, shape (N,)."""
        return _norms(z - x, 2).flatten()

    def diameter(self, shape: Sequence[int]) -> float:
        """From one corner of the domain to the opposite one."""
        diagonal: float = (self.high - self.low) * math.prod(shape) ** 0.5
        return diagonal


BALLS: dict[NormName, type[LInf] | type[L2]] = {"linf": LInf, "l2": L2}

_TINY = 2.0**-126
"""The smallest normal number of float32."""


def _coordinates(x: Tensor) -> tuple[int, ...]:
    """Dimensions of one point."""
    return tuple(range(1, x.ndim))


def _norms(x: Tensor, order: float) -> Tensor:
    import torch

    norms: Tensor = torch.linalg.vector_norm(x, ord=order, dim=_coordinates(x), keepdim=True)
    return norms
