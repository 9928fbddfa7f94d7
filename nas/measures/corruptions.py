"""Accuracy under common corruptions: noise, blur, light and compression in five severities, as no adversary chose them.

After CIFAR-10-C (Hendrycks & Dietterich 2019), whose constants these are. Deviations: eleven of its corruptions,
without those that paint something into the image (snow, frost, fog, spatter) or warp it; a motion blur of its own, as
the authors' is ImageMagick's, without the fourth severity's longer reach; lengths are those for images of 32 pixels and
scale with the shorter side; corrupted images are not rounded to 8 bits, but for JPEG.

Letters: N images, C channels, H × W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, pi
from typing import TYPE_CHECKING, NamedTuple

from nas.measures.measure import Attacked

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SEVERITIES = 5


class Corruption(NamedTuple):
    """What is done to images (N, C, H, W) in [0, 1], and how much of it in each severity."""

    apply: Callable[[Tensor, float, torch.Generator], Tensor]
    """Of (images, strength, source of chance): corrupted images, which may leave [0, 1]."""
    strengths: tuple[float, float, float, float, float]
    """Mildest first."""


def corrupted(x: Tensor, name: str, severity: int, generator: torch.Generator) -> Tensor:
    """Copy of the images `x` (N, C, H, W) in [0, 1] under the corruption `name`, a key of CORRUPTIONS.

    `severity` 1 to 5. Raises ValueError for another one, KeyError for an unknown name.
    """
    if not 1 <= severity <= SEVERITIES:
        raise ValueError(f"a severity is 1 to {SEVERITIES} [got {severity}]")
    corruption = CORRUPTIONS[name]
    return corruption.apply(x, corruption.strengths[severity - 1], generator).clamp(0, 1)


def accuracy(attacked: Attacked) -> Tensor:
    """Share of all corruptions in all severities under which each image is classified correctly, (N,)."""
    import torch

    correct = torch.zeros(len(attacked.labels), dtype=torch.float64, device=attacked.images.device)
    for name in CORRUPTIONS:
        for severity in range(1, SEVERITIES + 1):
            x = corrupted(attacked.images, name, severity, attacked.generator)
            correct += attacked.view.logits(x).argmax(1) == attacked.labels
    return correct / (len(CORRUPTIONS) * SEVERITIES)


def _gaussian_noise(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    return x + strength * _normal(x, generator)


def _speckle_noise(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    return x + strength * x * _normal(x, generator)


def _shot_noise(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    import torch

    return torch.poisson(x * strength, generator) / strength


def _impulse_noise(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Salt and pepper: each value becomes 0 or 1 with half of the probability `strength` each."""
    import torch

    chance = torch.rand(x.shape, generator=generator, device=x.device)
    return torch.where(chance < strength, (chance < strength / 2).to(x.dtype), x)


