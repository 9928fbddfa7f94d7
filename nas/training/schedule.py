"""Learning-rate schedules as pure functions of progress."""

from collections.abc import Callable
from math import cos, pi
from typing import Literal

Schedule = Literal["cosine", "one_cycle", "piecewise", "late_drops", "constant"]


def _cosine(progress: float) -> float:
    return 0.5 * (1 + cos(pi * progress))


def _one_cycle(progress: float) -> float:
    """Cosine up from 1/25 over the first 30 %, cosine down to 0 (Smith 2018)."""
    if progress < 0.3:
        return 1 - (1 - 1 / 25) * _cosine(progress / 0.3)
    return _cosine((progress - 0.3) / 0.7)


def _piecewise(progress: float) -> float:
    """One tenth after half, one hundredth after three quarters (Rice 2020)."""
    return 1.0 if progress < 0.5 else 0.1 if progress < 0.75 else 0.01


def _late_drops(progress: float) -> float:
    """One tenth after 10/11, one hundredth after 21/22: epochs 100 and 105 of 110 (Pang 2021)."""
    return 1.0 if progress < 10 / 11 else 0.1 if progress < 21 / 22 else 0.01


SCHEDULES: dict[Schedule, Callable[[float], float]] = {
    "cosine": _cosine,
    "one_cycle": _one_cycle,
    "piecewise": _piecewise,
    "late_drops": _late_drops,
    "constant": lambda progress: 1.0,
}


def learning_rate(peak: float, schedule: Schedule, epoch: float, epochs: int, warmup_epochs: float) -> float:
    """Learning rate at (fractional) `epoch` of `epochs`, after a linear warm-up of `warmup_epochs`."""
    if epoch < warmup_epochs:
        return peak * epoch / warmup_epochs
    progress = (epoch - warmup_epochs) / max(epochs - warmup_epochs, 1e-9)
    return peak * SCHEDULES[schedule](min(progress, 1.0))
