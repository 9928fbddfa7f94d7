"""From the waveform to what a network sees: log-mel spectrum or its cosine coefficients, differentiable, in [0, 1].

Letters: N recordings of L samples; T frames of W samples, FFT of n ≥ W points, window w; B mel bands, F coefficients.

    P_k = c_k |FFT_n(w ⊙ x)_k|² / (n Σ w²)        power at frequency k; c = 2, but 1 at 0 and at half the sample rate
    m_b = Σ_k M_bk P_k                            triangular filters M of peak 1, on the mel scale
    s_b = ln(1 + m_b / f) / ln(1 + 1 / f)         log-mel in [0, 1]; f = 10^(floor_db / 10)
    c_j = (D s)_j / √B + ½ [j > 0]                cosine coefficients in [0, 1]; D the orthonormal DCT-II

The bounds hold for every waveform in [−1, 1], without clipping: by Parseval Σ P_k = Σ (w x)² / Σ w² ≤ 1, and filters
of peak 1 share each frequency, so m_b ≤ 1; rows of D have norm 1, so |D_j (s − ½)| ≤ √B / 2. All coefficients have one
scale: a distance of ε between coefficients is at least one of ε √B between log-mel spectra, and s changes by 1 over
−floor_db decibels, about.

Sources: mel scale 2595 log10(1 + hertz / 700) (O'Shaughnessy 1987), filters as HTK's; cosine coefficients: Davis &
Mermelstein 1980. Deviations: the floor is added to the power, not a minimum of it, so that the gradient is never cut
off; nothing is emphasised, dithered or liftered.
"""

import math

import torch
from torch import Tensor, nn

from nas.base.errors import DataError
from nas.data.settings import SpeechFolder


class FrontEnd(nn.Module):
    """Features (N, 1, T, F) in [0, 1] of waveforms in [−1, 1], differentiable everywhere between these bounds."""

    window: Tensor
    shares: Tensor
    filters: Tensor
    cosines: Tensor

    def __init__(self, settings: SpeechFolder, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.settings, own = settings, settings.front_end
        self.points = 2 ** math.ceil(math.log2(settings.window))
        """Of the FFT, n."""
        self.floor = 10 ** (own.floor_db / 10)
        """Power f that counts as silence."""
        kept = own.coefficients if own.kind == "mfcc" else 0
        window = torch.hann_window(settings.window, dtype=torch.float64)
        shares = torch.full((self.points // 2 + 1,), 2, dtype=torch.float64)
        shares[0] = shares[-1] = 1
        self.register_buffer("window", window.to(dtype))
        self.register_buffer("shares", (shares / (self.points * window.square().sum())).to(dtype))
        self.register_buffer("filters", mel_filters(settings, self.points).to(dtype))
        self.register_buffer("cosines", cosines(own.mel_bands)[:kept].to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Features of waveforms `x` (N, …), each of L samples in any shape."""
        found = self.log_mel(x.flatten(1))
        if len(self.cosines):
            found = found @ (self.cosines.T / math.sqrt(self.settings.front_end.mel_bands))
            found = torch.cat([found[..., :1], found[..., 1:] + 0.5], -1)
        bounded: Tensor = found.clamp(0, 1)[:, None]  # a bound is passed by rounding alone
        return bounded

    def log_mel(self, x: Tensor) -> Tensor:
        """Log-mel spectra s (N, T, B) of waveforms (N, L)."""
        powers: Tensor = torch.log1p(self.power(x) @ self.filters.T / self.floor)
        return powers / math.log1p(1 / self.floor)

    def power(self, x: Tensor) -> Tensor:
        """Power P (N, T, n / 2 + 1) of each frame of waveforms (N, L); its sum is at most the largest x²."""
        spectrum = torch.fft.rfft(x.unfold(1, self.settings.window, self.settings.stride) * self.window, self.points)
        power: Tensor = (spectrum.real.square() + spectrum.imag.square()) * self.shares
        return power


def mel_filters(settings: SpeechFolder, points: int) -> Tensor:
    """Filters M (B, n / 2 + 1) for an FFT of `points`, float64: triangles of peak 1 from centre to centre.

    Raises DataError where a band is so narrow that no frequency of the FFT is in it.
    """
    own = settings.front_end
    low, high = (2595 * math.log10(1 + hertz / 700) for hertz in (own.low_hz, settings.high_hz))
    mel = torch.linspace(low, high, own.mel_bands + 2, dtype=torch.float64)
    edges = (700 * (10 ** (mel / 2595) - 1))[:, None]
    hertz = torch.arange(points // 2 + 1, dtype=torch.float64) * settings.sample_rate / points
    rise = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rise, fall).clamp_min(0)
    if not bool(filters.sum(1).all()):
        raise DataError(
            f"data.front_end.mel_bands: of {own.mel_bands} bands the lowest are narrower than the frequencies of a "
            f"frame of {own.window_ms} ms are apart; use fewer bands, a longer window_ms or a higher low_hz"
        )
    return filters


def cosines(bands: int) -> Tensor:
    """Orthonormal DCT-II D (B, B), float64: D_jb = √(2 / B) cos(π j (b + ½) / B), and √(1 / B) for j = 0."""
    j, b = torch.arange(bands, dtype=torch.float64)[:, None], torch.arange(bands, dtype=torch.float64)
    matrix = math.sqrt(2 / bands) * torch.cos(math.pi * j * (b + 0.5) / bands)
    matrix[0] = math.sqrt(1 / bands)
    return matrix
