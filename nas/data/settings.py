"""Settings of the data sets."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from nas.base.settings import Settings


class Source(Settings):
    """What every data set can be asked for."""

    augmentations: ClassVar[frozenset[str]] = frozenset({"crop_padding", "flip"})
    """Fields of Augmentation that make sense for its images."""

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


class Simulated(Source):
    """Grey images made by a known linear map from codes, for tests of attacks on a manifold (nas/data/simulated.py)."""

    name: Literal["simulated"]
    images: int = Field(1000, ge=40, le=1_000_000)
    """Training images, validation included."""
    test_images: int = Field(400, ge=10, le=1_000_000)
    """Test images."""
    size: int = Field(8, ge=4, le=64)
    """Side in pixels."""
    dimensions: int = Field(4, ge=2, le=15)
    """Of a code."""
    classes: int = Field(4, ge=2, le=16)
    """Classes, as many images of each; at most 2 to the power of `dimensions`."""
    spread: float = Field(0.2, gt=0, le=2)
    """Standard deviation of a code around the centre of its class, where the largest code is 1."""
    seed: int = Field(0, ge=0)
    """Of the centres and of the images."""

    @model_validator(mode="after")
    def _has_as_many_corners(self) -> "Simulated":
        if self.classes > 2**self.dimensions:
            raise ValueError(f"classes must be at most {2**self.dimensions} with dimensions {self.dimensions}")
        return self


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


TEST_LIST, VALIDATION_LIST = "testing_list.txt", "validation_list.txt"
"""Lists in a folder of recordings."""


class FrontEndSettings(Settings):
    """Front end from a recording to its features, an image of time × coefficients (nas/data/front_end.py)."""

    kind: Literal["mfcc", "log_mel"] = "mfcc"
    """mfcc: cosine coefficients of the log-mel spectrum of every frame; log_mel: that spectrum itself."""
    window_ms: int = Field(40, ge=5, le=200)
    """Milliseconds of a frame."""
    stride_ms: int = Field(20, ge=1, le=200)
    """Milliseconds from a frame to the next."""
    mel_bands: int = Field(40, ge=4, le=128)
    """Bands of the mel spectrum, evenly spaced on the mel scale."""
    coefficients: int = Field(10, ge=2, le=128)
    """Of mfcc: the first so many, loudness included."""
    low_hz: float = Field(20, ge=0)
    """Lower edge of the lowest band."""
    high_hz: float | None = Field(None, gt=0)
    """Upper edge of the highest band; null: half the sample rate."""
    floor_db: float = Field(-80, ge=-120, le=-20)
    """Power of a band that counts as silence, in dB of full scale (0 dB: a square wave of amplitude 1)."""

    @property
    def width(self) -> int:
        """Features of one frame."""
        return self.coefficients if self.kind == "mfcc" else self.mel_bands

    @model_validator(mode="after")
    def _has_these_coefficients(self) -> "FrontEndSettings":
        if self.kind == "mfcc" and self.coefficients > self.mel_bands:
            raise ValueError(f"coefficients {self.coefficients} must not exceed mel_bands {self.mel_bands}")
        return self


class SpeechFolder(Source):
    """Recordings in the layout of Google Speech Commands: `root`/<word>/*.wav, testing_list.txt, validation_list.txt.

    The lists have a line <word>/<name>.wav for each recording of the test set and of validation.
    """

    augmentations: ClassVar[frozenset[str]] = frozenset({"time_shift"})

    name: Literal["speech_folder"]
    root: Path
    """Folder with a folder for each word, and the lists."""
    words: tuple[str, ...] | None = Field(None, min_length=2)
    """Word folders in label order, the others are left out; null: all of them, sorted."""
    sample_rate: int = Field(16_000, ge=4_000, le=48_000)
    """Samples a second that every recording is resampled to."""
    seconds: float = Field(1.0, ge=0.1, le=10)
    """Length that every recording is cut or padded with silence to, evenly at both ends."""
    validation_fraction: float = Field(0.1, gt=0, lt=0.9)
    """Share of the training recordings held out for scoring and selection (stratified), where there is no
    validation_list.txt."""
    front_end: FrontEndSettings = FrontEndSettings()
    """What networks see of a recording."""

    @property
    def samples(self) -> int:
        """Samples L of every recording."""
        return round(self.seconds * self.sample_rate)

    @property
    def window(self) -> int:
        """Samples of a frame."""
        return round(self.front_end.window_ms * self.sample_rate / 1000)

    @property
    def stride(self) -> int:
        """Samples from a frame to the next."""
        return round(self.front_end.stride_ms * self.sample_rate / 1000)

    @property
    def feature_shape(self) -> tuple[int, int, int]:
        """(1, T, F): frames that lie in the recording as a whole, features of each."""
        return 1, 1 + (self.samples - self.window) // self.stride, self.front_end.width

    @property
    def high_hz(self) -> float:
        """Upper edge of the highest mel band."""
        return self.sample_rate / 2 if self.front_end.high_hz is None else self.front_end.high_hz

    @model_validator(mode="after")
    def _features_fit_the_recording(self) -> "SpeechFolder":
        nyquist = self.sample_rate / 2
        if not self.front_end.low_hz < self.high_hz <= nyquist:
            raise ValueError(
                f"front_end: low_hz {self.front_end.low_hz:g} must be below high_hz {self.high_hz:g}, and that at most "
                f"half the sample rate, {nyquist:g}"
            )
        if self.samples < self.window + 3 * self.stride:
            raise ValueError(f"seconds {self.seconds:g} has fewer than 4 frames; raise it or lower window_ms")
        return self


class Augmentation(Settings):
    """Random changes of every training image, new in every epoch. Recordings take `time_shift` alone."""

    crop_padding: int = Field(4, ge=0, le=64)
    """Pad by this many black pixels, then crop back at a random place."""
    flip: bool = False
    """Mirror left-right with probability one half; not for digits or letters."""
    time_shift: int = Field(0, ge=0, le=64)
    """Of recordings: move by up to so many frames, earlier or later; the frame at the end is repeated."""


def check_augmentation(source: Source, augmentation: Augmentation, part: str) -> None:
    """Raises ValueError, with the field of `part`, where an augmentation makes no sense for images of `source`."""
    for field, value in augmentation:
        if value and field not in source.augmentations:
            wanted = ", ".join(sorted(source.augmentations))
            raise ValueError(
                f"{part}.augmentation.{field}: {value} is not for this data set, which takes {wanted}; set it to "
                f"{str(type(value)(0)).lower()}"
            )
