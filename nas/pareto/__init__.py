"""Fronts of finished trials: objectives, dominance, hypervolume, picks. Reads records only."""

from nas.pareto.conditions import Condition, parse_condition
from nas.pareto.front import ParetoFront, front_of, hypervolume, is_non_dominated, losses
from nas.pareto.objectives import METRICS, Direction, Metric, metric
from nas.pareto.selection import Pick, pick

__all__ = [
    "METRICS",
    "Condition",
    "Direction",
    "Metric",
    "ParetoFront",
    "Pick",
    "front_of",
    "hypervolume",
    "is_non_dominated",
    "losses",
    "metric",
    "parse_condition",
    "pick",
]
