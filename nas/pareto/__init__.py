"""Fronts of finished trials: conditions, dominance, hypervolume, picks. Reads records only."""

from nas.measures import MEASURES, Direction, Measure, derived_of, measure, number_of, scores_of
from nas.pareto.conditions import Condition, meeting, parse_condition
from nas.pareto.front import ParetoFront, absences, front_of, has_all, hypervolume, is_non_dominated, losses
from nas.pareto.luck import SelectionEffect, selection_effects, selection_words
from nas.pareto.selection import Pick, pick, pick_all
from nas.pareto.uncertainty import Member, Trainings, members_by_wilson, members_of

__all__ = [
    "MEASURES",
    "Condition",
    "Direction",
    "Measure",
    "Member",
    "ParetoFront",
    "Pick",
    "SelectionEffect",
    "Trainings",
    "absences",
    "derived_of",
    "front_of",
    "has_all",
    "hypervolume",
    "is_non_dominated",
    "losses",
    "measure",
    "meeting",
    "members_by_wilson",
    "members_of",
    "number_of",
    "parse_condition",
    "pick",
    "pick_all",
    "scores_of",
    "selection_effects",
    "selection_words",
]
