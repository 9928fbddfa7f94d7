"""Data sets as uint8 tensors: training, validation (held out of training) and test."""

from nas.data.augmentation import Augmentation, augment
from nas.data.datasets import DataSettings, SearchData, load_search_data, load_test_data
from nas.data.sources import DATASETS
from nas.data.split import Split

__all__ = [
    "DATASETS",
    "Augmentation",
    "DataSettings",
    "SearchData",
    "Split",
    "augment",
    "load_search_data",
    "load_test_data",
]
