"""What a measure is called wherever results are shown: one name for each quantity, and none for two."""

from nas.measures import MEASURES

BALANCED = {
    "balanced_robust_accuracy": "balanced robust", "balanced_natural_accuracy": "balanced natural",
}  # fmt: skip
"""Accuracies over uneven classes, which are no objectives."""


def column_name(name: str) -> str:
    """Heading of a measure's column, its short name or its title; `name` where it is no measure."""
    if name in MEASURES:
        return MEASURES[name].short or MEASURES[name].title
    return BALANCED.get(name, name)
