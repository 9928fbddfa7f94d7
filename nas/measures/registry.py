"""Every quantity that can be an objective, a constraint or a column: a new one is one entry of MEASURES."""

from dataclasses import fields
from difflib import get_close_matches
from math import inf, isfinite, log

from nas.base.errors import UsageError
from nas.base.records import Costs, Evaluation, TrialRecord
from nas.measures import corruptions, float_twin, sparse
from nas.measures.closed_form import lipschitz_bound_log10
from nas.measures.measure import Measure


def _cost(name: str, unit: str, title: str, short: str = "") -> Measure:
    return Measure(
        name, "minimize", unit, title, 0.0, short=short, is_static=True,
        worst=lambda setting: setting.cost_limits[name],
    )  # fmt: skip


_ENTRIES = (
    Measure(
        "robust_accuracy", "maximize", "fraction", "robust accuracy", 1.0, worst=0.0, high=1.0, short="robust",
        images="robust", interval="robust_interval",
    ),
    Measure(
        "natural_accuracy", "maximize", "fraction", "natural accuracy", 1.0, worst=0.0, high=1.0, short="natural",
        images="natural", interval="natural_interval",
    ),
    Measure(
        "instability", "minimize", "nats", "instability", 0.0, images="instability", is_sensitivity=True,
        is_relative=True, note="nats: KL of the clean and the adversarial prediction",
        worst=lambda setting: log(setting.num_classes),  # of a certain prediction that becomes uniform
    ),
    Measure(
        "instability_scaled", "minimize", "nats per pixel unit", "instability (paper's scale)", 0.0,
        images="instability_scaled", is_sensitivity=True, is_relative=True, is_rescaled=True,
        note="as in the tables of Mousavi 2023: KL / ‖x − x̂‖_inf",
        worst=lambda setting: log(setting.num_classes) / setting.epsilon,
    ),
    Measure(
        "lipschitz_bound_log10", "minimize", "log10", "Lipschitz bound (log10)", 0.0, low=-inf, is_sensitivity=True,
        is_static=True, note="closed form, eq. 5, of the architecture only",
        worst=lambda setting: 1.1 * lipschitz_bound_log10(setting.largest),
    ),
    Measure(
        "lipschitz_maximised", "minimize", "logits per pixel unit, l2/l2", "empirical Lipschitz, maximised", 0.0,
        images="steepest", is_sensitivity=True, is_relative=True, note="eq. 6, the ratio itself maximised, l2 / l2",
        absent="it is measured where evaluation.lipschitz_steps is above 0",
    ),
    Measure(
        "lipschitz_certified_log10", "minimize", "log10, l2/l2", "certified Lipschitz (log10)", 0.0, low=-inf,
        is_sensitivity=True, note="a proved upper bound, l2 / l2",
        absent="it cannot be given for a network with layers whose norms are not known",
    ),
    Measure(
        "lipschitz_empirical", "minimize", "logits per pixel unit, l2/l2", "empirical Lipschitz", 0.0,
        images="lipschitz", is_sensitivity=True, is_relative=True, note="eq. 6, l2 of logits / l2 of pixels",
    ),
    Measure(
        "lipschitz_empirical_scaled", "minimize", "logits per pixel unit, l1/linf",
        "empirical Lipschitz (paper's scale)", 0.0, images="lipschitz_scaled", is_sensitivity=True, is_relative=True,
        is_rescaled=True, note="as in the tables of Mousavi 2023: l1 / l_inf",
    ),
    Measure(
        "float_natural_accuracy", "maximize", "fraction", "natural accuracy of the float twin", 1.0, worst=0.0,
        high=1.0, compute=float_twin.natural, short="float natural", note="the same weights without rounding",
        absent="it is measured of quantized networks",
    ),
    Measure(
        "float_robust_accuracy", "maximize", "fraction", "robust accuracy of the float twin", 1.0, worst=0.0,
        high=1.0, compute=float_twin.robust, short="float robust",
        note="the same weights without rounding, under the attack behind instability alone",
        absent="it is measured of quantized networks",
    ),
    Measure(
        "corruption_accuracy", "maximize", "fraction", "accuracy under corruptions", 1.0, worst=0.0, high=1.0,
        compute=corruptions.accuracy, short="corrupted",
        note="mean of 11 common corruptions in 5 severities (docs/compression.md)",
        absent="it is measured where it is an objective, a constraint or in evaluation.measures",
    ),
    Measure(
        "sparse_weight_bytes", "minimize", "bytes", "weight bytes, sparse", 0.0, compute=sparse.weight_bytes,
        per_image=False, short="sparse", worst=lambda setting: setting.cost_limits["weight_bytes"],
        note="zeros not stored: the cheapest of dense, bitmap and list for every layer",
        absent="it is measured of pruned networks",
    ),
    Measure(
        "on_manifold_accuracy", "maximize", "fraction", "robust accuracy on the manifold", 1.0, worst=0.0, high=1.0,
        short="on-manifold",
        note="codes of the manifold are attacked", absent="it is measured under a threat that acts on the manifold",
    ),
    Measure(
        "reconstruction_accuracy", "maximize", "fraction", "accuracy on reconstructed images", 1.0, worst=0.0, high=1.0,
        short="reconstructed",
        note="what the manifold's decoder makes of each image's code, not attacked",
        absent="it is measured under a threat that acts on the manifold",
    ),
    _cost("params", "parameters", "parameters", "params"),
    _cost("macs", "multiply-accumulates per image", "MACs"),
    _cost("weight_bytes", "bytes", "weight bytes", "weights"),
    _cost("peak_activation_bytes", "bytes", "peak activation bytes", "peak RAM"),
)  # fmt: skip
MEASURES: dict[str, Measure] = {entry.name: entry for entry in _ENTRIES}
"""By name. A module that a config names as plugin may add entries; these are not to be changed."""

