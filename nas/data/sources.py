"""The data sets themselves: settings of each, and its images as it delivers them (train or test part).

Free of torch, so that a config is read and checked at once: a function that loads images imports it.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.base.errors import DataError
from nas.base.registry import ChosenFrom
from nas.data.raw import Part, Raw, Survey
from nas.data.settings import Cifar10, Digits, ImageFolder, Simulated, Source, SpeechFolder, Svhn


def _digits(settings: Digits, part: Part) -> Raw:
    import torch

    from nas.data.split import Split, stratified_subset

    images, labels = _digits_of_sklearn()
    pixels = np.rint(images * (255 / 16)).astype(np.uint8)  # the values are 0 … 16
    everything = Split(torch.from_numpy(pixels)[:, None], torch.from_numpy(labels).long())
    test, train = stratified_subset(everything, len(everything) // 5, 0, "digits/test")
    return Raw(train if part == "train" else test, tuple(str(digit) for digit in range(10)))


def _digits_of_sklearn() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The 1,797 images (N, 8, 8) and labels that come with scikit-learn, whose import alone takes over a second."""
    package = find_spec("sklearn")
    file = Path(package.origin or "").parent / "datasets" / "data" / "digits.csv.gz" if package else Path()
    if not file.is_file():
        from sklearn.datasets import load_digits

        bunch = load_digits()
        return bunch.images, bunch.target
    rows = np.loadtxt(file, delimiter=",")
    return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(np.int64)


def _torchvision(settings: Cifar10 | Svhn, part: Part) -> Raw:
    import torch
    from torchvision import datasets

    from nas.data.split import Split

    try:
        if isinstance(settings, Cifar10):
            cifar = datasets.CIFAR10(settings.root, train=part == "train", download=settings.download)
            images = torch.from_numpy(cifar.data).permute(0, 3, 1, 2).contiguous()
            return Raw(Split(images, torch.tensor(cifar.targets)), tuple(cifar.classes))
        svhn = datasets.SVHN(settings.root, split=part, download=settings.download)
        labels = torch.from_numpy(svhn.labels).long()
        return Raw(Split(torch.from_numpy(svhn.data), labels), tuple(str(digit) for digit in range(10)))
    except Exception as error:  # of the decoders, too
        raise DataError(_absent(settings, str(error) or type(error).__name__)) from error


def _absent(settings: Cifar10 | Svhn, reason: str) -> str:
    wanted = "cannot be downloaded to" if settings.download else "not found in"
    return (
        f"data set {settings.name} {wanted} {settings.root.resolve()} ({reason}); point data.root to it (evaluate "
        f"and retrain: --data ROOT), or set data.download: true (--set data.download=true) on a machine that "
        f"reaches its server"
    )


def _nothing_known(settings: Source, class_names: Sequence[str]) -> Survey:
    return Survey()


def _survey_svhn(settings: Svhn, class_names: Sequence[str]) -> Survey:
    from torchvision.datasets import SVHN

    path = settings.root / SVHN.split_list["test"][1]
    if not settings.download and not path.is_file():
        raise DataError(_absent(settings, f"no {path.name}"))
    return Survey()


def _image_folder(settings: ImageFolder, part: Part) -> Raw:
    from nas.data.image_folder import load_image_folder

    return load_image_folder(settings, part)


def _survey_image_folder(settings: ImageFolder, class_names: Sequence[str]) -> Survey:
    from nas.data.image_folder import survey_image_folder

    return survey_image_folder(settings, class_names)


def _speech_folder(settings: SpeechFolder, part: Part) -> Raw:
    from nas.data.speech_folder import load_speech_folder

    return load_speech_folder(settings, part)


def _survey_speech_folder(settings: SpeechFolder, class_names: Sequence[str]) -> Survey:
    from nas.data.speech_folder import survey_speech_folder

    return survey_speech_folder(settings, class_names)


def _simulated(settings: Simulated, part: Part) -> Raw:
    from nas.data.simulated import load_simulated

    return load_simulated(settings, part)


class SourceEntry(NamedTuple):
    """Settings class, `load(settings, part)` and `survey(settings, class_names)` of a data set."""

    settings: type[Source]
    load: Callable[..., Raw]
    survey: Callable[..., Survey] = _nothing_known
    """What can be known of the test part without decoding it. Raises DataError where it is not there."""


DATASETS: dict[str, SourceEntry] = {
    "digits": SourceEntry(Digits, _digits),
    "cifar10": SourceEntry(Cifar10, _torchvision),
    "svhn": SourceEntry(Svhn, _torchvision, _survey_svhn),
    "image_folder": SourceEntry(ImageFolder, _image_folder, _survey_image_folder),
    "speech_folder": SourceEntry(SpeechFolder, _speech_folder, _survey_speech_folder),
    "simulated": SourceEntry(Simulated, _simulated),
}
DataSettings = Annotated[
    Digits | Cifar10 | Svhn | ImageFolder | SpeechFolder | Simulated,
    ChosenFrom(DATASETS, "data set", lambda entry: entry.settings),
]
"""Settings of any registered data set, told apart by `name`."""

__all__ = [
    "DATASETS",
    "Cifar10",
    "DataSettings",
    "Digits",
    "ImageFolder",
    "Simulated",
    "Source",
    "SourceEntry",
    "SpeechFolder",
    "Svhn",
]
