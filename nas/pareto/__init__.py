"""Fronts of finished trials: objectives, dominance, hypervolume, picks. Reads records only."""

from nas.pareto.conditions import Condition, parse_condition
from nas.pareto.front import ParetoFront, front_of, hypervolume, is_non_dominated, losses
from nas.pareto.objectives import METRICS, Direction, Metric, metric
from nas.pareto.selection import Pick, pick
from nas.pareto.uncertainty import Member, Trainings, members_by_wilson, members_of

__all__ = [
    "METRICS",
    "Condition",
    "Direction",
    "Member",
    "Metric",
    "ParetoFront",
    "Pick",
    "Trainings",
    "front_of",
    "hypervolume",
    "is_non_dominated",
    "losses",
    "members_by_wilson",
    "members_of",
    "metric",
    "parse_condition",
    "pick",
]
