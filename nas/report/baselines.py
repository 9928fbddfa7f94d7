"""A search against other networks, uniform ones as a rule, as a table and in sentences."""

from collections.abc import Mapping
from typing import Any

from nas.report.names import column_name
from nas.report.tables import genotype_text, number_text
from nas.report.whole_table import WholeTable


def baseline_table(facts: Mapping[str, Any]) -> WholeTable:
    """The steps of `nas.studies.versus`: a row for each network of the baseline."""
    cost, score = column_name(facts["cost"]), column_name(facts["score"])
    kind = baseline_kind(facts)
    table = WholeTable(f"What searching bought: {score} within the {cost} of {kind} networks")
    for heading in (f"{cost} ≤", kind, score, "trial", score, "difference, 95 %"):
        table.add_column(heading, justify="left" if heading == kind else "right")
    for step in facts["steps"]:
        uniform, found = step["baseline"], step["searched"]
        table.add_row(
            _count(step["limit"]), uniform_text(uniform["genotype"]), number_text(uniform["score"]),
            str(found["trial"]), number_text(found["score"]), _difference(step),
        )  # fmt: skip
    return table


def baseline_words(facts: Mapping[str, Any]) -> list[str]:
    """What the table does not say: hypervolumes, protocol, notes."""
    both, count = facts["hypervolume"], facts["networks"]
    volumes = (
        f"hypervolume {both['searched']:.4f} of {count['searched']} searched networks, {both['baseline']:.4f} of "
        f"{count['baseline']} {baseline_kind(facts)} ones, one training each"
    )
    return [volumes, f"compared under {facts['compared_under']}", *facts["notes"]]


def uniform_text(genotype: Mapping[str, Any]) -> str:
    """A genotype in short: where it is uniform, one option for each kind of choice."""
    short = {name.partition("_")[0]: value for name, value in genotype.items()}
    return genotype_text(short if _is_uniform(genotype) else genotype)


def _is_uniform(genotype: Mapping[str, Any]) -> bool:
    options = {(name.partition("_")[0], value) for name, value in genotype.items()}
    return len(options) == len({kind for kind, _ in options})


def baseline_kind(facts: Mapping[str, Any]) -> str:
    """What the networks of the baseline are called: they may come from another search, too."""
    return "uniform" if all(_is_uniform(step["baseline"]["genotype"]) for step in facts["steps"]) else "baseline"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _difference(step: Mapping[str, Any]) -> str:
    return f"{step['difference']:+.3f} ({step['low']:+.3f} to {step['high']:+.3f})"
