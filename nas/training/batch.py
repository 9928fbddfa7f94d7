"""What a training step is handed."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nas.data import Augmentation
from nas.data.domain import CropFlip, draw_crop_flip
from nas.data.split import Split


@dataclass(frozen=True)
class Batch:
    """N images of one step, on one device."""

    x: Tensor
    """Augmented inputs (N, C, H, W), within the bounds of the domain."""
    y: Tensor
    """Labels (N,)."""
    indices: Tensor
    """Which training images they are (N,)."""
    crop_flip: CropFlip
    """What the images went through."""
    data: Split | None = None
    """Images that `indices` are of, as they are stored; None where no method asks for them."""


def draw_batch(data: Split, indices: Tensor, settings: Augmentation, generator: torch.Generator) -> Batch:
    """Images of `data` at `indices` (N,), each cropped and flipped by itself; `generator` is on their device."""
    crop_flip = draw_crop_flip(len(indices), settings, generator)
    x = data.domain.to_input(crop_flip.apply(data.images[indices]))
    return Batch(x, data.labels[indices], indices, crop_flip, data)
