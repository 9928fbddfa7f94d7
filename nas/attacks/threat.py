"""What the adversary may do: `Threat`, which an attack asks for starts, steps and projections, and its settings.

Epsilon is measured where the adversary acts. `ThreatModel`, the threat of a config, acts on the inputs of the network
or on the waveforms that they were computed from; elsewhere (on a latent code, say) a ball of nas/attacks/balls.py with
bounds of its own is the threat, together with nas/networks/through.py. Letters: N points of shape (N, …), for images
(N, C, H, W).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from math import log10
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import Field, ValidationInfo, field_validator

from nas.attacks.balls import BALLS, HIGH, LOW, NormName
from nas.base.errors import UsageError
from nas.base.settings import Ratio, Settings, ratio_text

if TYPE_CHECKING:
    import torch
    from torch import Tensor


BOUNDS = {"inputs": (LOW, HIGH), "waveforms": (-1.0, 1.0), "manifold": (-16.0, 16.0)}
"""Least and largest coordinate by what the adversary changes; as the domains of nas/data/domain.py."""


class Threat(Protocol):
    """A ball around each point, intersected with the domain: all points with coordinates in [low, high]."""

    @property
    def norm(self) -> NormName:
        """Name of the norm, a key of BALLS; attacks that differ by norm look themselves up by it."""

    @property
    def epsilon(self) -> float:
        """Radius, in the unit of the coordinates."""

    @property
    def low(self) -> float:
        """Smallest coordinate of the domain."""

    @property
    def high(self) -> float:
        """Largest coordinate of the domain."""

    def start(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Points drawn uniformly from each ball, then clipped to the domain."""

    def border(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Random points on the border of each ball, then clipped to the domain."""

    def direction(self, gradient: Tensor) -> Tensor:
        """Step of norm 1 that ascends fastest to first order.

        A gradient of zero gives a step of zero, and so does every coordinate whose gradient is not finite.
        """

    def project(self, z: Tensor, x: Tensor) -> Tensor:
        """Nearest points to `z` in the ball around `x`, then clipped to the domain (which stays inside)."""

    def distance(self, z: Tensor, x: Tensor) -> Tensor:
        """Norm of each perturbation, shape (N,)."""

    def excess(self, z: Tensor, x: Tensor) -> Tensor:
        """Distance minus epsilon, shape (N,): positive beyond the ball, inf where it is NaN."""

    def outside(self, z: Tensor) -> Tensor:
        """Distance of every coordinate from the domain, shape (N, …): negative inside, inf where it is NaN."""

    def diameter(self, shape: Sequence[int]) -> float:
        """Largest distance of two points of the domain."""


class ThreatModel(Settings):
    """A ball around each image, intersected with [0, 1], around each waveform, with [−1, 1], or around each code."""

    acts_on: Literal["inputs", "waveforms", "manifold"] = Field("inputs", exclude_if=lambda place: place == "inputs")
    """What the adversary changes: the network's inputs (pixels, features) or, in evaluation.threats alone,
    the waveforms of recordings, and the codes of points of a `manifold`."""
    norm: NormName = "linf"
    """Norm of the perturbation over all pixels of an image, samples of a waveform or coordinates of a code."""
    epsilon: Ratio = Field(gt=0)
    """Radius in pixel units (1 = black to white), may be written 8/255; of waveforms in amplitudes, of which full scale
    is 1; of codes in standard deviations. At most the diameter of the domain in this norm."""

    @field_validator("epsilon")
    @classmethod
    def _inside_the_box(cls, value: float, info: ValidationInfo) -> float:
        low, high = BOUNDS[info.data.get("acts_on", "inputs")]
        if info.data.get("norm") == "linf" and value > high - low:
            raise ValueError(out_of_box(value, high - low, info.data.get("acts_on", "inputs")))
        return value

    @property
    def low(self) -> float:
        """Smallest pixel, amplitude or coordinate."""
        return BOUNDS[self.acts_on][0]

    @property
    def high(self) -> float:
        """Largest pixel, amplitude or coordinate."""
        return BOUNDS[self.acts_on][1]

    def check_fits(self, input_shape: Sequence[int], field: str = "threat") -> None:
        """Raises UsageError where epsilon exceeds the diameter of all images (or waveforms) of `input_shape` (C, H, W).

        `field` of the config is named in the message.
        """
        diameter = self.diameter(input_shape)
        if self.epsilon > diameter:
            words = out_of_box(self.epsilon, diameter, self.acts_on)
            raise UsageError(f"{field}.epsilon: {words} [{self.norm}]")

    def __str__(self) -> str:
        return threat_text(self.model_dump())

    @property
    def ball(self) -> Threat:
        """The ball of these settings, which does all that follows."""
        return _ball(self.norm, self.epsilon, self.low, self.high)

    def start(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Points drawn uniformly from each ball, then clipped to the domain. Shape (N, C, H, W)."""
        return self.ball.start(x, generator)

    def border(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Random points on the border of each ball, then clipped to the domain. Shape (N, C, H, W)."""
        return self.ball.border(x, generator)

    def direction(self, gradient: Tensor) -> Tensor:
        """Step of norm 1 that ascends fastest to first order: sign for linf, unit vector for l2."""
        return self.ball.direction(gradient)

    def project(self, z: Tensor, x: Tensor) -> Tensor:
        """Nearest points to `z` in the ball around `x`, then clipped to the domain (which stays inside)."""
        return self.ball.project(z, x)

    def distance(self, z: Tensor, x: Tensor) -> Tensor:
        """Norm of each perturbation, shape (N,)."""
        return self.ball.distance(z, x)

    def excess(self, z: Tensor, x: Tensor) -> Tensor:
        """Distance minus epsilon, shape (N,); inf where it is NaN."""
        return self.ball.excess(z, x)

    def outside(self, z: Tensor) -> Tensor:
        """Distance of every pixel from the domain, shape (N, C, H, W); negative inside, inf where it is NaN."""
        return self.ball.outside(z)

    def diameter(self, shape: Sequence[int]) -> float:
        """Largest distance of two images of `shape`."""
        return self.ball.diameter(shape)


@cache
def _ball(norm: NormName, epsilon: float, low: float, high: float) -> Threat:
    """One ball for each threat of the process: hot loops ask for it in every step."""
    return BALLS[norm](epsilon, low, high)


def threat_text(threat: Mapping[str, Any]) -> str:
    """Norm and radius of a threat as it is dumped.

    Of waveforms also the largest amplitude in decibels of full scale (20 log10 ε) where the norm bounds it.
    """
    text, epsilon = f"{threat['norm']} ε = {ratio_text(threat['epsilon'])}", threat["epsilon"]
    if threat.get("acts_on") == "manifold":
        return f"{text} standard deviations of the codes, on the manifold"
    if threat.get("acts_on") != "waveforms":
        return text
    loudness = f", {20 * log10(epsilon):.1f} dB of full scale".replace("-", "−") if threat["norm"] == "linf" else ""
    return f"{text} of the waveform{loudness}"


def out_of_box(value: float, diameter: float = HIGH - LOW, acts_on: str = "inputs") -> str:
    """What is wrong with a radius or step of `value`, longer than any two images are apart; in words."""
    if acts_on != "inputs":
        high = BOUNDS[acts_on][1]
        what = {"waveforms": "waveforms", "manifold": "codes"}[acts_on]
        bounds = (
            f"amplitudes lie in −{high:g} to {high:g}" if what == "waveforms" else f"coordinates: −{high:g} to {high:g}"
        )
        return f"{value:g} is more than the largest distance of two {what}, {diameter:.4g} ({bounds})"
    hint = f"; did you mean {value:g}/255?" if value / 255 <= diameter else ""
    return f"{value:g} is more than the largest distance of two images, {diameter:.4g} (pixels lie in 0 to 1{hint})"
