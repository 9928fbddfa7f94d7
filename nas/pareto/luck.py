"""How much better the members of a front look by the training that they were selected by than by another one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.base.bootstrap import mean_interval
from nas.base.records import Interval
from nas.measures import Measure
from nas.pareto.front import Array

MIN_NETWORKS = 8
"""Below it there is no interval, here and in nas/studies. Of simulated factors without effect, on networks of three
seeds, intervals of Kendall's τ excluded 0 in 17 % over the five networks of configs/paper/mousavi_digits.yaml, in 7 to
10 % over 8, in 4 to 8 % over 10 to 32."""


@dataclass(frozen=True)
class SelectionEffect:
    """Mean difference between the search's own training and fresh trainings of the same networks (winner's curse)."""

    objective: Measure
    networks: int
    """Members that were trained again."""
    mean: float
    """In the objective's unit; positive where the search's own training looks better."""
    interval: Interval | None
    """95 %, by resampling the networks; None for fewer than MIN_NETWORKS."""


def selection_effects(trainings: Sequence[Array], objectives: Sequence[Measure]) -> tuple[SelectionEffect, ...]:
    """Effect on each objective that training decides, from the values of every training (S, M), the search's own first.

    Empty where no network was trained again. Networks count alike, however often each was trained again.
    """
    again = [values for values in trainings if len(values) > 1]
    found = []
    for m, objective in enumerate(objectives):
        gains = np.array([objective.loss(values[1:, m].mean() - values[0, m]) for values in again])
        if not any(np.ptp(values[:, m]) for values in again):
            continue  # a cost, or a bound of the architecture
        interval = mean_interval(gains) if len(gains) >= MIN_NETWORKS else None
        found.append(SelectionEffect(objective, len(gains), float(gains.mean()), interval))
    return tuple(found)


def selection_words(effects: Sequence[SelectionEffect]) -> str:
    """One line: that a front's members were selected, and what that does to their scores where it was measured."""
    if not effects:
        return (
            "members were selected for their results: another training of the same network tends to score worse than "
            "shown (evaluation.seeds measures by how much)"
        )
    shown = []
    for one in effects:
        bar = f" ({one.interval.low:.2g} to {one.interval.high:.2g})" if one.interval else ""
        shown.append(f"{one.objective.title} {one.mean:.2g}{bar}")
    what = (
        "95 % interval by resampling networks" if effects[0].interval else f"an interval needs {MIN_NETWORKS} networks"
    )
    return (
        f"members were selected for their results: the search's own training looks better than fresh ones of the same "
        f"{effects[0].networks} networks by {', '.join(shown)} (mean; {what})"
    )
