"""What the adversary may do: perturbations of bounded norm, in pixel units, on pixels in [0, 1].

Letters: N images, C channels, H × W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationInfo, field_validator

from nas.base.errors import UsageError
from nas.base.settings import Ratio, Settings, ratio_text

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class ThreatModel(Settings):
    """A ball around each image, intersected with [0, 1]."""

    norm: Literal["linf", "l2"] = "linf"
    """Norm of the perturbation over all pixels of an image."""
    epsilon: Ratio = Field(gt=0)
    """Radius in pixel units (1 = black to white); may be written 8/255. At most the diameter of [0, 1] in this norm."""

    @field_validator("epsilon")
    @classmethod
    def _inside_the_box(cls, value: float, info: ValidationInfo) -> float:
        if info.data.get("norm") == "linf" and value > 1:
            raise ValueError(out_of_box(value))
        return value

    def check_fits(self, input_shape: Sequence[int]) -> None:
        """Raises UsageError where epsilon exceeds the diameter of all images of `input_shape` (C, H, W)."""
        diameter = 1.0 if self.norm == "linf" else math.prod(input_shape) ** 0.5
        if self.epsilon > diameter:
            raise UsageError(f"threat.epsilon: {out_of_box(self.epsilon, diameter)} [{self.norm}]")

    def __str__(self) -> str:
        return f"{self.norm} ε = {ratio_text(self.epsilon)}"

    def random_start(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Points drawn uniformly from each ball, then clipped to [0, 1]. Shape (N, C, H, W)."""
        import torch

        if self.norm == "linf":
            uniform = torch.empty_like(x).uniform_(-1, 1, generator=generator)
            return (x + self.epsilon * uniform).clamp(0, 1)
        direction = self.direction(torch.empty_like(x).normal_(generator=generator))
        radius = torch.rand(len(x), 1, 1, 1, device=x.device, generator=generator) ** (1 / x[0].numel())
        return (x + self.epsilon * radius * direction).clamp(0, 1)

    def direction(self, gradient: Tensor) -> Tensor:
        """Step of norm 1 that ascends fastest to first order: sign for linf, unit vector for l2.

        A gradient of zero gives a step of zero, and so does every pixel whose gradient is not finite.
        """
        gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
        if self.norm == "linf":
            return gradient.sign()
        # Scaled first: the squares of very small or very large gradients leave the range of float32.
        scaled = gradient / gradient.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(_TINY)
        return scaled / _norms(scaled, 2).clamp_min(_TINY)

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Nearest points to `x_adv` in the ball around `x`, then clipped to [0, 1] (which stays inside)."""
        if self.norm == "linf":
            return x_adv.maximum(x - self.epsilon).minimum(x + self.epsilon).clamp(0, 1)
        delta = x_adv - x
        return (x + delta * (self.epsilon / _norms(delta, 2).clamp_min(_TINY)).clamp(max=1)).clamp(0, 1)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Norm of each perturbation, shape (N,)."""
        return _norms(x_adv - x, math.inf if self.norm == "linf" else 2).flatten()


def out_of_box(value: float, diameter: float = 1.0) -> str:
    """What is wrong with a radius or step of `value`, longer than any two images are apart; in words."""
    hint = f"; did you mean {value:g}/255?" if value / 255 <= diameter else ""
    return f"{value:g} is more than the largest distance of two images, {diameter:.4g} (pixels lie in 0 to 1{hint})"


_TINY = 2.0**-126
"""The smallest normal number of float32."""


def _norms(x: Tensor, order: float) -> Tensor:
    import torch

    norms: Tensor = torch.linalg.vector_norm(x, ord=order, dim=(1, 2, 3), keepdim=True)
    return norms
