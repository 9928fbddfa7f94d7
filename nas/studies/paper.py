"""The table of Mousavi 2023 for any run, beside the printed values where the network is the paper's."""

import json
from collections.abc import Sequence
from importlib.resources import files
from statistics import mean, stdev
from typing import Any

from nas.base.records import TrialRecord
from nas.studies.groups import Group, groups_of
from search_spaces.mobilenet_tiny import PRESETS, preset

PAPER: dict[str, Any] = json.loads((files("nas.studies") / "mousavi2023.json").read_text(encoding="utf-8"))
"""Printed values, with their source."""

COLUMNS = ("macs", "params", "natural_accuracy", "robust_accuracy", "instability_scaled", "lipschitz_empirical_scaled")
"""The paper's columns."""


def table_rows(
    records: Sequence[TrialRecord], input_shape: tuple[int, int, int], num_classes: int
) -> list[dict[str, Any]]:
    """One row for each network: mean over its seeds, standard deviation, the paper's value and the difference.

    Columns `NAME`, `NAME_sd` (None for a single seed), `NAME_paper`, `NAME_difference` (relative for costs); the last
    two only for the paper's six networks on images like the paper's, recognised by their integers.
    """
    is_papers = (tuple(input_shape), num_classes) == ((3, 32, 32), 10)
    printed = {preset(name).key: _printed(*values) for name, values in PRESETS.items() if is_papers}
    return [_row(group, printed.get(group.genotype.key)) for group in groups_of(records)]


def _printed(width: float, expand: float) -> dict[str, float]:
    return next(one for one in PAPER["networks"] if (one["width"], one["expand"]) == (width, expand))


def _row(group: Group, printed: dict[str, float] | None) -> dict[str, Any]:
    first = group.records[0]
    row: dict[str, Any] = {"network": group.label, "seeds": len(group.records)}
    for name in COLUMNS:
        is_cost = hasattr(first.costs, name)
        values = [float(getattr(r.costs if is_cost else r.evaluation, name)) for r in group.records]
        row[name] = mean(values)
        row[f"{name}_sd"] = stdev(values) if len(values) > 1 and not is_cost else None
        if printed is not None:
            row[f"{name}_paper"] = printed[name]
            difference = row[name] - printed[name]
            row[f"{name}_difference"] = difference / printed[name] if is_cost else difference
    return row
