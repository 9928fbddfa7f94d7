"""Tables in a terminal of any width: no number is cut, and what is left out is named."""

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console, RenderableType

from nas.budgets import Deployment
from nas.cli.options import out
from nas.pareto import MEASURES, ParetoFront, front_of, members_by_wilson
from nas.report.intervals import intervals_table
from nas.report.tables import block_table, front_table
from nas.report.whole_table import WholeTable
from tests.builders import trial
from tests.conftest import ROOT
from tests.toy import toy_spec

WIDTHS = (60, 80, 110, 200)
at_each_width = pytest.mark.parametrize("width", WIDTHS)


def printed(renderable: RenderableType, width: int) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def front(*names: str) -> ParetoFront:
    records = [
        trial(n, 12_345_678 * (n + 1), robust=0.312 + n / 20, natural=0.6 + n / 20, instability=0.123 - n / 100)
        for n in range(3)
    ]
    return front_of(records, tuple(MEASURES[name] for name in names))


@at_each_width
def test_no_number_of_a_front_is_cut(width: int) -> None:
    objectives = ("robust_accuracy", "natural_accuracy", "instability", "lipschitz_bound_log10", "params")
    text = printed(front_table(front(*objectives), "Pareto front", ["macs", "weight_bytes"]), width)
    assert "…" not in text
    for number in ("0.312 0.26–0.36", "0.600 0.55–0.65", "0.123", "12,345,678", "617,283,900", "49.4 MB"):
        assert number in text
    assert max(map(len, text.splitlines())) <= width


def test_a_front_shows_its_objectives_then_the_budgeted_costs_and_names_what_is_left_out() -> None:
    text = printed(front_table(front("robust_accuracy", "params"), "Pareto front", ["macs"], "`nas front runs/x`"), 80)
    heading = text.splitlines()[2]
    assert heading.index("robust") < heading.index("params") < heading.index("MACs")
    note = " ".join(text.partition("left out at 80 columns: ")[2].split())
    names = "weights, peak RAM, instability, Lipschitz bound (log10), empirical Lipschitz, genotype"
    assert note.startswith(f"{names}; a terminal of 170 columns")
    assert note.endswith("so does `nas front runs/x`")
    everything = printed(front_table(front("robust_accuracy", "params"), "Pareto front", ["macs"]), 170)
    assert "left out" not in everything
    assert "W 0.5  E 2" in everything


@at_each_width
def test_no_heading_of_a_front_with_intervals_is_cut(width: int) -> None:
    found = front("robust_accuracy", "instability", "lipschitz_bound_log10", "params")
    values = [np.array([[1.0, 0.1, 5.0, record.costs.params]]) for record in found.records]
    members = members_by_wilson(found.records, values, found.objectives)
    text = printed(intervals_table(members, found.objectives, "Pareto front"), width)
    words = {word for line in text.splitlines() for word in line.replace("┃", " ").split()}
    assert {"Lipschitz", "bound", "(log10)", "rank", "robust"} <= words


def test_a_score_that_was_measured_for_no_trial_has_no_column() -> None:
    found = front_of([trial(0, lipschitz_bound_log10=None)], (MEASURES["robust_accuracy"],))  # type: ignore[arg-type]
    text = printed(front_table(found, "Pareto front"), 200)
    assert "Lipschitz bound" not in text
    assert "none" not in text


def test_balanced_accuracies_of_uneven_classes_are_shown_in_tables() -> None:
    uneven = trial(0, balanced_robust_accuracy=0.234, balanced_natural_accuracy=0.567)
    found = front_of([uneven], (MEASURES["robust_accuracy"], MEASURES["params"]))
    text = printed(front_table(found, "front"), 220)
    assert "balanced robust" in text
    assert "0.234" in text
    assert "0.567" in text


@at_each_width
def test_no_number_of_a_network_is_cut(width: int) -> None:
    text = printed(block_table(toy_spec({"a": 345, "b": 678}), Deployment()), width)
    assert "…" not in text
    for number in ("345", "678", "8×8", "235,266"):
        assert number in text
    assert "residual" not in text, "a column without any text is left out"


def test_words_break_at_spaces_and_numbers_do_not() -> None:
    table = WholeTable()
    table.add_column("name")
    table.add_column("value", justify="right")
    table.add_row("some long name of a quantity", "0.123 ± 0.456")
    rows = [line.split("│")[1:3] for line in printed(table, 30).splitlines() if "│" in line]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["some long", "0.123 ± 0.456"], ["name of a", ""], ["quantity", ""],
    ]  # fmt: skip


def test_columns_that_must_be_shown_continue_below_with_the_first_one() -> None:
    table = WholeTable(kept=3)
    for heading in ("trial", "first", "second", "third"):
        table.add_column(heading, justify="right")
    table.add_row("7", "1,111,111", "2,222,222", "3,333,333")
    text = printed(table, 24)
    rows = [line for line in text.splitlines() if "│" in line]
    assert [[cell.strip() for cell in row.split("│")[1:-1]] for row in rows] == [["7", "1,111,111"], ["7", "2,222,222"]]
    assert "left out at 24 columns: third; a terminal of 45 columns shows them" in " ".join(text.split())


@pytest.mark.parametrize(("terminal", "lines"), [(True, 2), (False, 1)])
def test_a_line_breaks_between_words_in_a_terminal_and_not_at_all_elsewhere(terminal: bool, lines: int) -> None:
    file = StringIO()
    console = out.__class__(file=file, force_terminal=terminal, width=80, color_system=None)
    console.print("one word and another " * 3 + "12,345,678 and the rest", soft_wrap=True)
    found = file.getvalue().splitlines()
    assert len(found) == lines
    assert any("12,345,678" in line for line in found)


def test_every_table_of_a_report_is_one_that_is_not_cut() -> None:
    ordinary = [path.name for path in Path(ROOT, "nas", "report").glob("*.py") if " Table(" in path.read_text()]
    assert ordinary == ["whole_table.py"]
