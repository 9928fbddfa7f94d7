"""Tables and pictures of the one-shot studies: transfer of attacks, runs compared, what a front is made of."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from nas.measures import MEASURES
from nas.report.names import column_name
from nas.report.plots import FRONT_COLOUR, OTHER_COLOUR, figure_of, log_axis, png_of
from nas.report.study_plots import COLOURS
from nas.report.whole_table import WholeTable

Row = Mapping[str, Any]


def transfer_table(rows: Sequence[Row], title: str) -> WholeTable:
    """Accuracy of every target (columns) on the images of every source (rows)."""
    table = WholeTable(title)
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


def comparison_table(rows: Sequence[Row]) -> WholeTable:
    """A line for each run."""
    first = rows[0]
    sure = any(row.get("robust_accuracy_low") is not None for row in rows)
    bounds = "95 % bootstrap over networks" if sure else "too few networks for intervals"
    table = WholeTable(f"{first['networks']} common networks; in grey: difference from {first['run']}, {bounds}")
    scores = [name for name in first if name in MEASURES]
    headings = ("run", "trainings", *map(column_name, scores), "τ robust", "τ size", "hypervolume", "s each")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "run" else "right")
    for row in rows:
        table.add_row(
            row["run"], str(row["trainings"]),
            *(_score(row, name) for name in scores),
            _tau(row), _tau(row, "tau_params"), f"{row['hypervolume']:.4f}", f"{row['seconds']:.1f}",
        )  # fmt: skip
    return table


def _score(row: Row, name: str) -> str:
    text = f"{row[name]:.3f}"
    if f"{name}_difference" not in row:
        return text
    gap, low, high = (row[f"{name}_{end}"] for end in ("difference", "low", "high"))
    bounds = "" if low is None else f" ({low:+.3f} … {high:+.3f})"
    return f"{text} [dim]{gap:+.3f}{bounds}[/dim]"


def _tau(row: Row, name: str = "tau", plain: bool = False) -> str:
    if row.get(name) is None:
        return "–"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    bounds = "" if low is None else f" ({low:+.2f} … {high:+.2f})"
    return f"{row[name]:+.2f}" + (bounds if plain else f"[dim]{bounds}[/dim]")


def comparison_png(scores: Mapping[str, Mapping[str, Row]], rows: Sequence[Row], title: str, protocol: str) -> bytes:
    """Robust accuracy of the common networks by their parameters, and by that in the first run; a colour for a run.

    `protocol` says what all were scored on.
    """
    (first, baseline), *_ = scores.items()
    figure = figure_of(11, 4.6)
    by_size, by_first = figure.subplots(1, 2)
    for index, ((name, found), row) in enumerate(zip(scores.items(), rows, strict=True)):
        robust = [values["robust_accuracy"] for values in found.values()]
        dots = {"color": COLOURS[index % len(COLOURS)], "ms": 4.5, "alpha": 0.75, "linestyle": "none", "marker": "o"}
        by_size.plot([values["params"] for values in found.values()], robust, label=name, **dots)
        if name != first:
            theirs = [baseline[key]["robust_accuracy"] for key in found]
            by_first.plot(theirs, robust, label=f"{name}: τ {_tau(row, plain=True)}", **dots)
    ends = [values["robust_accuracy"] for values in baseline.values()]
    by_first.plot([min(ends), max(ends)], [min(ends), max(ends)], color=OTHER_COLOUR, linewidth=0.8, zorder=0)
    log_axis(by_size, [values["params"] for values in baseline.values()])
    by_size.set(xlabel="parameters", ylabel="robust accuracy")
    by_first.set(xlabel=f"robust accuracy in {first}", ylabel="robust accuracy")
    for axes in (by_size, by_first):
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8, framealpha=0.9)
    trainings = ", ".join(f"{row['run']} {row['trainings']}" for row in rows)
    note = f"{len(baseline)} networks; {protocol}; trainings: {trainings}, means over the seeds of a network"
    return _finished(figure, title, note)


def composition_table(rows: Sequence[Row]) -> WholeTable:
    """Shares of every option on the front and among all."""
    table = WholeTable(
        "4. What the front is made of (bold: the share among all lies outside the front's 95 % interval)"
    )
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
    lines = textwrap.wrap(note, int(18 * figure.get_figwidth()))  # at 6 points
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    figure.text(0.01, 0.008, "\n".join(lines), fontsize=6, color="#555555")
    figure.tight_layout(rect=(0, 0.02 + 0.02 * len(lines), 1, 0.98))
    return png_of(figure)
