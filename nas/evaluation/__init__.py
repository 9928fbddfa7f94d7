"""Scores of one trained network: accuracy under attack, instability, Lipschitz constants, checks and warnings."""

from nas.evaluation.accuracy import wilson_interval
from nas.evaluation.ladder import Ladder, check_attacks
from nas.evaluation.settings import EvaluationSettings

__all__ = ["EvaluationSettings", "Ladder", "check_attacks", "wilson_interval"]
