"""The user's own images: settings and folders to tensors, with warnings of what looks wrong."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from nas.base.errors import DataError
from nas.data.decoding import decode, image_suffixes, is_image
from nas.data.folders import (
    NAMED,
    FileKind,
    Listing,
    class_folders,
    compare_classes,
    listing,
    missing_folder,
    some,
    twins,
    validation_folders,
)
from nas.data.raw import Part, Raw, Survey
from nas.data.settings import ImageFolder
from nas.data.split import Split, limited_order

IMAGES = FileKind("an image", "no image that Pillow reads", is_image, image_suffixes)


def load_image_folder(settings: ImageFolder, part: Part) -> Raw:
    """Images of one part. A limit is applied before decoding, so that a small subset of a large folder loads fast."""
    found, class_names = _listed(settings, part)
    files = [(path, label) for label, name in enumerate(class_names) for path in found.files.get(name, ())]
    labels = torch.tensor([label for _, label in files], dtype=torch.int64)
    limit = settings.limit if part == "train" else settings.test_limit
    chosen = limited_order(labels, None, limit, settings.split_seed, part)
    paths, labels = [files[index][0] for index in chosen.tolist()], labels[chosen]
    images, bits = _decoded(paths, settings, part)
    warnings = found.warnings
    if part == "train":
        used = f"{bits} of 16 bits are used: grey images are scaled by {2**bits - 1:,} (data.bits)"
        warnings = (*warnings, *([used] if bits < 16 else []), *_constant(images, labels, paths, class_names))
    settled = settings.model_copy(update={"bits": bits, "classes": class_names})
    return Raw(Split(torch.from_numpy(images), labels), class_names, warnings, settled)


def survey_image_folder(settings: ImageFolder, class_names: Sequence[str]) -> Survey:
    """Test images of each class, of which none is decoded. Raises DataError where there are none to test on."""
    found, _ = _listed(settings.model_copy(update={"classes": tuple(class_names)}), "test")
    counts = {name: len(found.files.get(name, ())) for name in class_names}
    absent = [name for name, count in counts.items() if not count]
    gap = f"{found.folder} holds no image of {some(absent)}: test results will say nothing of {_these(absent)}"
    notes = [gap] if absent else []
    notes += [
        f"{folder} is not read: validation images are held out of train/"
        for folder in validation_folders(settings.root)
    ]
    return Survey(counts, (*found.warnings, *notes))


def _listed(settings: ImageFolder, part: Part) -> tuple[Listing, tuple[str, ...]]:
    """Files of `part` and the class names, checked against each other. Raises DataError."""
    training, folder = settings.root / "train", settings.root / part
    if not folder.is_dir():
        raise DataError(missing_folder(settings.root, part))
    found = listing(folder, IMAGES)
    if settings.classes is None:
        class_names = tuple(found.files) if part == "train" else class_folders(training)
    else:
        class_names = settings.classes
        if part == "test" and training.is_dir():
            compare_classes(class_folders(training), class_names, training, every=True)
    if len(class_names) < 2:
        raise DataError(f"{training} holds {len(class_names)} class folders, at least 2 are needed")
    if same := twins(class_names, "normalisation"):
        raise DataError(f"the class folders {same[0]!a} and {same[1]!a} of {folder} look the same and differ in their "
                        f"Unicode normalisation only: rename or merge them")  # fmt: skip
    compare_classes(found.files, class_names, folder, every=part == "train")
    empty = [name for name in class_names if not found.files.get(name)]
    if len(empty) == len(class_names) or (empty and part == "train"):
        left_out = "".join(f"; {text}" for text in found.warnings)
        raise DataError(f"{folder / empty[0]} holds {IMAGES.unread}; add some or remove it{left_out}")
    same = twins(class_names, "case") if part == "train" else ()
    note = [f"the classes {' and '.join(same)} differ in upper and lower case only"] if same else []
    return Listing(folder, found.files, (*found.warnings, *note)), class_names


def _these(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _decoded(paths: Sequence[Path], settings: ImageFolder, part: Part) -> tuple[np.ndarray, int]:
    """Images (N, C, H, W) as uint8, and the bits that 16-bit images were scaled by: one range for all of them."""
    images = np.empty((len(paths), settings.channels, settings.image_size, settings.image_size), dtype=np.uint8)
    deep: dict[int, np.ndarray] = {}
    peak = 0
    for index, path in enumerate(paths):
        pixels = decode(path, settings)
        if pixels.values.dtype == np.uint8:
            images[index] = pixels.values
        else:
            deep[index] = pixels.values
            peak = max(peak, pixels.peak)
    bits = settings.bits
    if bits is None and deep and part == "test":
        bits = _bits_of_training(settings)
    if bits is None:
        bits = max(peak.bit_length(), 8) if deep else 16
    for index, values in deep.items():
        images[index] = np.rint(values * (255 / (2**bits - 1))).clip(0, 255)
    return images, bits


def _bits_of_training(settings: ImageFolder) -> int:
    """Range of the training images: test images are scaled alike. Raises DataError where they are not there."""
    try:
        found = load_image_folder(settings, "train").settings
    except DataError as error:
        raise DataError(
            f"the range of 16-bit images is that of the training images: set data.bits ({error})"
        ) from error
    assert isinstance(found, ImageFolder)
    assert found.bits is not None
    return found.bits


def _constant(
    images: np.ndarray, labels: torch.Tensor, paths: Sequence[Path], class_names: Sequence[str]
) -> Iterable[str]:
    """Warnings of images that are one colour throughout, and of classes whose images are all the same picture."""
    flat = images.reshape(len(images), images.shape[1], -1)
    constant = np.flatnonzero((flat.max(2) == flat.min(2)).all(1))
    if len(constant):
        names = [f"{paths[index].parent.name}/{paths[index].name}" for index in constant[:NAMED]]
        more = f" and {len(constant) - NAMED:,} more" if len(constant) > NAMED else ""
        yield (
            f"{len(constant):,} of {len(images):,} images have one colour throughout: {', '.join(names)}{more}; look "
            f"at them, and at data.background where they are transparent"
        )
    same = [
        name
        for label, name in enumerate(class_names)
        if len(own := images[(labels == label).numpy()]) > 1 and (own == own[:1]).all()
    ]
    if same:
        yield f"all images of {some(same)} are the same picture: nothing can be learned of {_these(same)}"
    if images.max() < DARK:
        yield f"no pixel is brighter than {images.max()} of 255: the images are nearly black"


DARK = 32
"""Value of 255 below which a whole data set is called nearly black."""
