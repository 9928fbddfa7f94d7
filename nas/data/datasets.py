"""What a search may see (train and validation) and what only the final evaluation may see (test)."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import torch

from nas.base.errors import DataError, UsageError
from nas.data.domain import PIXELS, Domain
from nas.data.raw import Part, Raw, Survey
from nas.data.settings import Source
from nas.data.sources import DATASETS, DataSettings
from nas.data.split import Split, limited_order, stratified_subset


@dataclass(frozen=True)
class SearchData:
    """Everything of a data set but its test images."""

    name: str
    class_names: tuple[str, ...]
    train: Split
    validation: Split
    mean: tuple[float, ...]
    """Mean of the training images as inputs of a network, per channel."""
    std: tuple[float, ...]
    """Standard deviation of these inputs, per channel."""
    warnings: tuple[str, ...] = ()
    """What was left out, and what looks wrong with the images."""
    test_counts: Mapping[str, int] | None = None
    """Test images of each class; None where they were not asked for, or only loading them would tell."""
    settings: DataSettings | None = None
    """Settings with what they left open (classes, range) filled in: test images are read alike without these."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def domain(self) -> Domain:
        """What the values of the images mean, the same in all parts."""
        return self.train.domain

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return len(self.class_names)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that name the images, labels and classes of both parts, and their domain if not PIXELS."""
        digest = hashlib.sha256(repr(self.class_names).encode())
        if self.domain != PIXELS:
            digest.update(repr(self.domain).encode())
        for tensor in (self.train.images, self.train.labels, self.validation.images, self.validation.labels):
            digest.update(repr(tuple(tensor.shape)).encode())
            digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()[:16]

    def trained_on(self, count: int | None) -> "SearchData":
        """Same data with the first `count` training images, in which classes have their overall shares; None: all."""
        if count is None:
            return self
        part = self.train[:count]  # copied: where a view goes, all images behind it go along
        copied = dataclasses.replace(part, images=part.images.clone(), labels=part.labels.clone())
        return dataclasses.replace(self, train=copied)

    def to(self, device: torch.device) -> "SearchData":
        """Same data on `device`."""
        return dataclasses.replace(self, train=self.train.to(device), validation=self.validation.to(device))


def load_search_data(settings: Source, *, survey_test: bool = False) -> SearchData:
    """Training and validation images on the CPU; the split depends on `settings` alone.

    With `survey_test` also looks at the test part, without decoding any of it, so that what is wrong with it is found
    before any training. Raises DataError where the data set is missing or too small to be split.
    """
    raw = _load(settings, "train")
    validation, train = _validation_and_train(raw, settings)
    _check_classes(raw, train, validation, settings)
    mean, std = _input_statistics(train)
    test = DATASETS[_name(settings)].survey(settings, raw.class_names) if survey_test else Survey()
    return SearchData(
        _name(settings), raw.class_names, train, validation, mean, std,
        warnings=(*raw.warnings, *test.warnings), test_counts=test.counts,
        settings=cast(DataSettings, raw.settings or settings),
    )  # fmt: skip


def _validation_and_train(raw: Raw, settings: Source) -> tuple[Split, Split]:
    """Both parts of the training images, every prefix stratified."""
    if raw.held_out is not None:
        return raw.split[raw.held_out], raw.split[~raw.held_out]
    count = round(len(raw.split) * settings.validation_fraction)
    return stratified_subset(raw.split, count, settings.split_seed, "validation")


def _check_classes(raw: Raw, train: Split, validation: Split, settings: Source) -> None:
    """Raises DataError where a class has no image to train on, or none to validate on."""
    for part, split in (("training", train), ("validation", validation)):
        missing = set(range(len(raw.class_names))) - set(split.labels.tolist())
        if missing:
            label = min(missing)
            count = int((raw.split.labels == label).sum())
            images = "raise data.limit" if settings.limit is not None else "add images of it"
            share = "data.validation_fraction" if raw.held_out is None else "the list of validation images"
            raise DataError(
                f"{len(raw.split)} training images leave no {part} image of class {raw.class_names[label]!r} (it has "
                f"{count}); {images} or change {share}"
            )


def load_test_data(settings: Source, class_names: Sequence[str] | None = None) -> Split:
    """Test images on the CPU, every prefix stratified. For the evaluation of a retrained network only.

    With `class_names`, those of a trained network in label order: an image folder then needs no `train`. Raises
    DataError, with the difference, where the data set has other classes.
    """
    if class_names is None:
        return _load(settings, "test").split
    if hasattr(settings, "classes"):
        settings = settings.model_copy(update={"classes": tuple(class_names)})
    raw = _load(settings, "test")
    check_same_classes(raw.class_names, class_names)
    return raw.split


def check_same_classes(found: Sequence[str], trained: Sequence[str]) -> None:
    """Raises DataError, with the difference, where the classes of the data are not those of a training."""
    if tuple(found) == tuple(trained):
        return
    new, gone = sorted(set(found) - set(trained)), sorted(set(trained) - set(found))
    parts = [f"has {', '.join(new)}"] if new else []
    parts += [f"lacks {', '.join(gone)}"] if gone else []
    difference = " and ".join(parts) or "has them in another order"
    raise DataError(
        f"the data set does not have the classes of the training: it {difference}; restore the data or name "
        f"another place"
    )


def absent_classes(split: Split, class_names: Sequence[str]) -> tuple[str, ...]:
    """Classes of which `split` has no image."""
    present = set(split.labels.tolist())
    return tuple(name for label, name in enumerate(class_names) if label not in present)


def at_root(settings: DataSettings, root: Path | None) -> DataSettings:
    """`settings` with the data set in the folder `root`; unchanged for None. Raises UsageError for embedded data."""
    if root is None:
        return settings
    if not hasattr(settings, "root"):
        raise UsageError(f"--data {root}: the data set {_name(settings)} is embedded and has no folder")
    return settings.model_copy(update={"root": root})


def _load(settings: Source, part: Part) -> Raw:
    raw: Raw = DATASETS[_name(settings)].load(settings, part)
    limit = settings.limit if part == "train" else settings.test_limit
    order = limited_order(raw.split.labels, raw.held_out, limit, settings.split_seed, part)
    return raw._replace(split=raw.split[order], held_out=None if raw.held_out is None else raw.held_out[order])


def _name(settings: Source) -> str:
    return str(getattr(settings, "name"))  # noqa: B009 - every registered source has it, the base has not


def _input_statistics(split: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the inputs per channel, from exact counts of the 256 stored values."""
    levels = split.domain.to_input(torch.arange(256, dtype=torch.uint8), torch.float64)
    means, stds = [], []
    for channel in split.images.transpose(0, 1):
        shares = torch.bincount(channel.flatten().long(), minlength=256).double() / channel.numel()
        mean = float((shares * levels).sum())
        means.append(mean)
        stds.append(max(float((shares * (levels - mean) ** 2).sum().sqrt()), 1e-3))  # constant images
    return tuple(means), tuple(stds)
