"""Fronts of finished trials: objectives, dominance, hypervolume, picks. Reads records only."""

from nas.pareto.conditions import Condition, parse_condition
from nas.pareto.front import ParetoFront, front_of, hypervolume, is_non_dominated, losses
from nas.pareto.objectives import (
    ACCURACIES,
    METRICS,
    Direction,
    Metric,
    derived_of,
    is_derived,
    metric,
    number_of,
)
from nas.pareto.selection import Pick, pick
from nas.pareto.uncertainty import Member, Trainings, members_by_wilson, members_of

__all__ = [
    "ACCURACIES",
    "METRICS",
    "Condition",
    "Direction",
    "Member",
    "Metric",
    "ParetoFront",
    "Pick",
    "Trainings",
    "derived_of",
    "front_of",
    "hypervolume",
    "is_derived",
    "is_non_dominated",
    "losses",
    "members_by_wilson",
    "members_of",
    "metric",
    "number_of",
    "parse_condition",
    "pick",
]
