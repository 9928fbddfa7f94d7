"""Images with labels, and seeded stratified ways to take some of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from nas.base.seeding import make_generator
from nas.data.domain import PIXELS, Domain


class Origin(Protocol):
    """What N images come from by a differentiable map: waveforms, points of a manifold near them.

    Nothing is read or computed before it is asked for.
    """

    @property
    def shape(self) -> tuple[int, int, int]:
        """(1, H, W) of one of them; attacks take a waveform as rows of samples, a code as one row."""

    def __getitem__(self, index: Tensor | slice) -> "Origin":
        """Of these images alone."""

    def load(self, images: Tensor) -> tuple[Tensor, Domain]:
        """Stored values (N, 1, H, W) for stored `images`, and their domain.

        Raises DataError where `images` are not made from them.
        """

    def front_end(self) -> nn.Module:
        """The map, float32: inputs of their domain (N, 1, H, W) to those of the images'."""


@dataclass(frozen=True)
class Split:
    """`images` (N, C, H, W) as the domain stores them (uint8), `labels` int64 (N,), on one device."""

    images: Tensor
    labels: Tensor
    domain: Domain = PIXELS
    """What the values of the images mean."""
    origins: Mapping[str, Origin] = field(default_factory=dict)
    """What the images come from, where that can be attacked, too, by what a threat calls it (`acts_on`)."""

    def __post_init__(self) -> None:
        assert self.images.dtype == self.domain.stored, self.images.dtype
        assert self.images.dim() == 4, self.images.shape
        assert self.labels.shape == self.images.shape[:1], (self.labels.shape, self.images.shape)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> "Split":
        origins = {name: origin[index] for name, origin in self.origins.items()}
        return Split(self.images[index], self.labels[index], self.domain, origins)

    def inputs(self) -> Tensor:
        """All images as a network takes them: float32 (N, C, H, W) within the bounds of the domain."""
        return self.domain.to_input(self.images)

    def at_origin(self, name: str) -> "Split":
        """What the images come from, one of `origins`, with their labels, on their device.

        Raises DataError as `Origin.load`.
        """
        values, domain = self.origins[name].load(self.images)
        return Split(values.to(self.images.device), self.labels, domain)

    def with_origin(self, name: str, origin: Origin) -> "Split":
        """Same images with one more of `origins`."""
        return replace(self, origins={**self.origins, name: origin})

    def to(self, device: torch.device) -> "Split":
        """Same images on `device`."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def batches(self, size: int) -> list["Split"]:
        """Consecutive batches of `size` images, the last one shorter."""
        return [self[start : start + size] for start in range(0, len(self), size)]


def stratified_order(labels: Tensor, seed: int, purpose: str) -> Tensor:
    """Permutation of indices in which every prefix holds the classes in (nearly) their overall shares.

    Each class is shuffled with its own stream, then the classes are merged by relative rank.
    """
    ranks = torch.empty(len(labels), dtype=torch.float64)
    for label in sorted(set(labels.tolist())):
        members = (labels == label).nonzero().flatten()
        generator = make_generator(seed, purpose, label)
        order = torch.randperm(len(members), generator=generator).double()
        offset = torch.rand(1, generator=generator, dtype=torch.float64)
        ranks[members] = (order + offset) / len(members)
    return ranks.argsort(stable=True)


def stratified_subset(split: Split, count: int, seed: int, purpose: str) -> tuple[Split, Split]:
    """`count` images and the rest, both ordered so that every prefix has the classes in their overall shares."""
    order = stratified_order(split.labels, seed, purpose)
    return split[order[:count]], split[order[count:]]


def limited_order(labels: Tensor, held_out: Tensor | None, limit: int | None, seed: int, part: str) -> Tensor:
    """Indices of the first `limit` (None: all) images of a part; classes, and those held out, in their shares."""
    groups = labels if held_out is None else 2 * labels + held_out
    return stratified_order(groups, seed, f"limit/{part}")[:limit]
