"""Searches on a table, compared: a table of text, the same as Markdown, and the figure."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from nas.report.plots import figure_of, png_of
from nas.report.study_plots import COLOURS
from nas.report.whole_table import WholeTable

HEADINGS = ("variant", "candidates", "halted", "reused", "hypervolume", "seen", "epochs to the baseline's end")
STYLES = ("-", "--", ":", "-.")
READABLE = 6
"""Variants whose intervals, and whose names, find room among the curves."""


def replay_table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """One line for each variant; the first is the baseline."""
    table = WholeTable()
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading == "variant" else "right")
    for row in rows:
        table.add_row(*_cells(row))
    return Group(table, Text(_note(rows), style="dim"))


def replay_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The same as a Markdown table."""
    lines = [f"| {' | '.join(HEADINGS)} |", f"|---{'|---:' * (len(HEADINGS) - 1)}|"]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    return "\n".join(lines) + f"\n\n{_note(rows)}\n"


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    share, low, high = ("never" if row[name] is None else f"{row[name]:.2f}" for name in SHARES)
    bar = "" if low == "never" else f" ({low}–{high})"
    hypervolume = f"{row['hypervolume']:.4f} ({row['hypervolume_low']:.4f}–{row['hypervolume_high']:.4f})"
    return (
        row["variant"], f"{row['candidates']:.0f}", f"{row['halted']:.0f}", f"{row['reused']:.0f}", hypervolume,
        f"{row['hypervolume_seen']:.4f}", share + bar,
    )  # fmt: skip


SHARES = ("share", "share_low", "share_high")


def _note(rows: Sequence[Mapping[str, Any]]) -> str:
    budget = ", ".join(f"{epochs:,}" for epochs in sorted({row["epochs"] for row in rows}))
    return (
        f"Mean over {rows[0]['searches']} searches of {budget} epochs (95 % bootstrap interval). reused: proposals of "
        f"a network that was trained before; hypervolume: of the networks on the search's front by trainings that the "
        f"search did not see; seen: by those that it saw and selected by; the last column: share of the epochs after "
        f"which the mean search is as good as the baseline, {rows[0]['variant']}, in the end."
    )


def replay_png(points: Sequence[Mapping[str, Any]], title: str, note: str) -> bytes:
    """PNG of `points` (variant, epochs, hypervolume, low, high): mean as a line, the interval of a few as a band."""
    many = len({point["variant"] for point in points}) > READABLE
    figure = figure_of(12.0 if many else 9.0, 5.2)
    axes = figure.add_subplot()
    for index, (variant, same) in enumerate(groupby(points, lambda point: point["variant"])):
        line = [point for point in same if point["epochs"] > 0]
        epochs = [point["epochs"] for point in line]
        colour, style = COLOURS[index % len(COLOURS)], STYLES[index // len(COLOURS) % len(STYLES)]
        means = [point["hypervolume"] for point in line]
        axes.plot(epochs, means, color=colour, linestyle=style, linewidth=1.6, label=variant)
        low, high = ([point[side] for point in line] for side in ("low", "high"))
        if not many:
            axes.fill_between(epochs, low, high, color=colour, alpha=0.12, linewidth=0)
    final = [point["hypervolume"] for point in points]
    axes.set(xlabel="epochs spent by all candidates", ylabel="hypervolume of the front, by trainings not seen")
    axes.set_ylim(bottom=sorted(final)[len(final) // 20])
    axes.grid(alpha=0.25)
    place = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)} if many else {"loc": "lower right"}
    axes.legend(fontsize=8, framealpha=0.9, **place)
    if many:
        note = f"{note}; the intervals are in the table"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    figure.text(0.01, 0.01, note, fontsize=7, color="#555555")
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    return png_of(figure)
