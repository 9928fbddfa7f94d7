"""What a search may see (train and validation) and what only the final evaluation may see (test)."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import torch
from pydantic import Field

from nas.data.sources import DATASETS, Cifar10, Digits, ImageFolder, Part, Raw, Source, Svhn
from nas.data.split import Split, stratified_subset
from nas.errors import DataError

DataSettings = Annotated[Digits | Cifar10 | Svhn | ImageFolder, Field(discriminator="name")]


@dataclass(frozen=True)
class SearchData:
    """Everything of a data set but its test images."""

    name: str
    class_names: tuple[str, ...]
    train: Split
    validation: Split
    mean: tuple[float, ...]
    """Mean of the training pixels in [0, 1], per channel."""
    std: tuple[float, ...]
    """Standard deviation of the training pixels, per channel."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return len(self.class_names)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that name the images, labels and classes of both parts."""
        digest = hashlib.sha256(repr(self.class_names).encode())
        for tensor in (self.train.images, self.train.labels, self.validation.images, self.validation.labels):
            digest.update(repr(tuple(tensor.shape)).encode())
            digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()[:16]

    def to(self, device: torch.device) -> "SearchData":
        """Same data on `device`."""
        train, validation = self.train.to(device), self.validation.to(device)
        return SearchData(self.name, self.class_names, train, validation, self.mean, self.std)


def load_search_data(settings: Source) -> SearchData:
    """Training and validation images on the CPU; the split depends on `settings` alone.

    Raises DataError where the data set is missing or too small to be split.
    """
    train, class_names = _load(settings, "train")
    held_out = round(len(train) * settings.validation_fraction)
    validation, train = stratified_subset(train, held_out, settings.split_seed, "validation")
    for part, split in (("training", train), ("validation", validation)):
        missing = set(range(len(class_names))) - set(split.labels.tolist())
        if missing:
            raise DataError(
                f"{len(train) + held_out} training images leave no {part} image of class "
                f"{class_names[min(missing)]!r}; raise data.limit or change data.validation_fraction"
            )
    mean, std = _pixel_statistics(train.images)
    return SearchData(_name(settings), class_names, train, validation, mean, std)


def load_test_data(settings: Source) -> Split:
    """Test images on the CPU, every prefix stratified. For the evaluation of a retrained network only."""
    return _load(settings, "test").split


def _load(settings: Source, part: Part) -> Raw:
    raw = DATASETS[_name(settings)].load(settings, part)
    limit = settings.limit if part == "train" else settings.test_limit
    count = len(raw.split) if limit is None else limit
    subset, _ = stratified_subset(raw.split, count, settings.split_seed, f"limit/{part}")
    return Raw(subset, raw.class_names)


def _name(settings: Source) -> str:
    return str(getattr(settings, "name"))  # noqa: B009 - every registered source has it, the base has not


def _pixel_statistics(images: torch.Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, from exact counts of the 256 pixel values."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in images.transpose(0, 1):
        shares = torch.bincount(channel.flatten().long(), minlength=256).double() / channel.numel()
        mean = float((shares * levels).sum())
        means.append(mean)
        stds.append(max(float((shares * (levels - mean) ** 2).sum().sqrt()), 1e-3))  # constant images
    return tuple(means), tuple(stds)
