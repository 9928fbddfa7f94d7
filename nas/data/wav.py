"""One WAV file as samples: any rate, bit depth and number of channels to mono int16 of one rate and length.

scipy reads PCM of 8 to 64 bits and floats, which covers what speech commands come in, and is a dependency already;
soundfile would add FLAC and Ogg, and a C library with them.
"""

import math
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nas.base.errors import DataError
from nas.data.settings import SpeechFolder

FULL = 32768
"""What an amplitude of 1 is stored as."""


class Wav(NamedTuple):
    """A recording as it is used, and facts of its file."""

    samples: np.ndarray
    """(L,) int16."""
    rate: int
    """Samples a second in the file."""
    seconds: float
    """Length in the file."""


def read_wav(path: Path, settings: SpeechFolder) -> Wav:
    """Recording at `path`.

    Channels are averaged, other rates resampled by a polyphase filter (scipy's: low-pass, Kaiser window, β = 5), then
    both ends cut or padded with silence alike. Amplitudes beyond 1, which float files may have, are cut off.
    Raises DataError, with the file's name, whatever is wrong with it.
    """
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks that are not samples
            rate, samples = wavfile.read(path)
        mono = amplitudes(samples)
        if not len(mono):
            raise ValueError("it has no samples")
        if not np.isfinite(mono).all():
            raise ValueError("samples are not finite")
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} cannot be read as a WAV file ({reason}); repair or remove it") from error
    fitted = fit(resampled(mono, rate, settings.sample_rate), settings.samples)
    return Wav(np.rint(fitted * FULL).clip(-FULL, FULL - 1).astype(np.int16), rate, len(mono) / rate)


def amplitudes(samples: np.ndarray) -> np.ndarray:
    """Mean over the channels of `samples` (L,) or (L, channels) of any type, float64; full scale is 1."""
    if samples.dtype.kind == "u":  # 8 bits, silence at 128
        scaled = (samples.astype(np.float64) - 128) / 128
    elif samples.dtype.kind == "i":  # 24 bits come left-justified in 32
        scaled = samples.astype(np.float64) / 2.0 ** (8 * samples.dtype.itemsize - 1)
    else:
        scaled = samples.astype(np.float64)
    return scaled if scaled.ndim == 1 else scaled.mean(1)


def resampled(mono: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """`mono` at `wanted` samples a second in place of `rate`."""
    if rate == wanted:
        return mono
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    found: np.ndarray = resample_poly(mono, wanted // common, rate // common)
    return found


def fit(mono: np.ndarray, length: int) -> np.ndarray:
    """The `length` samples in the middle of `mono`, or all of them with as much silence before as after."""
    missing = length - len(mono)
    if missing > 0:
        return np.pad(mono, (missing // 2, missing - missing // 2))
    return mono[-missing // 2 :][:length]
