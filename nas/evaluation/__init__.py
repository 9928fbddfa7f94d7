"""Scores of one trained network: accuracy under attack, instability, Lipschitz constants, checks and warnings."""

from nas.evaluation.accuracy import wilson_interval
from nas.evaluation.certified import CertifiedBound, certified_lipschitz
from nas.evaluation.classes import chance_of
from nas.evaluation.course import AttackReport, Course, scoring_passes
from nas.evaluation.evaluate import Scored, evaluate, score
from nas.evaluation.ladder import Ladder, check_attacks
from nas.evaluation.lipschitz import lipschitz_bound_log10
from nas.evaluation.scores import IMAGE_SCORES, ImageScores, finite_mean, load_scores, save_scores
from nas.evaluation.settings import EvaluationSettings

__all__ = [
    "IMAGE_SCORES",
    "AttackReport",
    "CertifiedBound",
    "Course",
    "EvaluationSettings",
    "ImageScores",
    "Ladder",
    "Scored",
    "certified_lipschitz",
    "chance_of",
    "check_attacks",
    "evaluate",
    "finite_mean",
    "lipschitz_bound_log10",
    "load_scores",
    "save_scores",
    "score",
    "scoring_passes",
    "wilson_interval",
]
