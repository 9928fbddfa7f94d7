"""Recordings to features as they are stored, and back to the recordings where an attack asks for them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isqrt
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nas.base.errors import DataError
from nas.data.domain import Amplitudes, Domain
from nas.data.front_end import FrontEnd
from nas.data.settings import SpeechFolder
from nas.data.wav import read_wav

AT_ONCE = 64
"""Recordings in memory as waveforms while their features are computed."""


class Loaded(NamedTuple):
    """N recordings as features, and what there is to say about each."""

    images: Tensor
    """Features (N, 1, T, F) uint8."""
    rates: Sequence[int]
    """Samples a second in the file."""
    seconds: Sequence[float]
    """Length in the file."""
    digests: Sequence[str]
    """Hash of the samples; SILENCE where all are 0."""


SILENCE = "silence"


def load_recordings(settings: SpeechFolder, files: Sequence[str]) -> Loaded:
    """Features of the recordings `files` in the folder of `settings`. Raises DataError where one cannot be read."""
    front_end = FrontEnd(settings, torch.float64)
    images = torch.empty((len(files), *settings.feature_shape), dtype=torch.uint8)
    rates, seconds, digests = [], [], []
    for start in range(0, len(files), AT_ONCE):
        wavs = [read_wav(settings.root / name, settings) for name in files[start : start + AT_ONCE]]
        samples = torch.from_numpy(np.stack([wav.samples for wav in wavs]))
        images[start : start + len(wavs)] = stored_features(front_end, samples)
        rates += [wav.rate for wav in wavs]
        seconds += [wav.seconds for wav in wavs]
        digests += [_digest(wav.samples) for wav in wavs]
    return Loaded(images, rates, seconds, digests)


@torch.no_grad()
def stored_features(front_end: FrontEnd, samples: Tensor) -> Tensor:
    """255 times the features of int16 `samples` (N, …), rounded: uint8 (N, 1, T, F).

    In float64, in which no order of summation moves a feature across the border between two of 256 values.
    """
    features: Tensor = front_end(Amplitudes().to_input(samples, torch.float64))
    return (255 * features).round().to(torch.uint8)


def _digest(samples: np.ndarray) -> str:
    return hashlib.sha256(samples.tobytes()).hexdigest() if samples.any() else SILENCE


@dataclass(frozen=True)
class Recordings:
    """The recordings that features were computed from, still on disk: an `Origin` (nas/data/split.py)."""

    settings: SpeechFolder
    files: tuple[str, ...]
    """All of a part, in the folder of `settings`."""
    index: Tensor
    """Which of them these are, (N,) int64."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(1, H, W) with H · W = L and H the largest divisor up to √L: Square takes rows of samples, no single ones."""
        length = self.settings.samples
        height = next(rows for rows in range(isqrt(length), 0, -1) if length % rows == 0)
        return 1, height, length // height

    def __getitem__(self, index: Tensor | slice) -> "Recordings":
        """Of these alone."""
        return replace(self, index=self.index[index.cpu() if isinstance(index, Tensor) else index])

    def load(self, images: Tensor) -> tuple[Tensor, Domain]:
        """Samples (N, 1, H, W) int16. Raises DataError where the features `images` are not those of the files."""
        files, front_end = [self.files[index] for index in self.index.tolist()], FrontEnd(self.settings, torch.float64)
        samples = torch.empty((len(files), self.settings.samples), dtype=torch.int16)
        for row, name in enumerate(files):
            samples[row] = torch.from_numpy(read_wav(self.settings.root / name, self.settings).samples)
        for part, features in zip(torch.split(samples, AT_ONCE), torch.split(images.cpu(), AT_ONCE), strict=True):
            if not torch.equal(stored_features(front_end, part), features):
                raise DataError(
                    f"recordings in {self.settings.root.resolve()} have changed since they were read: their features "
                    f"are others; restore them"
                )
        return samples.view(-1, *self.shape), Amplitudes()

    def front_end(self) -> nn.Module:
        """Waveforms to features, float32."""
        return FrontEnd(self.settings)
