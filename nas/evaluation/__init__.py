"""Scores of one trained network: accuracy under attack, instability, Lipschitz constants, with warnings."""

from nas.evaluation.certified import CertifiedBound, certified_lipschitz
from nas.evaluation.evaluate import EvaluationSettings, evaluate
from nas.evaluation.lipschitz import lipschitz_bound_log10

__all__ = ["CertifiedBound", "EvaluationSettings", "certified_lipschitz", "evaluate", "lipschitz_bound_log10"]
