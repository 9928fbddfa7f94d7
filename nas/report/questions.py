"""What more of a budget buys, and two trials against each other, as tables."""

from collections.abc import Iterator, Mapping
from typing import Any

from nas.budgets import COSTS
from nas.measures import MEASURES
from nas.report.names import column_name
from nas.report.tables import genotype_text, number_text
from nas.report.whole_table import WholeTable

SAID = {
    "better": "better", "worse": "worse", "tied": "cannot be told", "exact": "exact",
    "unknown": "no interval", None: "",
}  # fmt: skip
"""A verdict in the words of a table."""


def what_if_tables(facts: Mapping[str, Any]) -> Iterator[WholeTable]:
    """The facts of `nas.studies.what_if`: a table for each score."""
    unit = ", bytes" if facts["cost"].endswith("_bytes") else ""
    cost = f"{column_name(facts['cost'])}{unit} ≥"
    for score in dict.fromkeys(step["score"] for step in facts["steps"]):
        one = MEASURES[score]
        table = WholeTable(f"Best {one.title} within a budget of {MEASURES[facts['cost']].title}")
        arrow = "↓" if one.direction == "minimize" else "↑"
        for heading in (cost, "trial", f"{column_name(score)} {arrow}", "gain over the row above", "95 % interval", ""):
            table.add_column(heading, justify="right" if heading else "left", no_wrap=not heading)
        for step in facts["steps"]:
            if step["score"] == score:
                table.add_row(
                    f"{step['limit']:,.0f}", str(step["trial"]), value_text(score, step["value"]),
                    signed_text(score, step["gain"]), between_text(score, step), SAID[step["verdict"]],
                )  # fmt: skip
        yield table


def two_table(facts: Mapping[str, Any]) -> WholeTable:
    """The facts of `nas.studies.two`: a row for each measure."""
    a, b = (facts[name]["trial"] for name in ("a", "b"))
    table = WholeTable(f"A: trial {a}, B: trial {b}")
    for heading in ("", "A", "B", "A − B", "95 % interval", "better"):
        table.add_column(heading, justify="left" if heading in ("", "better") else "right")
    for row in facts["rows"]:
        name, arrow = row["measure"], "↓" if MEASURES[row["measure"]].direction == "minimize" else "↑"
        said = {"A": "A", "B": "B", "same": "the same"}.get(row["better"], SAID[row["verdict"]])
        between = "exact" if row["verdict"] == "exact" else between_text(name, row)
        unit = ", bytes" if name.endswith("_bytes") else ""
        values = (value_text(name, row["a"]), value_text(name, row["b"]), signed_text(name, row["difference"]))
        table.add_row(f"{column_name(name)}{unit} {arrow}", *values, between, said)
    return table


def genotype_lines(facts: Mapping[str, Any]) -> list[str]:
    """The two genotypes, a line each."""
    return [f"{name.upper()}: {genotype_text(facts[name]['genotype'])}" for name in ("a", "b")]


def value_text(name: str, value: float | None) -> str:
    """A measure's value: whole for costs, three digits after the point for fractions, else four digits."""
    if value is None:
        return "–"
    if name in COSTS:
        return f"{value:,.0f}"
    return f"{value:.3f}" if MEASURES[name].unit == "fraction" else number_text(value)


def signed_text(name: str, value: float | None) -> str:
    """A difference, with its sign."""
    if value is None:
        return ""
    if name in COSTS:
        return f"{value:+,.0f}"
    return f"{value:+.3f}" if MEASURES[name].unit == "fraction" else f"{value:+.3g}"


def between_text(name: str, row: Mapping[str, Any]) -> str:
    """The ends of a 95 % interval; empty where there is none."""
    if row["low"] is None or row["verdict"] == "exact":
        return ""
    return f"{signed_text(name, row['low'])} to {signed_text(name, row['high'])}"
