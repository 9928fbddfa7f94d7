"""The data sets themselves: settings of each, and its images as it delivers them (train or test part)."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field

from nas.data.split import Split, stratified_order, stratified_subset
from nas.errors import DataError
from nas.settings import Settings

Part = Literal["train", "test"]


class Raw(NamedTuple):
    """Images of one part of a data set, and the class names in label order."""

    split: Split
    class_names: tuple[str, ...]


class Source(Settings):
    """What every data set can be asked for."""

    limit: int | None = Field(None, ge=20)
    """Use only this many training images (stratified), validation included."""
    test_limit: int | None = Field(None, ge=10)
    """Use only this many test images (stratified)."""
    validation_fraction: float = Field(0.1, gt=0, lt=0.9)
    """Share of the training images held out for scoring and selection (stratified)."""
    split_seed: int = Field(0, ge=0)
    """Seed of every subset; one seed, one split, whatever the search does."""


class Digits(Source):
    """scikit-learn's 1,797 real 8×8 handwritten digits; a fifth (stratified, always the same) is the test set."""

    name: Literal["digits"]
    validation_fraction: float = Field(0.2, gt=0, lt=0.9)
    """Share of the training images held out for scoring and selection (stratified)."""


class Cifar10(Source):
    """CIFAR-10 (Krizhevsky 2009) through torchvision: 50,000 training and 10,000 test images, 32×32."""

    name: Literal["cifar10"]
    root: Path = Path("data")
    """Folder that holds or receives torchvision's files."""
    download: bool = False
    """Fetch the data set into `root` when it is missing."""


class Svhn(Source):
    """SVHN (Netzer 2011), cropped digits, through torchvision: 73,257 training and 26,032 test images."""

    name: Literal["svhn"]
    root: Path = Path("data")
    """Folder that holds or receives torchvision's files."""
    download: bool = False
    """Fetch the data set into `root` when it is missing."""


class ImageFolder(Source):
    """Your own images: `root`/train/<class>/* and `root`/test/<class>/*, any size, resized to a square."""

    name: Literal["image_folder"]
    root: Path
    """Folder with `train` and `test` in it, each with a folder per class."""
    image_size: int = Field(32, ge=4, le=512)
    """Side in pixels that every image is resized to (bilinear, antialiased)."""
    channels: Literal[1, 3] = 3
    """3 for colour, 1 for grey."""


def _digits(settings: Digits, part: Part) -> Raw:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)  # the values are 0 … 16
    everything = Split(torch.from_numpy(pixels)[:, None], torch.from_numpy(bunch.target).long())
    test, train = stratified_subset(everything, len(everything) // 5, 0, "digits/test")
    return Raw(train if part == "train" else test, tuple(str(digit) for digit in range(10)))


def _torchvision(settings: Cifar10 | Svhn, part: Part) -> Raw:
    from torchvision import datasets

    try:
        if isinstance(settings, Cifar10):
            cifar = datasets.CIFAR10(settings.root, train=part == "train", download=settings.download)
            images = torch.from_numpy(cifar.data).permute(0, 3, 1, 2).contiguous()
            return Raw(Split(images, torch.tensor(cifar.targets)), tuple(cifar.classes))
        svhn = datasets.SVHN(settings.root, split=part, download=settings.download)
        labels = torch.from_numpy(svhn.labels).long()
        return Raw(Split(torch.from_numpy(svhn.data), labels), tuple(str(digit) for digit in range(10)))
    except (RuntimeError, OSError) as error:
        wanted = "cannot be downloaded to" if settings.download else "not found in"
        raise DataError(
            f"data set {settings.name} {wanted} {settings.root.resolve()} ({error}); point data.root to it, or set "
            f"data.download: true (--set data.download=true) on a machine that reaches its server"
        ) from error


def _image_folder(settings: ImageFolder, part: Part) -> Raw:
    folder = settings.root / part
    class_names = _folders(settings.root / "train", settings.root)
    if len(class_names) < 2:
        raise DataError(f"{settings.root / 'train'} holds {len(class_names)} class folders, at least 2 are needed")
    unknown = sorted(set(_folders(folder, settings.root)) - set(class_names))
    if unknown:
        raise DataError(f"{folder / unknown[0]} is no class of the training images ({', '.join(class_names)})")
    files = [
        (path, label)
        for label, name in enumerate(class_names)
        for path in sorted((folder / name).glob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
    ]
    labels = torch.tensor([label for _, label in files], dtype=torch.int64)
    empty = sorted(set(range(len(class_names))) - set(labels.tolist()))
    if not files or (empty and part == "train"):
        place = folder / class_names[empty[0]]
        raise DataError(f"{place} holds no image (of {', '.join(sorted(IMAGE_SUFFIXES))})")
    limit = settings.limit if part == "train" else settings.test_limit
    chosen = stratified_order(labels, settings.split_seed, f"limit/{part}")[:limit]
    # The limit is applied before decoding, so that a small subset of a large folder loads fast.
    images = np.stack([_decode(files[index][0], settings) for index in chosen.tolist()])
    return Raw(Split(torch.from_numpy(images), labels[chosen]), class_names)


def _folders(folder: Path, root: Path) -> tuple[str, ...]:
    """Names of the folders in `folder`, sorted. Raises DataError where it is missing."""
    if not folder.is_dir():
        raise DataError(
            f"no folder {folder.resolve()}: an image folder has {root}/train/<class>/ and {root}/test/<class>/; "
            f"set data.root to the right place"
        )
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir()))


def _decode(path: Path, settings: ImageFolder) -> np.ndarray:
    """Image at `path` as uint8 (C, H, W). Raises DataError for a file that is not an image."""
    from PIL import Image, UnidentifiedImageError

    size = (settings.image_size, settings.image_size)
    try:
        with Image.open(path) as file:
            if file.mode.startswith("I;16"):  # Pillow's convert would cut 16 bits off at 255
                image = Image.fromarray((np.asarray(file) // 257).astype(np.uint8))
            elif file.mode in ("I", "F"):
                raise DataError(f"{path} has {file.mode}-mode pixels of unknown range; save it with 8 or 16 bits")
            else:
                image = file
            image = image.convert("RGB" if settings.channels == 3 else "L")
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"{path} cannot be read as an image ({error}); repair or remove it") from error
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(*size, settings.channels).transpose(2, 0, 1)


IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"})


class SourceEntry(NamedTuple):
    """Settings class and `load(settings, part)` of a data set."""

    settings: type[Source]
    load: Callable[..., Raw]


DATASETS: dict[str, SourceEntry] = {
    "digits": SourceEntry(Digits, _digits),
    "cifar10": SourceEntry(Cifar10, _torchvision),
    "svhn": SourceEntry(Svhn, _torchvision),
    "image_folder": SourceEntry(ImageFolder, _image_folder),
}
