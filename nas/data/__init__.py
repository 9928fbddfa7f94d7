"""Data sets as uint8 tensors: training, validation (held out of training) and test."""

from nas.data.augmentation import Augmentation, augment
from nas.data.datasets import (
    SearchData,
    absent_classes,
    at_root,
    check_same_classes,
    load_search_data,
    load_test_data,
)
from nas.data.settings import DataSettings
from nas.data.sources import DATASETS
from nas.data.split import Split

__all__ = [
    "DATASETS",
    "Augmentation",
    "DataSettings",
    "SearchData",
    "Split",
    "absent_classes",
    "at_root",
    "augment",
    "check_same_classes",
    "load_search_data",
    "load_test_data",
]
