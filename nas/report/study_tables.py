"""The study of a run as text: the paper's table, and what its trials say."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from nas.report.names import column_name
from nas.report.whole_table import WholeTable

PAPERS = ("macs", "params", "natural_accuracy", "robust_accuracy", "instability_scaled", "lipschitz_empirical_scaled")
"""Columns of the paper's table."""


def paper_table(rows: Sequence[Mapping[str, Any]], source: str) -> RenderableType:
    """Networks with the paper's columns; below a value, the printed one and the difference."""
    table = WholeTable()
    for name in ("network", "seeds", *PAPERS):
        table.add_column(column_name(name), justify="left" if name == "network" else "right")
    for row in rows:
        table.add_row(row["network"], str(row["seeds"]), *(_cell(row, name) for name in PAPERS))
    notes = [
        "mean ± standard deviation over seeds; paper's scale: instability is KL / l_inf, Lipschitz l1 / l_inf (others: "
        "nats, l2 / l2)"
    ]
    if any("macs_paper" in row for row in rows):
        notes.append(f"grey: printed value and difference; {source}")
    return Group(table, *(Text(note, style="dim") for note in notes))


def paper_markdown(rows: Sequence[Mapping[str, Any]], source: str) -> str:
    """The same as a Markdown table."""
    printed = any("macs_paper" in row for row in rows)
    head = ["network", "seeds", *map(column_name, PAPERS)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in rows:
        cells = [_value(row, name) + (f" ({_printed(row, name)})" if f"{name}_paper" in row else "") for name in PAPERS]
        lines.append(f"| {' | '.join([row['network'], str(row['seeds']), *cells])} |")
    note = f"\n\nIn brackets: printed value and difference. {source}" if printed else ""
    return "\n".join(lines) + note + "\n"


def _cell(row: Mapping[str, Any], name: str) -> str:
    below = f"\n[dim]{_printed(row, name)}[/dim]" if f"{name}_paper" in row else ""
    return _value(row, name) + below


def _value(row: Mapping[str, Any], name: str) -> str:
    spread = row.get(f"{name}_sd")
    return _number(name, row[name]) + ("" if spread is None else f" ± {_number(name, spread)}")


def _printed(row: Mapping[str, Any], name: str) -> str:
    difference = row[f"{name}_difference"]
    change = f"{100 * difference:+.1f} %" if name in ("macs", "params") else f"{difference:+.3g}"
    return f"paper {_number(name, row[f'{name}_paper'])}, {change}"


def _number(name: str, value: float) -> str:
    if name in ("macs", "params"):
        return f"{value:,.0f}"
    return f"{value:.3f}" if name.endswith("accuracy") else f"{value:.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


SMALL = 0.01
"""Share of the variance that is next to nothing."""


def choice_sentences(found: Mapping[str, Any], title: str) -> list[str]:
    """What nas/studies/choices.py found, in sentences: the choices that matter, and those not told from chance."""
    if found["words"]:
        return [f"Which choices matter for {title} cannot be told: {found['words']}."]
    sure = [one for one in found["choices"] if one["share_low"] > SMALL]
    others = [one["choice"] for one in found["choices"] if one["share_low"] <= SMALL]
    part = f"{_percent(found['explained'])} of the variance of {title}"
    first = f"The choices explain {part} over {found['networks']} networks"
    if not sure:
        return [f"{first}, and no single one is told from chance."]
    parts = [
        f"{one['choice']} {_percent(one['share'])} ({_percent(one['share_low'])} to {_percent(one['share_high'])})"
        for one in sure
    ]
    sentences = [f"{first}: {', '.join(parts)}."]
    gains = [
        f"{one['choice']} {one['per_doubling']:+.3f} ({one['low']:+.3f} to {one['high']:+.3f})"
        for one in sure if one["per_doubling"] is not None
    ]  # fmt: skip
    if gains:
        sentences.append(f"Doubling adds: {', '.join(gains)}.")
    if others:
        sentences.append(f"Next to nothing, or not told from chance: {', '.join(others)}.")
    return sentences


def insight_tables(found: Mapping[str, Any]) -> RenderableType:
    """Answers of `nas study insights` in three tables."""
    parts: list[RenderableType] = [
        Text(f"{found['trials']} trials of {found['networks']} networks; intervals: 95 % bootstrap over networks"),
        *(Text(f"warning: {text}", style="yellow") for text in found["warnings"]),
        _taus("1. What moves with width, expand ratio and depth (Kendall τ)", found["effects"]),
        _thresholds(found["thresholds"]),
        _taus("3. What cheap quantities say about measured ones (Kendall τ)", found["predictors"]),
    ]
    return Group(*parts)


COMPARED = {
    "rung": "Scores after some epochs, against the final ones", "prediction": "Predictions, against what was told",
    "run": "Final scores here, against those of the other run",
}  # fmt: skip


def agreement_tables(rows: Sequence[Mapping[str, Any]], resamples: int) -> RenderableType:
    """Answers of `nas study agreement`: a table for each comparison, then what must be said of it."""
    parts: list[RenderableType] = [
        Text(f"Kendall's τ-b; in grey: 95 % bootstrap over networks, {resamples:,} resamples; bold: not 0")
    ]
    for kind, title in COMPARED.items():
        same = [row for row in rows if row["compared"] == kind]
        if same:
            parts.append(_agreement_table(title, same))
    notes = dict.fromkeys(f"{row['sample']}: {row['words']}" for row in rows if row["words"])
    return Group(*parts, *(Text(note, style="dim") for note in notes))


def _agreement_table(title: str, rows: Sequence[Mapping[str, Any]]) -> WholeTable:
    table = WholeTable(title)
    has_epochs = rows[0]["epochs"] is not None
    for heading in (*(("epoch",) if has_epochs else ()), "candidates", "pairs"):
        table.add_column(heading, justify="left" if heading == "candidates" else "right")
    names = list(dict.fromkeys(row["metric"] for row in rows))
    for name in names:
        table.add_column(column_name(name), justify="right")
    for epochs, sample in dict.fromkeys((row["epochs"], row["sample"]) for row in rows):
        same = {row["metric"]: row for row in rows if (row["epochs"], row["sample"]) == (epochs, sample)}
        label = "survivors (biased)" if sample == "survivors" else sample
        counts = sorted({row["pairs"] for row in same.values()})
        pairs = str(counts[0]) if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"
        table.add_row(*((str(epochs),) if has_epochs else ()), label, pairs, *(_tau(same.get(name)) for name in names))
    return table


def _taus(title: str, effects: Mapping[str, Mapping[str, Any]]) -> WholeTable:
    table = WholeTable(title)
    table.add_column("")
    names = list(dict.fromkeys(name for row in effects.values() for name in row))
    for name in names:
        table.add_column(column_name(name), justify="right")
    for factor, row in effects.items():
        table.add_row(column_name(factor), *(_tau(row.get(name)) for name in names))
    return table


def _tau(cell: Mapping[str, Any] | None) -> str:
    if cell is None or cell["tau"] is None:
        return "–"
    if cell["low"] is None or cell["high"] is None:
        return f"{cell['tau']:+.2f}"
    certain = cell["low"] > 0 or cell["high"] < 0
    text = f"{cell['tau']:+.2f} [dim]{cell['low']:+.2f} … {cell['high']:+.2f}[/dim]"
    return f"[bold]{text}[/bold]" if certain else text


def _thresholds(thresholds: Mapping[str, Mapping[str, Any]]) -> WholeTable:
    title = "2. Where more of it gains no more robust accuracy (two lines instead of one)"
    table = WholeTable(title)
    for heading in ("", "change point", "95 % interval", "slope before", "slope after", "error removed"):
        table.add_column(heading, justify="right" if heading else "left")
    for factor, found in thresholds.items():
        if found["at"] is None:
            table.add_row(factor, "–", found["words"], "", "", "")
            continue
        low, high = found["low"], found["high"]
        interval = "–" if low is None or high is None else f"{low:,.4g} … {high:,.4g}"
        table.add_row(
            factor, f"{found['at']:,.4g}", interval, f"{found['before']:+.3g}", f"{found['after']:+.3g}",
            f"{100 * (found['improvement'] or 0):.0f} %",
        )  # fmt: skip
    return table


def curve_table(rows: Sequence[Mapping[str, Any]], panels: Sequence[tuple[str, str]]) -> WholeTable:
    """Scores after the first, the middle and the last epoch, mean over the seeds."""
    table = WholeTable()
    for heading in ("network", "epoch", *(title for _, title in panels)):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    epochs = sorted({row["epoch"] for row in rows})
    shown = sorted({epochs[0], epochs[len(epochs) // 2], epochs[-1]})
    for network in dict.fromkeys(row["network"] for row in rows):
        for epoch in shown:
            same = [row for row in rows if row["network"] == network and row["epoch"] == epoch]
            means = [sum(row[name] for row in same) / len(same) for name, _ in panels] if same else []
            table.add_row(network, str(epoch), *(f"{value:.4g}" for value in means))
    return table
