"""Adversarial training of one network."""

from nas.training.loop import EpochLog, TrainingState, scored_network, start_training, train_epoch
from nas.training.settings import Training

__all__ = ["EpochLog", "Training", "TrainingState", "scored_network", "start_training", "train_epoch"]
