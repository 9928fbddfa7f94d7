"""Trials as flat, JSON-ready rows: the interface for programs."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

from nas.base.records import TrialRecord, to_json
from nas.budgets import COSTS
from nas.pareto import Member, derived_of

if TYPE_CHECKING:
    import pandas as pd


def front_row(record: TrialRecord) -> dict[str, Any]:
    """One trial of a front: number, genotype, costs, scores, and what they are worth."""
    row = to_json(record)
    evaluation = row["evaluation"] or {}
    return {
        "number": record.number,
        "key": record.genotype.key,
        "genotype": row["genotype"]["values"],
        **row["costs"],
        **{name: evaluation.get(name) for name in EVALUATION_FIELDS},
        **({"by_threat": evaluation["by_threat"]} if "by_threat" in evaluation else {}),
        **evaluation.get("scores", {}),
        **derived_of(record),
        "seconds": record.seconds,
    }


EVALUATION_FIELDS = (
    "natural_accuracy", "natural_interval", "robust_accuracy", "robust_interval", "chance",
    "balanced_natural_accuracy", "balanced_robust_accuracy", "instability",
    "instability_scaled", "lipschitz_bound_log10", "lipschitz_certified_log10", "lipschitz_empirical",
    "lipschitz_empirical_scaled", "lipschitz_maximised", "split", "num_images", "fidelity", "attack", "threat",
    "warnings", "ladder", "checks",
)  # fmt: skip


def member_row(member: Member) -> dict[str, Any]:
    """`front_row` of a front's member with its uncertainty: intervals, rank, dominated_by and seeds."""
    names = list(member.values)
    return {
        **front_row(member.record),
        "intervals": {name: to_json(interval) for name, interval in member.intervals.items()},
        "rank": member.rank and list(member.rank),
        "dominated_by": member.dominated_by,
        "seeds": {
            "count": member.seeds,
            "mean": {name: _number(member.mean(name)) for name in names},
            "standard_deviation": {name: member.deviation(name) for name in names},
            "values": {name: [_number(value) for value in member.values[name]] for name in names},
            "fresh_mean": {name: _number(member.fresh_mean(name)) for name in names},
        },
    }


def _number(value: float | None) -> float | None:
    """None for what JSON cannot say: a bound that could not be proved is infinite."""
    return value if value is not None and isfinite(value) else None


def csv_text(records: Sequence[TrialRecord], members: Sequence[Member] = ()) -> str:
    """CSV of `frame_of`."""
    return frame_of([member_row(one) for one in members] or [front_row(one) for one in records]).to_csv(index=False)


def frame_of(rows: Sequence[dict[str, Any]]) -> "pd.DataFrame":
    """Data frame of `front_row`s or `member_row`s, which it changes.

    Nested values are dotted columns (genotype.width_1, intervals.robust_accuracy.low), lists joined by `; `.
    """
    import pandas as pd

    if not rows:
        columns = ["failed_checks" if name == "checks" else name for name in EVALUATION_FIELDS]
        return pd.DataFrame(columns=["number", "key", *COSTS, *columns, "seconds"])
    for row in rows:
        row["warnings"] = "; ".join(row["warnings"] or ())
        row["failed_checks"] = "; ".join(check["name"] for check in row.pop("checks") or () if not check["passed"])
        row["ladder"] = _ladder_text(row["ladder"] or ())
        for score in row.get("by_threat", {}).values():
            score["warnings"], score["ladder"] = "; ".join(score["warnings"]), _ladder_text(score["ladder"])
        if "rank" in row:
            row["rank"] = dict(zip(("low", "high"), row["rank"] or (None, None), strict=True))
            row["dominated_by"] = "; ".join(f"{other} {p:.3f}" for other, p in (row["dominated_by"] or {}).items())
            for name, values in row["seeds"]["values"].items():
                row["seeds"]["values"][name] = "; ".join(f"{value:.6g}" for value in values if value is not None)
    frame = pd.json_normalize(rows)
    parents = {name.rpartition(".")[0] for name in frame.columns}
    return frame.drop(columns=[name for name in frame.columns if name in parents])  # None, of trials without scores


def trial_row(record: TrialRecord, on_front: bool) -> dict[str, Any]:
    """`front_row` of any trial, with how it ended; what was not measured is None."""
    row = front_row(record)
    broken = {name: value for name, value in record.violations.items() if value > 0}
    return {
        "number": row.pop("number"),
        "state": record.state.value,
        "is_feasible": record.is_feasible,
        "on_front": on_front,
        **row,
        "violated": "; ".join(f"{name} by {100 * value:.1f} %" for name, value in broken.items()),
        "epochs": record.epochs,
        "reused_from": record.reused_from,
        "inherits": record.inherits,
        "error": record.error,
    }


def _ladder_text(rungs: Sequence[Mapping[str, Any]]) -> str:
    return " > ".join(f"{rung['attack']['name']} {rung['robust_accuracy']:.4f}" for rung in rungs)
