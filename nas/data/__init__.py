"""Data sets as uint8 tensors: training, validation (held out of training) and test."""

from nas.data.settings import Augmentation
from nas.data.sources import DataSettings

__all__ = ["Augmentation", "DataSettings"]
