"""Trials as flat, JSON-ready rows: the interface for programs."""

from collections.abc import Sequence
from typing import Any

from nas.budgets import COSTS
from nas.records import TrialRecord, to_json


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
        "seconds": record.seconds,
    }


EVALUATION_FIELDS = (
    "natural_accuracy", "natural_interval", "robust_accuracy", "robust_interval", "instability",
    "instability_scaled", "lipschitz_bound_log10", "lipschitz_certified_log10", "lipschitz_empirical",
    "lipschitz_empirical_scaled", "lipschitz_maximised", "split", "num_images", "fidelity", "attack", "threat",
    "warnings", "ladder", "checks",
)  # fmt: skip


def csv_text(records: Sequence[TrialRecord]) -> str:
    """CSV of `front_row`s, nested values as dotted columns (genotype.width_1), warnings joined by `; `."""
    import pandas as pd

    if not records:
        columns = ["failed_checks" if name == "checks" else name for name in EVALUATION_FIELDS]
        return ",".join(["number", "key", *COSTS, *columns, "seconds"]) + "\n"
    rows = [front_row(record) for record in records]
    for row in rows:
        row["warnings"] = "; ".join(row["warnings"] or ())
        row["failed_checks"] = "; ".join(check["name"] for check in row.pop("checks") or () if not check["passed"])
        row["ladder"] = " > ".join(f"{r['attack']['name']} {r['robust_accuracy']:.4f}" for r in row["ladder"] or ())
    return pd.json_normalize(rows).to_csv(index=False)
