"""WAV files of any kind become the same samples, or are refused by name."""

import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from nas.base.errors import DataError
from nas.data.settings import SpeechFolder
from nas.data.wav import Wav, read_wav
from tests.nas.data.files import tone, write_wav

SOURCE = SpeechFolder(name="speech_folder", root=Path("nowhere"), sample_rate=8000, seconds=0.25)  # 2,000 samples


def read(path: Path, samples: np.ndarray, rate: int = 8000) -> Wav:
    """What is read of a file with `samples` of any type."""
    wavfile.write(path / "x.wav", rate, samples)
    return read_wav(path / "x.wav", SOURCE)


def test_sixteen_bits_of_the_right_rate_and_length_stay_as_they_are(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, 2000).astype(np.int16)
    write_wav(tmp_path / "x.wav", samples)
    found = read_wav(tmp_path / "x.wav", SOURCE)
    assert np.array_equal(found.samples, samples)
    assert (found.rate, found.seconds) == (8000, 0.25)


def test_every_bit_depth_gives_the_same_samples(tmp_path: Path) -> None:
    steps = np.arange(-128, 128).repeat(8)[:2000]  # of 8 bits, which all formats hold exactly
    expected = (steps * 256).astype(np.int16)
    assert np.array_equal(read(tmp_path, (steps + 128).astype(np.uint8)).samples, expected)
    assert np.array_equal(read(tmp_path, expected).samples, expected)
    assert np.array_equal(read(tmp_path, (steps * 2**24).astype(np.int32)).samples, expected)
    for kind in (np.float32, np.float64):
        assert np.array_equal(read(tmp_path, (steps / 128).astype(kind)).samples, expected)
    packed = b"".join(struct.pack("<i", step * 2**16)[:3] for step in steps.tolist())
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(packed), b"WAVE", b"fmt ", 16, 1, 1, 8000, 24000, 3, 24,
                       b"data", len(packed))  # fmt: skip
    (tmp_path / "x.wav").write_bytes(head + packed)
    assert np.array_equal(read_wav(tmp_path / "x.wav", SOURCE).samples, expected), "24 bits"


def test_channels_are_averaged(tmp_path: Path) -> None:
    both = np.stack([np.full(2000, 1000), np.full(2000, 3000)], 1).astype(np.int16)
    assert (read(tmp_path, both).samples == 2000).all()


def test_amplitudes_beyond_full_scale_are_cut_off(tmp_path: Path) -> None:
    samples = read(tmp_path, np.where(np.arange(2000) % 2, 1.5, -1.5).astype(np.float32)).samples
    assert set(samples.tolist()) == {32767, -32768}


@pytest.mark.parametrize(("length", "before"), [(1000, 500), (1999, 0), (1, 999), (1997, 1)])
def test_a_short_recording_lies_in_the_middle_of_silence(tmp_path: Path, length: int, before: int) -> None:
    samples = read(tmp_path, np.full(length, 7, np.int16)).samples
    assert samples.shape == (2000,)
    assert np.array_equal(samples.nonzero()[0], np.arange(before, before + length))


@pytest.mark.parametrize(("length", "first"), [(2001, 0), (3000, 500), (2003, 1)])
def test_of_a_long_recording_the_middle_is_kept(tmp_path: Path, length: int, first: int) -> None:
    samples = read(tmp_path, np.arange(length, dtype=np.int16)).samples
    assert np.array_equal(samples, np.arange(first, first + 2000))


@pytest.mark.parametrize("rate", [4000, 11025, 16_000, 44_100])
def test_another_rate_keeps_tones_and_their_loudness(tmp_path: Path, rate: int) -> None:
    found = read(tmp_path, tone(500, 0.25, 0.5, rate).astype(np.float32), rate)
    assert found.rate == rate
    expected = tone(500, 0.25, 0.5, 8000)
    inner = slice(200, -200)  # the filter sees silence beyond the ends
    assert np.abs(found.samples / 32768 - expected)[inner].max() < 0.01


def test_a_tone_that_the_lower_rate_cannot_hold_is_removed_not_folded(tmp_path: Path) -> None:
    found = read(tmp_path, tone(5000, 0.25, 0.5, 16_000).astype(np.float32), 16_000)
    assert np.abs(found.samples[200:-200]).max() < 0.01 * 32768, "5 kHz would come back as 3 kHz"


def mu_law(path: Path) -> None:
    path.write_bytes(struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 46, b"WAVE", b"fmt ", 16, 7, 1, 8000, 8000, 1, 8,
                                 b"data", 10) + b"\0" * 10)  # fmt: skip


WRONG = {
    "text": lambda path: path.write_text("hello", encoding="utf-8"),
    "nothing": lambda path: path.write_bytes(b""),
    "no samples": lambda path: wavfile.write(path, 8000, np.zeros(0, np.int16)),
    "no numbers": lambda path: wavfile.write(path, 8000, np.full(9, np.nan, np.float32)),
    "another code": mu_law,
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_be_read_is_refused_with_the_name_of_the_file(tmp_path: Path, kind: str) -> None:
    WRONG[kind](tmp_path / "broken.wav")
    with pytest.raises(DataError, match=r"broken\.wav cannot be read as a WAV file \(.+\); repair or remove it"):
        read_wav(tmp_path / "broken.wav", SOURCE)
