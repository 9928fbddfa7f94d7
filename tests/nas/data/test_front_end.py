"""Features of a waveform have known values, bounds that no waveform leaves, and true gradients."""

import math
from pathlib import Path
from typing import Any

import pytest
import scipy.fft
import torch
from pydantic import ValidationError
from torch import Tensor

from nas.base.errors import DataError
from nas.data.front_end import FrontEnd, mel_filters
from nas.data.settings import SpeechFolder
from tests.builders import generator

DOUBLE = torch.float64


def settings(rate: int = 8000, seconds: float = 0.5, **features: Any) -> SpeechFolder:
    return SpeechFolder(
        name="speech_folder", root=Path("nowhere"), sample_rate=rate, seconds=seconds,
        front_end={"kind": "log_mel"} | features,  # type: ignore[arg-type]
    )  # fmt: skip


def sine(hertz: float, source: SpeechFolder, amplitude: float = 1.0) -> Tensor:
    time = torch.arange(source.samples, dtype=DOUBLE) / source.sample_rate
    return amplitude * torch.sin(2 * math.pi * hertz * time)[None]


def noise(source: SpeechFolder, count: int = 4) -> Tensor:
    return 2 * torch.rand(count, source.samples, dtype=DOUBLE, generator=generator()) - 1


@pytest.mark.parametrize("window_ms", [32, 40])  # 256 samples, a power of two, and 320 of an FFT of 512
def test_the_power_of_a_frame_is_that_of_its_windowed_samples(window_ms: int) -> None:  # Parseval
    source = settings(window_ms=window_ms)
    front_end, x = FrontEnd(source, DOUBLE), noise(source)
    windowed = x.unfold(1, source.window, source.stride) * front_end.window
    expected = windowed.square().sum(-1) / front_end.window.square().sum()
    torch.testing.assert_close(front_end.power(x).sum(-1), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("amplitude", "decibels"), [(1.0, -3.01), (0.1, -23.01)])
def test_a_sine_has_half_its_squared_amplitude_as_power(amplitude: float, decibels: float) -> None:
    source = settings()
    power = FrontEnd(source, DOUBLE).power(sine(1000, source, amplitude)).sum(-1)
    torch.testing.assert_close(10 * power.log10(), torch.full_like(power, decibels), rtol=0, atol=0.01)


@pytest.mark.parametrize("hertz", [300, 1000, 2500])
def test_a_sine_lands_in_the_mel_band_around_its_frequency(hertz: float) -> None:
    source = settings()
    spectrum = FrontEnd(source, DOUBLE).log_mel(sine(hertz, source))[0]
    low, high = (2595 * math.log10(1 + h / 700) for h in (20, 4000))
    band = round((2595 * math.log10(1 + hertz / 700) - low) / (high - low) * 41) - 1
    assert (spectrum.argmax(1) == band).all()
    far = (torch.arange(40) - band).abs() > 6
    assert (spectrum[:, band] - spectrum[:, far].amax(1)).min() > 0.4, "40 of 80 dB lower elsewhere"


def test_filters_share_each_frequency_between_the_centres_of_the_outer_bands() -> None:
    source = settings()
    filters = mel_filters(source, 512)
    assert filters.shape == (40, 257)
    together = filters.sum(0)
    assert together.max() <= 1 + 1e-12
    hertz = torch.arange(257) * 8000 / 512
    inside = together[(hertz > 60) & (hertz < 3700)]
    torch.testing.assert_close(inside, torch.ones_like(inside))


@pytest.mark.parametrize("kind", ["mfcc", "log_mel"])
def test_no_waveform_leaves_the_bounds_before_anything_is_clipped(kind: str) -> None:
    source = settings(kind=kind, coefficients=40)
    loudest = [torch.ones(1, source.samples, dtype=DOUBLE), noise(source).sign(), sine(700, source).sign(),
               sine(2000, source).sign(), torch.zeros(1, source.samples, dtype=DOUBLE)]  # fmt: skip
    front_end = FrontEnd(source, DOUBLE)
    spectra = front_end.log_mel(torch.cat(loudest))
    assert spectra.min() >= 0
    assert 0.9 < spectra.max() <= 1
    exact = scipy.fft.dct(spectra.numpy(), norm="ortho") / math.sqrt(40)
    assert abs(exact[..., 1:]).max() <= 0.5


