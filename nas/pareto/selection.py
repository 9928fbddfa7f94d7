"""Rules that pick one trial of a front, and say why."""

import re
from dataclasses import dataclass

import numpy as np

from nas.base.errors import UsageError
from nas.base.records import TrialRecord, TrialState
from nas.measures import measure
from nas.pareto.front import Array, ParetoFront, absences

RULES = "knee, best:METRIC, expected, expected:METRIC, weights:METRIC=W,METRIC=W, or a trial number"


@dataclass(frozen=True)
class Pick:
    """A chosen trial and the reason in words."""

    record: TrialRecord
    reason: str


def pick(rule: str, front: ParetoFront, records: tuple[TrialRecord, ...] = (), *, over_budget: bool = False) -> Pick:
    """Trial that `rule` picks: one of RULES. A number may name any evaluated trial of `records`.

    With `over_budget` it may also name one that was rejected untrained, as a teacher has no budget to keep. Raises
    UsageError for an unknown rule, an unknown trial or an empty front.
    """
    if re.fullmatch(r"\d+", rule):
        return _numbered(int(rule), records or front.records, over_budget)
    kind, _, argument = rule.partition(":")
    if kind not in ("knee", "best", "weights") or (kind == "knee") == bool(argument):
        raise UsageError(f"unknown pick {rule!r} (allowed: {RULES})")
    _refuse_empty(front)
    if kind == "knee":
        return _knee(front)
    if kind == "best":
        return _best(argument, front)
    return _weighted(argument, front)


def pick_all(front: ParetoFront) -> list[Pick]:
    """Every trial of `front`, in its order. Raises UsageError for an empty front."""
    _refuse_empty(front)
    return [Pick(record, "a member of the front") for record in front.records]


def _refuse_empty(front: ParetoFront) -> None:
    if not front.records:
        names = ", ".join(objective.name for objective in front.objectives)
        raise UsageError(
            f"the front is empty: no trial is complete, within every limit and has {names}; loosen budget, constraints "
            "or --where, choose objectives that were measured, or let the search run longer"
        )


def _numbered(number: int, records: tuple[TrialRecord, ...], over_budget: bool) -> Pick:
    found = [record for record in records if record.number == number]
    if not found:
        known = ", ".join(str(record.number) for record in records[:20]) or "none"
        raise UsageError(f"no trial {number} in this run (trials: {known}{', …' if len(records) > 20 else ''})")
    if over_budget and found[0].state is TrialState.REJECTED:
        return Pick(found[0], f"trial {number}, by number; over the budget")
    if found[0].evaluation is None:
        raise UsageError(f"trial {number} is {found[0].state} and was never trained; pick another one")
    return Pick(found[0], f"trial {number}, by number")


def _knee(front: ParetoFront) -> Pick:
    """The point nearest to the ideal one, in objectives scaled to [0, 1] over the front (Zeleny 1973).

    Not the point farthest from the plane through the extremes (Das 1999): with three objectives that favour
    small networks and one that does not, that is an extreme of the front itself.
    """
    distances = np.linalg.norm(_scaled(front.losses), axis=1)
    return _lowest(distances, front, "the knee: nearest to the ideal point, each objective scaled to [0, 1]")


def _best(name: str, front: ParetoFront) -> Pick:
    chosen = measure(name)
    values = np.array([chosen.loss_of(record) for record in front.records])
    if not np.isfinite(values).any():
        raise UsageError(f"best:{name}: {absences(front.records, [chosen])[0]}; pick by another metric")
    lacking = len(values) - np.isfinite(values).sum()
    return _lowest(values, front, f"best {name}{f'; {lacking} members do not have it' if lacking else ''}")


def _weighted(argument: str, front: ParetoFront) -> Pick:
    """Achievement scalarising function of pymoo with the given weights; objectives left out have no weight."""
    from pymoo.decomposition.asf import ASF

    weights = dict.fromkeys((o.name for o in front.objectives), 0.0)
    for part in argument.split(","):
        name, _, value = part.partition("=")
        if name.strip() not in weights:
            raise UsageError(f"weights can name the objectives {', '.join(weights)}; got {part!r}")
        try:
            weights[name.strip()] = float(value)
        except ValueError:
            raise UsageError(f"weights:METRIC=W,METRIC=W needs numbers, got {part!r}") from None
    vector = np.array(list(weights.values()))
    if not (np.isfinite(vector).all() and (vector >= 0).all() and vector.sum() > 0):
        raise UsageError(f"weights must be >= 0 and not all 0, got {argument!r}")
    # ASF divides by the weights: the larger a pseudo-weight, the more its objective counts.
    values = ASF().do(_scaled(front.losses), weights=1 / np.maximum(vector / vector.sum(), 1e-6))
    stated = ", ".join(f"{name} {weight:g}" for name, weight in weights.items() if weight)
    return _lowest(values.ravel(), front, f"best compromise for the weights {stated}")


def _scaled(losses_PM: Array) -> Array:
    """Losses scaled to [0, 1] over the front; 0 where all are equal."""
    low, high = losses_PM.min(0), losses_PM.max(0)
    scaled: Array = (losses_PM - low) / np.where(high > low, high - low, 1.0)
    return scaled


def _lowest(values: Array, front: ParetoFront, reason: str) -> Pick:
    """Trial of the lowest value; among equals the one of fewest parameters, and the reason says so."""
    tied = [r for r, value in zip(front.records, values, strict=True) if np.isclose(value, values.min())]
    chosen = min(tied, key=lambda record: (record.costs.params, record.number))
    if len(tied) > 1:
        others = ", ".join(str(record.number) for record in tied if record is not chosen)
        reason += f"; tied with {others}, fewest parameters decided"
    return Pick(chosen, reason)
