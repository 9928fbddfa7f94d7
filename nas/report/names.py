"""What a metric is called wherever results are shown: one name for each quantity, and none for two."""

from nas.pareto import METRICS

SHORT = {
    "robust_accuracy": "robust", "natural_accuracy": "natural", "balanced_robust_accuracy": "balanced robust",
    "balanced_natural_accuracy": "balanced natural", "params": "params", "weight_bytes": "weights",
    "peak_activation_bytes": "peak RAM",
}  # fmt: skip
"""Of those that many tables have, for their headings."""


def column_name(name: str) -> str:
    """Heading of a metric's column; the title of METRICS where it has no short one, `name` where it is no metric."""
    if name in SHORT:
        return SHORT[name]
    return METRICS[name].title if name in METRICS else name
