"""Scores of one trained network: accuracy under attack, instability, Lipschitz constants, checks and warnings."""

from nas.evaluation.certified import CertifiedBound, certified_lipschitz
from nas.evaluation.evaluate import Scored, evaluate, score
from nas.evaluation.ladder import Ladder, check_attacks
from nas.evaluation.lipschitz import lipschitz_bound_log10
from nas.evaluation.scores import ImageScores, load_scores, save_scores
from nas.evaluation.settings import EvaluationSettings

__all__ = [
    "CertifiedBound",
    "EvaluationSettings",
    "ImageScores",
    "Ladder",
    "Scored",
    "certified_lipschitz",
    "check_attacks",
    "evaluate",
    "lipschitz_bound_log10",
    "load_scores",
    "save_scores",
    "score",
]
