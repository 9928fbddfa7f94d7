"""What the stored images of a data set mean to a network: bounds, conversion, augmentation, grey."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.data.settings import Augmentation


@dataclass(frozen=True)
class Domain:
    """Stored values 0 … 255 stand for inputs from `low` to `high`, evenly spaced."""

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"a domain needs low < high, got {self.low} and {self.high}")

    @property
    def grey(self) -> float:
        """The value in the middle: of all uniform images, the one whose largest distance to any other is smallest."""
        return (self.low + self.high) / 2

    def to_input(self, images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """uint8 `images` of any shape as inputs of a network, in [low, high]."""
        scaled = images.to(dtype) / (255 / (self.high - self.low))
        return scaled + self.low if self.low else scaled

    def clamp(self, x: Tensor) -> Tensor:
        """Inputs `x` of any shape, each value moved to the nearest one in [low, high]."""
        return x.clamp(self.low, self.high)

    def augment(self, images: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
        """Augmented copy of uint8 `images` (N, C, H, W), each image cropped and flipped independently.

        All on the device of `images`, which `generator` is on.
        """
        count, _, height, width = images.shape
        device, pad = images.device, settings.crop_padding
        if pad:
            top = torch.randint(0, 2 * pad + 1, (2, count), device=device, generator=generator)
            rows = top[0, :, None] + torch.arange(height, device=device)  # (N, H)
            columns = top[1, :, None] + torch.arange(width, device=device)  # (N, W)
            each = torch.arange(count, device=device)[:, None, None]
            # Advanced indices around a slice put the channels last: (N, H, W, C).
            padded = F.pad(images, (pad, pad, pad, pad))
            images = padded[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
        if settings.flip:
            mirrored = torch.rand(count, device=device, generator=generator) < 0.5
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        return images.contiguous()


PIXELS = Domain()
"""Pixels from 0 (black) to 1 (white): the domain of every registered data set."""
