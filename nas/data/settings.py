"""Settings of the data sets."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from nas.base.settings import Settings


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
    """Your own images: `root`/train/<class>/** and `root`/test/<class>/**, any size, resized to a square."""

    name: Literal["image_folder"]
    root: Path
    """Folder with `train` and `test` in it, each with a folder per class."""
    image_size: int = Field(32, ge=4, le=512)
    """Side in pixels that every image is resized to (bilinear, antialiased)."""
    channels: Literal[1, 3] = 3
    """3 for colour, 1 for grey."""
    background: str = Field("white", pattern=r"^(white|black|grey|#[0-9A-Fa-f]{6})$")
    """Colour that transparent images are composited on: white, black, grey or #rrggbb."""
    bits: int | None = Field(None, ge=8, le=16)
    """Bits that grey images of 16 bits use; null: as many as the largest value of the training images needs."""
    classes: tuple[str, ...] | None = Field(None, min_length=2)
    """Class folders in label order; null: the folders of `train`, sorted."""


class Augmentation(Settings):
    """Random changes of every training image, new in every epoch."""

    crop_padding: int = Field(4, ge=0, le=64)
    """Pad by this many black pixels, then crop back at a random place."""
    flip: bool = False
    """Mirror left-right with probability one half; not for digits or letters."""
