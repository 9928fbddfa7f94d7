"""What the stored images of a data set mean to a network: bounds, conversion, augmentation, grey."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.data.settings import Augmentation


@dataclass(frozen=True)
class CropFlip:
    """A random shift, crop and flip of each image of a batch, which maps of its size can be put through, and back."""

    padding: int
    corner: Tensor | None
    """Upper left corners of the crops in the padded images, (2, N): row and column. None: no crop."""
    mirrored: Tensor | None
    """(N,) bool. None: no flip."""
    shift: Tensor | None = None
    """Rows that each image is moved down by (N,), its first or last row repeated. None: not moved."""

    def __getitem__(self, index: Tensor) -> "CropFlip":
        """What the images at `index` of the batch go through."""
        corner, mirrored, shift = self.corner, self.mirrored, self.shift
        return CropFlip(
            self.padding, None if corner is None else corner[:, index], None if mirrored is None else mirrored[index],
            None if shift is None else shift[index],
        )  # fmt: skip

    def apply(self, images: Tensor) -> Tensor:
        """Copy of `images` (N, C, H, W), each moved, cropped from its zero-padded self, then flipped."""
        images = self._shifted(images)
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
        if self.corner is not None:
            whole, (height, width), pad = self._padded(self._shifted(images)), images.shape[2:], self.padding
            whole[self._index(images)] = moved.permute(0, 2, 3, 1)
            moved = whole[:, :, pad : pad + height, pad : pad + width]
        if self.shift is None:
            return moved
        height = images.shape[2]
        places = torch.arange(height, device=images.device) + self.shift[:, None]
        inside = (places >= 0) & (places < height)
        return torch.where(inside[:, None, :, None], _rows(moved, places.clamp(0, height - 1)), images)

    def _shifted(self, images: Tensor) -> Tensor:
        if self.shift is None:
            return images
        height = images.shape[2]
        sources = torch.arange(height, device=images.device) - self.shift[:, None]
        return _rows(images, sources.clamp(0, height - 1))

    def _padded(self, images: Tensor) -> Tensor:
        return F.pad(images, (self.padding,) * 4)

    def _index(self, images: Tensor) -> tuple[Tensor, slice, Tensor, Tensor]:
        assert self.corner is not None
        count, _, height, width = images.shape
        rows = self.corner[0, :, None] + torch.arange(height, device=images.device)  # (N, H)
        columns = self.corner[1, :, None] + torch.arange(width, device=images.device)  # (N, W)
        each = torch.arange(count, device=images.device)[:, None, None]
        return each, slice(None), rows[:, :, None], columns[:, None, :]


def _rows(images: Tensor, rows: Tensor) -> Tensor:
    """`rows` (N, H) of `images` (N, C, H, W)."""
    return images.gather(2, rows[:, None, :, None].expand(images.shape))


def draw_crop_flip(count: int, settings: Augmentation, generator: torch.Generator) -> CropFlip:
    """Shift, crop and flip of `count` images, drawn independently, on the device of `generator`."""
    device, pad, corner, mirrored, shift = generator.device, settings.crop_padding, None, None, None
    if pad:
        corner = torch.randint(0, 2 * pad + 1, (2, count), device=device, generator=generator)
    if settings.flip:
        mirrored = torch.rand(count, device=device, generator=generator) < 0.5
    if farthest := settings.time_shift:
        shift = torch.randint(-farthest, farthest + 1, (count,), device=device, generator=generator)
    return CropFlip(pad, corner, mirrored, shift)


@dataclass(frozen=True)
class Domain:
    """Stored values 0 … 255 stand for inputs from `low` to `high`, evenly spaced."""

    stored: ClassVar[torch.dtype] = torch.uint8

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


@dataclass(frozen=True)
class Amplitudes(Domain):
    """Stored samples −32,768 … 32,767 of a waveform stand for amplitudes from −1 to just below 1."""

    stored: ClassVar[torch.dtype] = torch.int16

    low: float = -1.0
    high: float = 1.0

    def to_input(self, images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """int16 samples of any shape as amplitudes in [−1, 1), exactly."""
        return images.to(dtype) / 32768


CODES_END = 16.0
"""Largest coordinate of a code, in standard deviations of the training images' codes."""


@dataclass(frozen=True)
class Codes(Domain):
    """Points of a manifold (nas/assets/manifold), stored as they are; 0 is the mean of the training images' codes."""

    stored: ClassVar[torch.dtype] = torch.float32

    low: float = -CODES_END
    high: float = CODES_END

    def to_input(self, images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """The codes themselves."""
        return images.to(dtype)


PIXELS = Domain()
"""Pixels from 0 (black) to 1 (white), or features in [0, 1]: the domain of every registered data set."""