def _gaussian_blur(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    from torchvision.transforms.functional import gaussian_blur

    sigma, shorter = strength * _scale(x), min(x.shape[2:])
    reach = min(ceil(4 * sigma), shorter - 1)  # mirrored pixels end at the image's other border
    return gaussian_blur(x, [2 * reach + 1] * 2, [sigma] * 2) if reach else x


def _motion_blur(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Mean along a line to one side, weighted by half a normal density; a direction within ±45° for each image."""
    import torch

    sigma = strength * _scale(x)
    angle = (torch.rand(len(x), generator=generator, device=x.device) - 0.5) * pi / 2
    shifts = torch.arange(ceil(3 * sigma) + 1, device=x.device)
    weights = torch.exp(-0.5 * (shifts / sigma) ** 2)
    moved = (_moved(x, float(shift) * angle.cos(), float(shift) * angle.sin()) for shift in shifts)
    return sum((weight * one for weight, one in zip(weights / weights.sum(), moved, strict=True)), torch.zeros_like(x))


def _zoom_blur(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Mean of the image and its magnifications by 1, 1.01, …, 1 + strength − 0.01, as in the authors' code."""
    import torch

    steps = round(100 * strength)
    zoomed = (_sampled(x, 1 / (1 + step / 100), 0.0, 0.0) for step in range(steps))
    return (x + sum(zoomed, torch.zeros_like(x))) / (steps + 1)


def _brightness(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """The largest channel of every pixel (V of HSV) raised by `strength`, hue and saturation kept."""
    import torch

    value = x.amax(1, keepdim=True)
    raised = (value + strength).clamp(max=1)
    return torch.where(value > 0, x * (raised / value.clamp_min(1e-12)), raised)


def _contrast(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    mean = x.mean((2, 3), keepdim=True)
    return (x - mean) * strength + mean


def _pixelate(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Made smaller by `strength` and as large as before, both by means over boxes, as the authors' PIL does it."""
    height, width = x.shape[2:]
    down, right = (_boxes(side, max(int(side * strength), 1), x) for side in (height, width))
    up, left = (_boxes(len(means), side, x) for means, side in ((down, height), (right, width)))
    return up @ (down @ x @ right.T) @ left.T


def _boxes(side: int, others: int, like: Tensor) -> Tensor:
    """Means (others, side) of a line of `side` pixels over so many equal parts: of pixels whose centres are in each.

    Where there are more parts than pixels, the pixel around the centre of each.
    """
    import torch

    parts = (torch.arange(others, device=like.device) + 0.5) * side / others  # their centres
    half = max(side / others, 1) / 2
    centres = torch.arange(side, device=like.device) + 0.5
    inside = (centres > parts[:, None] - half) & (centres <= parts[:, None] + half)
    return (inside / inside.sum(1, keepdim=True)).to(like.dtype)


def _jpeg(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Written and read as JPEG of quality `strength`; channel by channel unless there are three."""
    from io import BytesIO

    import numpy as np
    import torch
    from PIL import Image

    def through(image: np.ndarray) -> np.ndarray:
        file = BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=int(strength))
        return np.asarray(Image.open(file))

    stored = (x * 255).round().to("cpu", torch.uint8)
    parts = stored.permute(0, 2, 3, 1) if x.shape[1] == 3 else stored.flatten(0, 1)
    read = torch.from_numpy(np.stack([through(part) for part in parts.contiguous().numpy()]))
    read = read.permute(0, 3, 1, 2) if x.shape[1] == 3 else read.view(x.shape)
    return (read / 255).to(x)


def _normal(x: Tensor, generator: torch.Generator) -> Tensor:
    import torch

    return torch.randn(x.shape, generator=generator, device=x.device)


def _scale(x: Tensor) -> float:
    return min(x.shape[2:]) / 32


def _moved(x: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Images moved by so many pixels, (N,) each; border pixels repeated."""
    height, width = x.shape[2:]
    return _sampled(x, 1.0, -2 * right / width, -2 * down / height)


def _sampled(x: Tensor, scale: float, right: Tensor | float, down: Tensor | float) -> Tensor:
    """Bilinear samples of `x` at its own grid, which is −1 to 1 wide, × scale + (right, down)."""
    import torch
    from torch.nn import functional as F

    place = torch.zeros(len(x), 2, 3, device=x.device, dtype=x.dtype)
    place[:, 0, 0] = place[:, 1, 1] = scale
    place[:, 0, 2], place[:, 1, 2] = right, down
    grid = F.affine_grid(place, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": Corruption(_gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot_noise": Corruption(_shot_noise, (500, 250, 100, 75, 50)),
    "impulse_noise": Corruption(_impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07)),
    "speckle_noise": Corruption(_speckle_noise, (0.06, 0.10, 0.12, 0.16, 0.20)),
    "gaussian_blur": Corruption(_gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1.0)),
    "motion_blur": Corruption(_motion_blur, (1.0, 1.5, 2.0, 2.0, 2.5)),
    "zoom_blur": Corruption(_zoom_blur, (0.06, 0.11, 0.16, 0.21, 0.26)),
    "brightness": Corruption(_brightness, (0.05, 0.10, 0.15, 0.20, 0.30)),
    "contrast": Corruption(_contrast, (0.75, 0.50, 0.40, 0.30, 0.15)),
    "pixelate": Corruption(_pixelate, (0.95, 0.90, 0.85, 0.75, 0.65)),
    "jpeg": Corruption(_jpeg, (80, 65, 58, 50, 40)),
}
"""By name; the strength of noise is its standard deviation (of shot noise photons at white, of impulse noise a share),
of blur a length, of brightness and contrast an offset and a factor, of pixelate the side's share, of jpeg a quality."""
