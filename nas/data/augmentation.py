"""Random crop and flip of a whole batch on its device."""

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.data.settings import Augmentation


def augment(images: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """Augmented copy of `images` (N, C, H, W), each image cropped and flipped independently."""
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
