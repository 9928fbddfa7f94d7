"""Adversarial training of one network."""

from nas.training.settings import Training

__all__ = ["Training"]
