"""Random streams: every use of chance has its own generator, derived from the run's seed and its purpose."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, *labels: str | int) -> int:
    """63-bit seed for the purpose named by `labels`; independent of every other purpose's."""
    text = json.dumps([seed, *labels])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def make_generator(seed: int, *labels: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Torch generator on `device` for the purpose named by `labels`."""
    import torch

    return torch.Generator(device=device).manual_seed(derive_seed(seed, *labels))