_RECORDS = (Costs, Evaluation, TrialRecord)
_TAKEN = {"key", *(name for kind in _RECORDS for name in (*dir(kind), *(field.name for field in fields(kind))))}
"""Names of other things in records and rows."""


def check_measures() -> None:
    """Raises UsageError for the first entry that a plugin should not have made."""
    for key, entry in MEASURES.items():
        if key in _OWN:
            problem = "" if entry is _OWN[key] else "is replaced; choose another name"
        elif key != entry.name or not key.isidentifier() or key in _TAKEN:
            problem = "needs an unused identifier as its key and its name"
        elif (entry.compute is None) == (entry.derive is None):
            problem = "needs one of compute and derive"
        else:
            problem = "" if isfinite(entry.best) else "needs a finite best value"
        if problem:
            raise UsageError(f"measure {key!r}: {problem}")


_OWN = dict(MEASURES)


def measure(name: str) -> Measure:
    """Measure by name. Raises UsageError with the nearest names for an unknown one."""
    if name not in MEASURES:
        near = get_close_matches(name, MEASURES, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"unknown metric {name!r}{hint} (allowed: {', '.join(MEASURES)})")
    return MEASURES[name]


def number_of(measure: Measure, record: TrialRecord) -> float | None:
    """Number of `record`, None where it has none: it is not evaluated, or the number was not measured or proved."""
    try:
        value = measure.read(record)
    except ValueError:
        return None
    return value if value is not None and isfinite(value) else None


def derived_of(record: TrialRecord) -> dict[str, float | None]:
    """Every derived measure of `record`, by name."""
    return {name: number_of(entry, record) for name, entry in MEASURES.items() if entry.is_derived}


def scores_of(evaluation: Evaluation) -> dict[str, float]:
    """Scores of `evaluation` by the names of their measures; those that were not measured are left out."""
    values = {name: getattr(evaluation, name, None) for name in MEASURES}
    return {name: value for name, value in values.items() if value is not None} | dict(evaluation.scores)
