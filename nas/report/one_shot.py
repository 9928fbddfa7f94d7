"""Tables and pictures of the one-shot studies: transfer of attacks, runs compared, what a front is made of."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from nas.records import TrialRecord, TrialState
from nas.report.plots import FRONT_COLOUR, OTHER_COLOUR, figure_of, png_of
from nas.report.study_plots import COLOURS

Row = Mapping[str, Any]


def transfer_table(rows: Sequence[Row], title: str) -> Table:
    """Accuracy of every target (columns) on the images of every source (rows)."""
    table = Table(title=title, title_justify="left", header_style="bold")
    names = list(dict.fromkeys(row["source"] for row in rows))
    table.add_column("images made against")
    for name in names:
        table.add_column(name, justify="right")
    for source in names:
        cells = [row for row in rows if row["source"] == source]
        table.add_row(
            source, *(f"{row['accuracy']:.3f} [dim]{row['low']:.2f}–{row['high']:.2f}[/dim]" for row in cells)
        )
    return table


def transfer_png(rows: Sequence[Row], title: str, note: str) -> bytes:
    """The matrix as a heat map: dark where the images fool."""
    names = list(dict.fromkeys(row["source"] for row in rows))
    values = [[row["accuracy"] for row in rows if row["source"] == source] for source in names]
    figure = figure_of(2.2 + 0.95 * len(names), 1.9 + 0.6 * len(names))
    axes = figure.subplots()
    image = axes.imshow(values, cmap="viridis", vmin=min(map(min, values)), vmax=max(map(max, values)), aspect="auto")
    middle = (min(map(min, values)) + max(map(max, values))) / 2
    for y, line in enumerate(values):
        for x, value in enumerate(line):
            axes.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=8,
                      color="white" if value < middle else "black")  # fmt: skip
    axes.set_xticks(range(len(names)), [name.replace(" (", "\n(") for name in names], fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set(xlabel="network under attack", ylabel="images made against")
    figure.colorbar(image, label="accuracy")
    return _finished(figure, title, note)


def comparison_table(rows: Sequence[Row]) -> Table:
    """A line for each run."""
    first = rows[0]
    table = Table(
        title=f"{first['networks']} common networks; in grey: difference from {first['run']}, 95 % bootstrap",
        title_justify="left", header_style="bold",
    )  # fmt: skip
    for heading in ("run", "trainings", "robust", "natural", "instability", "τ robust", "hypervolume", "s each"):
        table.add_column(heading, justify="left" if heading == "run" else "right")
    for row in rows:
        table.add_row(
            row["run"], str(row["trainings"]),
            *(_score(row, name) for name in ("robust_accuracy", "natural_accuracy", "instability")),
            _tau(row), f"{row['hypervolume']:.4f}", f"{row['seconds']:.1f}",
        )  # fmt: skip
    return table


def _score(row: Row, name: str) -> str:
    text = f"{row[name]:.3f}"
    if f"{name}_difference" not in row:
        return text
    gap, low, high = (row[f"{name}_{end}"] for end in ("difference", "low", "high"))
    return f"{text} [dim]{gap:+.3f} ({low:+.3f} … {high:+.3f})[/dim]"


def _tau(row: Row) -> str:
    if row.get("tau") is None:
        return "–"
    bounds = "" if row["tau_low"] is None else f" [dim]{row['tau_low']:+.2f} … {row['tau_high']:+.2f}[/dim]"
    return f"{row['tau']:+.2f}{bounds}"


def comparison_png(runs: Mapping[str, Sequence[TrialRecord]], title: str) -> bytes:
    """Robust accuracy by parameters of the common networks, a colour for each run."""
    scored = {name: [r for r in records if r.state is TrialState.COMPLETE and r.evaluation and r.reused_from is None]
              for name, records in runs.items()}  # fmt: skip
    common = set.intersection(*({r.genotype.key for r in records} for records in scored.values()))
    figure = figure_of(7.6, 4.6)
    axes = figure.subplots()
    for index, (name, records) in enumerate(scored.items()):
        shown = [r for r in records if r.genotype.key in common]
        robust = [r.evaluation.robust_accuracy for r in shown if r.evaluation]
        colour = COLOURS[index % len(COLOURS)]
        axes.plot([r.costs.params for r in shown], robust, "o", color=colour, ms=4.5, alpha=0.75, label=name)
    axes.set(xscale="log", xlabel="parameters", ylabel="robust accuracy")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, framealpha=0.9)
    return _finished(figure, title, f"{len(common)} networks, validation images; seeds are separate points")


def composition_table(rows: Sequence[Row]) -> Table:
    """Shares of every option on the front and among all."""
    table = Table(
        title="4. What the front is made of (bold: the share among all lies outside the front's 95 % interval)",
        title_justify="left", header_style="bold",
    )  # fmt: skip
    for heading in ("choice", "option", "all", "front", "95 %", ""):
        table.add_column(heading, justify="left" if heading in ("choice", "") else "right")
    for row in rows:
        if row["evaluated_share"] is None:
            continue
        front = "–" if row["front_share"] is None else f"{row['front_share']:.0%}"
        bounds = "–" if row["low"] is None else f"{row['low']:.0%}–{row['high']:.0%}"
        strong = "bold" if row["differs"] else None
        table.add_row(row["choice"], f"{row['option']}", f"{row['evaluated_share']:.0%}", front, bounds, row["differs"],
                      style=strong)  # fmt: skip
    return table


def composition_png(rows: Sequence[Row], title: str, note: str) -> bytes:
    """A panel for each choice: shares of its options on the front and among all."""
    names = list(dict.fromkeys(row["choice"] for row in rows))
    columns = min(4, len(names))
    lines = -(-len(names) // columns)
    figure = figure_of(3.1 * columns, 2.1 * lines + 0.9)
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for axes, name in zip(grid.flat, names, strict=False):
        same = [row for row in rows if row["choice"] == name]
        places = range(len(same))
        axes.bar([x - 0.2 for x in places], [r["evaluated_share"] or 0 for r in same], 0.4, color=OTHER_COLOUR,
                 label="all evaluated")  # fmt: skip
        front = [r["front_share"] or 0 for r in same]
        bars = [[max(0.0, f - (r["low"] or 0)) for f, r in zip(front, same, strict=True)],
                [max(0.0, (r["high"] or 0) - f) for f, r in zip(front, same, strict=True)]]  # fmt: skip
        axes.bar([x + 0.2 for x in places], front, 0.4, yerr=bars, color=FRONT_COLOUR, label="front",
                 error_kw={"linewidth": 0.8, "capsize": 2})  # fmt: skip
        labels = [str(r["option"]).replace("_", "\n") for r in same]
        axes.set_xticks(list(places), labels, fontsize=7)
        axes.set_title(name.replace("_", " "), fontsize=9)
        axes.grid(axis="y", alpha=0.25)
    for axes in list(grid.flat)[len(names) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel("share", fontsize=8)
    figure.legend(*grid.flat[0].get_legend_handles_labels(), loc="upper right", ncols=2, fontsize=8, frameon=False)
    return _finished(figure, title, note)


def _finished(figure: Any, title: str, note: str) -> bytes:
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    figure.text(0.01, 0.008, note, fontsize=6, color="#555555")
    figure.tight_layout(rect=(0, 0.03, 1, 0.98))
    return png_of(figure)
