"""What a training step is handed."""

from dataclasses import dataclass

from torch import Tensor

from nas.data.domain import Moves


@dataclass(frozen=True)
class Batch:
    """Images of one step. N images in the batch."""

    x: Tensor
    """Augmented pixels (N, C, H, W)."""
    y: Tensor
    """Labels (N,)."""
    indices: Tensor
    """Which training images they are (N,)."""
    moves: Moves
    """Crop and flip that the pixels went through."""
