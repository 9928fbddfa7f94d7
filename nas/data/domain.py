"""What the stored images of a data set mean to a network: bounds, conversion, augmentation, grey."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.data.settings import Augmentation


@dataclass(frozen=True)
class CropFlip:
    """A random crop and flip of each image of a batch, which maps of the same size can be put through, and back."""

    padding: int
    corner: Tensor | None
    """Upper left corners of the crops in the padded images, (2, N): row and column. None: no crop."""
    mirrored: Tensor | None
    """(N,) bool. None: no flip."""

    def apply(self, images: Tensor) -> Tensor:
        """Copy of `images` (N, C, H, W), each cropped from its zero-padded self, then flipped."""
        if self.corner is not None:
            # Advanced indices around a slice put the channels last: (N, H, W, C).
            images = self._padded(images)[self._index(images)].permute(0, 3, 1, 2)
        if self.mirrored is not None:
            images = torch.where(self.mirrored[:, None, None, None], images.flip(3), images)
        return images.contiguous()

    def undo(self, moved: Tensor, images: Tensor) -> Tensor:
        """Copy of `images` (N, C, H, W) with the values of `moved`, which `apply` gave, where these come from."""
        if self.mirrored is not None:
            moved = torch.where(self.mirrored[:, None, None, None], moved.flip(3), moved)
        if self.corner is None:
            return moved
        whole, (height, width), pad = self._padded(images), images.shape[2:], self.padding
        whole[self._index(images)] = moved.permute(0, 2, 3, 1)
        return whole[:, :, pad : pad + height, pad : pad + width]

    def _padded(self, images: Tensor) -> Tensor:
        return F.pad(images, (self.padding,) * 4)

    def _index(self, images: Tensor) -> tuple[Tensor, slice, Tensor, Tensor]:
        assert self.corner is not None
        count, _, height, width = images.shape
        rows = self.corner[0, :, None] + torch.arange(height, device=images.device)  # (N, H)
        columns = self.corner[1, :, None] + torch.arange(width, device=images.device)  # (N, W)
        each = torch.arange(count, device=images.device)[:, None, None]
        return each, slice(None), rows[:, :, None], columns[:, None, :]


def draw_crop_flip(count: int, settings: Augmentation, generator: torch.Generator) -> CropFlip:
    """Crop and flip of `count` images, drawn independently, on the device of `generator`."""
    device, pad, corner, mirrored = generator.device, settings.crop_padding, None, None
    if pad:
        corner = torch.randint(0, 2 * pad + 1, (2, count), device=device, generator=generator)
    if settings.flip:
        mirrored = torch.rand(count, device=device, generator=generator) < 0.5
    return CropFlip(pad, corner, mirrored)


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


PIXELS = Domain()
"""Pixels from 0 (black) to 1 (white): the domain of every registered data set."""
