"""What is measured of a network: `MEASURES`, one entry for each quantity. Importing it needs no torch."""

from nas.measures.measure import Attacked, Direction, Measure, Setting
from nas.measures.registry import MEASURES, check_measures, derived_of, measure, number_of, scores_of

__all__ = [
    "MEASURES",
    "Attacked",
    "Direction",
    "Measure",
    "Setting",
    "check_measures",
    "derived_of",
    "measure",
    "number_of",
    "scores_of",
]
