"""Trials as pandas data frames, what their columns mean, and how a notebook shows a front."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import pandas as pd
from rich.text import Text

from nas.base.records import TrialRecord
from nas.measures import MEASURES
from nas.pareto import ParetoFront
from nas.report.names import column_name
from nas.report.plots import front_png
from nas.report.rows import frame_of, front_row, trial_row
from nas.report.tables import cell, columns_for, genotype_text


@dataclass(frozen=True)
class FrontView:
    """What is shown of a front: its members among `records`, and what is said under its table."""

    front: ParetoFront
    records: tuple[TrialRecord, ...]
    title: str
    warned: tuple[str, ...] = ()
    """Warnings, numbered where the table refers to them."""
    said: tuple[str, ...] = ()
    """Attacks and threat model, size and hypervolume, notes."""
    budgeted: tuple[str, ...] = ()
    """Costs that the budget limits, which the table shows first."""

    def png(self) -> bytes:
        """Picture of the front over its first cost (matplotlib)."""
        title = self.title.replace("$", r"\$")  # else mathematics to matplotlib
        return front_png(self.front, self.records, title)

    def html(self) -> str:
        """The picture, inlined, the table, and what is said; every string is escaped."""
        picture = b64encode(self.png()).decode()
        lines = "".join(f"<li>{escape(text)}</li>" for text in (*self.warned, *self.said))
        alt = escape(self.title, quote=True)
        image = f'<img alt="{alt}" style="max-width:100%" src="data:image/png;base64,{picture}">'
        return f"<div><p><strong>{escape(self.title)}</strong></p>{image}{self._table()}<ul>{lines}</ul></div>"

    def _table(self) -> str:
        columns = columns_for(self.front, self.budgeted)
        arrows = {o.name: " ↓" if o.direction == "minimize" else " ↑" for o in self.front.objectives}
        heads = ["trial", *(f"{column_name(name)}{arrows.get(name, '')}" for name in columns), "genotype"]
        marks = {text: f" {text.partition(' ')[0]}" for text in self.warned if text.startswith("[")}
        rows = []
        for record in self.front.records:
            own = record.evaluation.all_warnings if record.evaluation else ()
            notes = "".join(mark for text, mark in marks.items() if text.partition(" ")[2] in own)
            cells = [Text.from_markup(cell(name, record)).plain for name in columns]
            rows.append([f"{record.number}{notes}", *cells, genotype_text(record.genotype.values)])
        body = "".join(_row(one, "td") for one in rows)
        return f"<table><thead>{_row(heads, 'th')}</thead><tbody>{body}</tbody></table>"


def _row(cells: Iterable[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(text)}</{tag}>' for text in cells)}</tr>"


class FrontFrame(pd.DataFrame):
    """Members of a front, a row each, by trial number. A notebook shows it with its picture and its warnings.

    What pandas makes of it (a part, a sorted copy) is an ordinary data frame.
    """

    _metadata = ["shown"]  # noqa: RUF012  # as pandas wants it
    shown: FrontView

    def _repr_html_(self) -> str:
        return self.shown.html()


def front_frame(shown: FrontView) -> FrontFrame:
    """Data frame of a front, best first objective first. The columns are those of `nas front --format csv`."""
    frame = FrontFrame(frame_of([front_row(record) for record in shown.front.records]).set_index("number"))
    frame.shown = shown
    return frame


def trials_frame(records: Sequence[TrialRecord], front: ParetoFront) -> pd.DataFrame:
    """Data frame of all `records` by their numbers, with how each ended and whether it is on `front`."""
    members = {record.number for record in front.records}
    return frame_of([trial_row(record, record.number in members) for record in records]).set_index("number")


FACTS: dict[str, tuple[str, str]] = {
    "state": ("", "complete, rejected (over budget, never trained), halted (stopped early) or failed"),
    "is_feasible": ("", "complete and within every limit"),
    "on_front": ("", "not dominated in the run's objectives by any feasible trial"),
    "key": ("", "name of the architecture: equal keys are equal networks"),
    "chance": ("fraction", "accuracy of always answering with the most frequent class"),
    "balanced_natural_accuracy": ("fraction", "mean over the classes of natural accuracy; empty where they are even"),
    "balanced_robust_accuracy": ("fraction", "mean over the classes of robust accuracy; empty where they are even"),
    "split": ("", "images of the scores: validation (held out of the training set) or test"),
    "num_images": ("images", "number of them"),
    "fidelity": ("", "highest rung of the attack ladder behind robust accuracy: screen, attack, front or final"),
    "warnings": ("", "reasons to doubt the numbers, joined by ;"),
    "failed_checks": ("", "checks of trust that did not pass, joined by ;"),
    "ladder": ("", "attacks in order, each with the robust accuracy that was left after it"),
    "seconds": ("s", "wall time of training and scoring"),
    "violated": ("", "limits that it is beyond, with the relative excess"),
    "epochs": ("epochs", "trained, where it was halted before all of them"),
    "reused_from": ("", "number of the earlier trial of the same architecture whose result this is"),
    "inherits": ("", "number of the trial whose weights its training started from; empty: from random ones"),
    "error": ("", "of a failed trial"),
}
"""Unit and meaning of the columns that are no measure."""

_PREFIXES = {
    "genotype.": "choice of the search space",
    "attack.": "setting of the attack that instability and the empirical Lipschitz constant come from",
    "threat.": "threat model of training and scoring",
    "by_threat.": "score under a further threat of evaluation.threats",
}


def column_facts(columns: Iterable[str]) -> pd.DataFrame:
    """Title, unit and meaning of each of `columns` of a frame of this module, by its name."""
    rows = [(name, *_facts(name)) for name in columns]
    return pd.DataFrame(rows, columns=["column", "title", "unit", "meaning"]).set_index("column")


def _facts(name: str) -> tuple[str, str, str]:
    if name in MEASURES:
        one = MEASURES[name]
        better = "less is better" if one.direction == "minimize" else "more is better"
        return one.title, one.unit, "; ".join(filter(None, (one.note, better)))
    if name in FACTS:
        return (name.replace("_", " "), *FACTS[name])
    for one in MEASURES.values():
        if one.interval and name in (f"{one.interval}.low", f"{one.interval}.high"):
            end = "lower" if name.endswith("low") else "upper"
            return f"{one.title}, {end} end", one.unit, "of the 95 % Wilson interval over the images"
    prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), "")
    unit = "pixel units" if name.rpartition(".")[2] in ("epsilon", "step_size") else ""
    return name.removeprefix(prefix).replace("_", " "), unit, _PREFIXES.get(prefix, "")
