"""One image file as pixels: turned upright, composited on one colour, resized."""

import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nas.base.errors import DataError
from nas.data.settings import ImageFolder

if TYPE_CHECKING:
    from PIL.Image import Image

UNREAD = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
"""Formats that Pillow recognises but does not decode, or decodes with other programs of the system."""


class Pixels(NamedTuple):
    """A decoded image."""

    values: np.ndarray
    """(C, H, W), uint8 or, for grey of more than 8 bits, uint16."""
    peak: int
    """Largest 16-bit value of the file before it was resized; 0 for 8 bits."""


@cache
def _formats() -> tuple[str, ...]:
    from PIL import Image

    Image.init()
    return tuple(sorted(Image.OPEN.keys() - UNREAD))


@cache
def image_suffixes() -> frozenset[str]:
    """Suffixes of the formats that are read, in lower case."""
    from PIL import Image

    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in _formats())


def is_image(path: Path) -> bool:
    """Whether `path` is an image: by its suffix or else by its first bytes."""
    from PIL import Image

    if path.suffix.lower() in image_suffixes():
        return True
    signed = [name for name in _formats() if Image.OPEN[name][1] is not None]  # the others accept nearly anything
    try:
        with Image.open(path, formats=signed):
            return True
    except Image.DecompressionBombError:
        return True
    except Exception:
        return False


def decode(path: Path, settings: ImageFolder) -> Pixels:
    """Image at `path`, its first frame. Raises DataError, with the file's name, whatever the decoder raises."""
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # twice that size is an error
            with Image.open(path, formats=_formats()) as file:
                upright = ImageOps.exif_transpose(file)
                is_deep = file.mode.startswith("I;16") or (file.mode == "I" and file.format == "PPM")
                return _deep(upright, settings) if is_deep else _plain(upright, settings)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} cannot be read as an image ({reason}); repair or remove it") from error


def _plain(image: "Image", settings: ImageFolder) -> Pixels:
    """Image of 8 bits."""
    from PIL import Image

    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of 32 bits (mode {image.mode}) have no known range: save it with 8 or 16 bits")
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, settings.background)
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    image = _resized(image.convert("RGB" if settings.channels == 3 else "L"), settings)
    size = (settings.image_size, settings.image_size)
    return Pixels(np.asarray(image).reshape(*size, settings.channels).transpose(2, 0, 1), 0)


def _deep(image: "Image", settings: ImageFolder) -> Pixels:
    """Grey image of up to 16 bits; Pillow's own conversion to 8 bits would cut the values off at 255."""
    from PIL import Image

    if image.has_transparency_data:
        raise ValueError("16-bit grey with a transparent value is not supported: save it without transparency")
    values = np.asarray(image).astype(np.float32)
    grey = np.asarray(_resized(Image.fromarray(values), settings))
    grey = np.rint(grey).clip(0, 65535).astype(np.uint16)
    return Pixels(np.broadcast_to(grey, (settings.channels, *grey.shape)), int(values.max()))


def _resized(image: "Image", settings: ImageFolder) -> "Image":
    from PIL import Image

    size = (settings.image_size, settings.image_size)
    return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)
