"""Fronts of finished trials: objectives, dominance, hypervolume, picks. Reads records only."""

from nas.pareto.conditions import Condition, parse_condition
from nas.pareto.front import ParetoFront, absences, front_of, has_all, hypervolume, is_non_dominated, losses
from nas.pareto.luck import SelectionEffect, selection_effects, selection_words
from nas.pareto.objectives import (
    ACCURACIES,
    METRICS,
    Direction,
    Metric,
    derived_of,
    is_derived,
    metric,
    metrics_of,
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
    "SelectionEffect",
    "Trainings",
    "absences",
    "derived_of",
    "front_of",
    "has_all",
    "hypervolume",
    "is_derived",
    "is_non_dominated",
    "losses",
    "members_by_wilson",
    "members_of",
    "metric",
    "metrics_of",
    "number_of",
    "parse_condition",
    "pick",
    "selection_effects",
    "selection_words",
]
