"""Scores after every epoch as pictures: one panel for each score, one line for each network."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from nas.report.plots import figure_of, png_of

if TYPE_CHECKING:
    import pandas as pd

COLOURS = ("#1f6fb4", "#d1495b", "#3a9d5d", "#e09f3e", "#6a4c93", "#4d4d4d", "#17becf", "#8c564b")


def curves_png(rows: Sequence[dict[str, Any]], panels: Sequence[tuple[str, str]], title: str, note: str) -> bytes:
    """PNG of `rows` (network, epoch, scores): mean over the seeds as a line, lowest to highest as a band."""
    figure = figure_of(4.3 * len(panels), 4.2)
    for axes, (name, heading) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for index, (network, spread) in enumerate(_spreads(rows, name)):
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


def curves_html(rows: Sequence[dict[str, Any]], panels: Sequence[tuple[str, str]], title: str, note: str) -> str:
    """The same as one page that is readable offline."""
    from plotly import graph_objects as go
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=1, cols=len(panels), subplot_titles=[heading for _, heading in panels])
    for column, (name, _) in enumerate(panels, 1):
        for index, (network, spread) in enumerate(_spreads(rows, name)):
            bars = {"array": spread["max"] - spread["mean"], "arrayminus": spread["mean"] - spread["min"]}
            figure.add_trace(
                go.Scatter(
                    x=spread.index, y=spread["mean"], error_y={**bars, "thickness": 0.7, "width": 0}, name=network,
                    legendgroup=network, showlegend=column == 1, line={"color": COLOURS[index % len(COLOURS)]},
                ), row=1, col=column,
            )  # fmt: skip
    figure.update_xaxes(title_text="epoch")
    figure.update_layout(template="plotly_white", height=460)
    plot = figure.to_html(full_html=False, include_plotlyjs=True)
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{escape(title)}</title></head>"
        f"<body style='font-family:system-ui,sans-serif;margin:2rem'><h1>{escape(title)}</h1><p>{escape(note)}</p>"
        f"{plot}</body></html>"
    )


def _spreads(rows: Sequence[dict[str, Any]], name: str) -> "list[tuple[str, pd.DataFrame]]":
    """Mean, least and greatest over the seeds by epoch, for each network in the order of `rows`."""
    import pandas as pd

    table = pd.DataFrame(rows)
    return [
        (network, same.groupby("epoch")[name].agg(["mean", "min", "max"]))
        for network, same in ((n, table[table["network"] == n]) for n in dict.fromkeys(table["network"]))
    ]