@pytest.mark.parametrize(("kind", "expected"), [("log_mel", [0.0] * 10), ("mfcc", [0.0] + [0.5] * 9)])
def test_silence_is_the_floor_exactly(kind: str, expected: list[float]) -> None:
    source = settings(kind=kind)
    features = FrontEnd(source)(torch.zeros(2, source.samples))
    assert torch.equal(features[..., :10], torch.tensor(expected).expand_as(features[..., :10]))


def test_ten_decibels_are_an_eighth_of_a_range_of_eighty() -> None:
    source = settings()
    quiet, loud = (FrontEnd(source, DOUBLE).log_mel(noise(source) * scale) for scale in (0.3, 0.3 * math.sqrt(10)))
    torch.testing.assert_close(loud - quiet, torch.full_like(loud, 10 / 80), rtol=0, atol=2e-4)  # the floor


def test_cosine_coefficients_are_those_of_scipy() -> None:
    source = settings(kind="mfcc", coefficients=13)
    front_end, x = FrontEnd(source, DOUBLE), noise(source)
    expected = torch.from_numpy(scipy.fft.dct(front_end.log_mel(x).numpy(), type=2, norm="ortho"))[..., :13]
    expected = expected / math.sqrt(40) + torch.tensor([0.0] + [0.5] * 12, dtype=DOUBLE)
    torch.testing.assert_close(front_end(x)[:, 0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["mfcc", "log_mel"])
def test_the_gradient_is_that_of_finite_differences(kind: str) -> None:
    source = settings(4000, 0.1, kind=kind, window_ms=20, stride_ms=10, mel_bands=6, coefficients=4)
    x = 0.3 * noise(source, 2)
    assert torch.autograd.gradcheck(FrontEnd(source, DOUBLE), x.requires_grad_(), eps=1e-7, atol=1e-5)


def test_a_waveform_that_is_late_by_a_stride_is_late_by_a_frame() -> None:
    source = settings()
    x = noise(source)
    spectra, later = FrontEnd(source, DOUBLE)(x), FrontEnd(source, DOUBLE)(x.roll(source.stride, 1))
    torch.testing.assert_close(later[:, :, 1:], spectra[:, :, :-1])


@pytest.mark.parametrize("rate", [8000, 16_000])
def test_the_input_of_ds_cnn_has_49_frames_of_10_coefficients(rate: int) -> None:
    source = settings(rate, 1.0, kind="mfcc")
    assert FrontEnd(source)(torch.zeros(3, 1, 100, rate // 100)).shape == (3, 1, 49, 10) == (3, *source.feature_shape)


def test_float32_is_within_a_hundredth_of_a_stored_step() -> None:
    source = settings(kind="mfcc")
    x = 0.5 * noise(source)
    single, double = FrontEnd(source)(x.float()), FrontEnd(source, DOUBLE)(x)
    assert (single - double).abs().max() < 0.01 / 255


def test_more_bands_than_frequencies_are_refused() -> None:
    with pytest.raises(DataError, match=r"mel_bands: of 100 bands"):
        FrontEnd(settings(mel_bands=100, window_ms=10))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"coefficients": 41, "kind": "mfcc"}, "must not exceed mel_bands"), ({"high_hz": 5000}, "half the sample rate"),
     ({"low_hz": 3000, "high_hz": 2000}, "must be below"),
     ({"window_ms": 200, "stride_ms": 200}, "fewer than 4 frames")],
)  # fmt: skip
def test_impossible_features_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        settings(**wrong)
