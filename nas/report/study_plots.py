"""The study of a run as pictures: scores after every epoch, and how alike they rank networks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nas.base.errors import UsageError
from nas.report.names import column_name
from nas.report.plots import FRONT_COLOUR, OTHER_COLOUR, PICK_COLOUR, figure_of, png_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

COLOURS = ("#1f6fb4", "#d1495b", "#3a9d5d", "#e09f3e", "#6a4c93", "#4d4d4d", "#17becf", "#8c564b")


def curves_png(rows: Sequence[dict[str, Any]], panels: Sequence[tuple[str, str]], title: str, note: str) -> bytes:
    """PNG of `rows` (network, epoch, scores): mean over the seeds as a line, lowest to highest as a band."""
    figure = figure_of(4.3 * len(panels), 4.2)
    for axes, (name, heading) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for index, (network, spread) in enumerate(spreads(rows, name)):
            colour = COLOURS[index % len(COLOURS)]
            axes.plot(spread.index, spread["mean"], color=colour, linewidth=1.6, label=network)
            axes.fill_between(spread.index, spread["min"], spread["max"], color=colour, alpha=0.15, linewidth=0)
        axes.set(xlabel="epoch", title=heading)
        axes.title.set_fontsize(10)
        axes.grid(alpha=0.25)
    figure.axes[0].legend(fontsize=8, framealpha=0.9)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    figure.text(0.01, 0.005, note, fontsize=7, color="#555555")
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    return png_of(figure)


def agreement_png(rows: Sequence[dict[str, Any]], safe: float, title: str, note: str) -> bytes:
    """PNG of τ by epochs with its intervals: one panel for each metric, one colour for each sample.

    `safe` is the τ that is drawn as a dashed line. Raises UsageError where `rows` have no stage of epochs.
    """
    rows = [row for row in rows if row["compared"] == "rung"]
    if not rows:
        raise UsageError("no stage of epochs to draw: set search.halting.epochs or training.track_every_epoch=true")
    from matplotlib.ticker import MaxNLocator

    names = list(dict.fromkeys(row["metric"] for row in rows))
    columns = min(len(names), 3)
    lines = -(-len(names) // columns)
    figure = figure_of(max(3.4 * columns, 7.6), 2.9 * lines + 0.7)
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for axes, name in zip(grid.flat, names, strict=False):
        _agreement_panel(axes, [row for row in rows if row["metric"] == name])
        axes.axhline(safe, color=PICK_COLOUR, linewidth=0.9, linestyle="--", label=f"unsafe if surely below {safe:g}")
        axes.set_title(column_name(name), fontsize=10)
        axes.set_xlabel("epoch", fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in figure.axes[len(names) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel("Kendall's τ-b", fontsize=9)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    figure.text(0.01, 0.005, note, fontsize=7, color="#555555")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="lower right", ncols=3, fontsize=7, frameon=False)
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    return png_of(figure)


SAMPLES = {
    "all": (FRONT_COLOUR, 0.0, "all candidates"),
    "spared": (FRONT_COLOUR, 0.0, "spared candidates"),
    "survivors": (OTHER_COLOUR, 0.12, "survivors (biased)"),
}
"""Colour, shift to the right and name of each sample."""


def _agreement_panel(axes: "Axes", rows: Sequence[dict[str, Any]]) -> None:
    """Draws τ of one metric by epochs, for each sample."""
    for sample, (colour, shift, label) in SAMPLES.items():
        shown = [row for row in rows if row["sample"] == sample and row["tau"] is not None]
        ends = [(row["tau"], row["tau"]) if row["low"] is None else (row["low"], row["high"]) for row in shown]
        bars = [[max(0.0, row["tau"] - low) for row, (low, _) in zip(shown, ends, strict=True)],
                [max(0.0, high - row["tau"]) for row, (_, high) in zip(shown, ends, strict=True)]]  # fmt: skip
        if shown:
            axes.errorbar(
                [row["epochs"] + shift for row in shown], [row["tau"] for row in shown], bars, fmt="o-", color=colour,
                ms=4, linewidth=1.2, elinewidth=1.0, capsize=2.5, label=label,
            )  # fmt: skip
    axes.axhline(0, color="#4d4d4d", linewidth=0.7)
    axes.grid(alpha=0.25)


def spreads(rows: Sequence[dict[str, Any]], name: str) -> "list[tuple[str, pd.DataFrame]]":
    """Mean, least and greatest over the seeds by epoch, for each network in the order of `rows`."""
    import pandas as pd

    table = pd.DataFrame(rows)
    return [
        (network, same.groupby("epoch")[name].agg(["mean", "min", "max"]))
        for network, same in ((n, table[table["network"] == n]) for n in dict.fromkeys(table["network"]))
    ]
