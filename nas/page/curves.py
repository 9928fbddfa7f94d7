"""Scores after every epoch as a page."""

from collections.abc import Sequence
from typing import Any

from nas.page.columns import all_rounded
from nas.page.write import CURVES, page_html
from nas.report.study_plots import spreads


def curves_page(rows: Sequence[dict[str, Any]], panels: Sequence[tuple[str, str]], title: str, note: str) -> str:
    """HTML of `rows` (network, epoch, scores): mean over the seeds as a line, lowest to highest as a band."""
    found = []
    for name, heading in panels:
        lines = [
            {"label": network, "x": [int(epoch) for epoch in spread.index],
             **{key: all_rounded(spread[key].tolist()) for key in ("mean", "min", "max")}}
            for network, spread in spreads(rows, name)
        ]  # fmt: skip
        found.append({"title": heading, "lines": lines})
    return page_html(title, {"title": title, "note": note, "panels": found}, "curves.html", CURVES)
