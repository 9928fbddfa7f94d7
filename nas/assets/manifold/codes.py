"""A manifold as attacks and trainings see it: codes of unit variance, a decoder that no code leaves the range of.

Letters: N images (N, C, H, W) with values in [0, 1], D coordinates of a code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

import torch
from torch import Tensor, nn

from nas.data.domain import CODES_END, PIXELS, Codes, Domain
from nas.data.split import Split


class Decoder(nn.Module):
    """Images of codes (N, 1, 1, D): `raw` of the codes in their own scale, each coordinate within that of training.

    `centre`, `scale`, `low` and `high` (D,) are those of the training images' codes, the last two in units of `scale`.
    """

    centre: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, raw: nn.Module, dimensions: int) -> None:
        super().__init__()
        self.raw = raw
        for name, value in (("centre", 0.0), ("scale", 1.0), ("low", -CODES_END), ("high", CODES_END)):
            self.register_buffer(name, torch.full((dimensions,), value))

    def forward(self, z: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1]; beyond its range a coordinate counts as the nearest end.

        There its gradient is that of the end, not 0: an attack that starts beyond finds its way back.
        """
        z = z.flatten(1)
        z = z.maximum(self.low).minimum(self.high).detach() + (z - z.detach())
        images: Tensor = self.raw(z * self.scale + self.centre)
        return images

    @torch.no_grad()
    def fit_(self, codes: Tensor, free: Tensor | None = None) -> None:
        """Takes over the scale and range of `codes` (N, D), in their own scale.

        Coordinates that are not `free` (D,), bool, are labels: they are spread over all that codes can be, so that the
        largest perturbation stays with one label.
        """
        self.centre.copy_(codes.mean(0))
        self.scale.copy_(codes.std(0).clamp_min(1e-6))
        if free is not None:
            low, high = codes.amin(0)[~free], codes.amax(0)[~free]
            self.centre[~free] = (low + high) / 2
            self.scale[~free] = ((high - low) / (2 * CODES_END)).clamp_min(1e-6)
        units = (codes - self.centre) / self.scale
        self.low.copy_(units.amin(0).clamp_min(-CODES_END))
        self.high.copy_(units.amax(0).clamp_max(CODES_END))


class Manifold(nn.Module):
    """Encoder and decoder, frozen and in eval mode.

    `encoder` gives codes (N, D) in their own scale, of images and labels.
    """

    def __init__(self, encoder: nn.Module, decoder: Decoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    @property
    def most_epsilon(self) -> float:
        """Radius of perturbations below which no code is given another class; infinite where codes hold none."""
        return 0.5 / float(self.decoder.scale[-1]) if getattr(self.decoder.raw, "conditional", False) else inf

    @torch.no_grad()
    def codes(self, x: Tensor, labels: Tensor) -> Tensor:
        """Codes (N, 1, 1, D) of images: of the point of the manifold that stands for each."""
        decoder = self.decoder
        units = (self.encoder(x, labels) - decoder.centre) / decoder.scale
        within: Tensor = units.maximum(decoder.low).minimum(decoder.high)
        return within[:, None, None]

    @torch.no_grad()
    def error(self, split: Split) -> float:
        """Root mean squared error of the images of `split`, reconstructed."""
        total = 0.0
        for batch in split.batches(256):
            x = batch.inputs()
            total += float((self.decoder(self.codes(x, batch.labels)) - x).double().square().sum())
        return float((total / split.images.numel()) ** 0.5)

    @torch.no_grad()
    def reconstruction_picture(self, split: Split, count: int = 20) -> Tensor:
        """Picture (3, H', W') in [0, 1] of `count` images spread over `split`, each above its reconstruction."""
        from torchvision.utils import make_grid

        chosen = split[torch.linspace(0, len(split) - 1, count).long()].to(self.decoder.centre.device)
        x = chosen.inputs()
        columns = torch.cat([x, self.decoder(self.codes(x, chosen.labels))], dim=2).clamp(0, 1)
        larger = max(1, 96 // x.shape[2])
        grid: Tensor = make_grid(
            columns.repeat_interleave(larger, 2).repeat_interleave(larger, 3), nrow=10, pad_value=1.0
        )
        return grid


@dataclass(frozen=True)
class ManifoldOrigin:
    """Origin of images: codes of the points of `manifold` that stand for them (nas/data/split.py)."""

    manifold: Manifold
    labels: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """(1, 1, D)."""
        return 1, 1, len(self.manifold.decoder.centre)

    def __getitem__(self, index: Tensor | slice) -> ManifoldOrigin:
        own = index.to(self.labels.device) if isinstance(index, Tensor) else index  # labels stay where they were made
        return replace(self, labels=self.labels[own])

    def load(self, images: Tensor) -> tuple[Tensor, Domain]:
        """Codes (N, 1, 1, D) of stored `images`, in batches."""
        manifold = self.manifold.to(images.device)
        labels = self.labels.to(images.device)
        batches = zip(torch.split(images, 256), torch.split(labels, 256), strict=True)
        return torch.cat([manifold.codes(PIXELS.to_input(x), y) for x, y in batches]), Codes()

    def front_end(self) -> nn.Module:
        """The decoder."""
        return self.manifold.decoder


def on_manifold(split: Split, manifold: Manifold) -> Split:
    """`split` with the codes of its images as an origin that threats can act on."""
    return split.with_origin("manifold", ManifoldOrigin(manifold, split.labels))
