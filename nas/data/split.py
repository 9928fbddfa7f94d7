"""Images with labels, and seeded stratified ways to take some of them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nas.base.seeding import make_generator
from nas.data.domain import PIXELS, Domain


@dataclass(frozen=True)
class Split:
    """`images` uint8 (N, C, H, W), `labels` int64 (N,), on one device."""

    images: Tensor
    labels: Tensor
    domain: Domain = PIXELS
    """What the values of the images mean."""

    def __post_init__(self) -> None:
        assert self.images.dtype == torch.uint8, self.images.dtype
        assert self.images.dim() == 4, self.images.shape
        assert self.labels.shape == self.images.shape[:1], (self.labels.shape, self.images.shape)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> "Split":
        return Split(self.images[index], self.labels[index], self.domain)

    def inputs(self) -> Tensor:
        """All images as a network takes them: float32 (N, C, H, W) within the bounds of the domain."""
        return self.domain.to_input(self.images)

    def to(self, device: torch.device) -> "Split":
        """Same images on `device`."""
        return Split(self.images.to(device), self.labels.to(device), self.domain)

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
