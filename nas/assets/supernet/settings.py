"""Every knob of a supernet and its training."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from nas.training import Training


class SupernetTraining(Training):
    """Adversarial training of the shared weights; what is not set is taken from `training`."""

    subnets: int = Field(2, ge=0, le=64)
    """Random subnets in every step, beside the largest and the smallest (the sandwich rule, Yu 2019)."""
    attacked: Literal["subnet", "largest"] = "subnet"
    """Network that a step's adversarial images are made against: each subnet for itself, or the largest for all."""
    distillation: bool = True
    """Whether the others learn from what the largest says of the clean images, in place of the labels."""
    progressive: float = Field(0.5, ge=0, le=1)
    """Part of the training in which choices without an order (kinds of block) are let free: the probability that one
    differs from the largest network's option rises over it from 0 to 1, layer by layer. 0: free from the start."""
    width: float = Field(1.0, ge=1, le=8)
    """Channels of the supernet, as a multiple of the largest network's: its other channels serve no candidate."""
    taken_from: Path | None = None
    """Folder of a run whose supernet is used instead of training one, however it was trained; of the same space, width,
    data and threat."""
