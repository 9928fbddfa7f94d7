"""Reading a tabular benchmark, and refusing what is none."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from nas.base.errors import UsageError
from nas.runs import make_space
from nas.runs.config import load_config
from nas.studies.replay.table import read_table
from search_spaces import SearchSpace
from tests.nas.studies.replay.conftest import EPOCHS, rows


@pytest.fixture
def space(bench: Path) -> SearchSpace:
    return make_space(load_config(bench / "tiny.yaml"), (1, 8, 8), 10)


def test_a_training_is_what_its_rows_say(bench: Path, space: SearchSpace) -> None:
    table = read_table(bench / "table.csv", space)
    genotype = space.genotype({"width": 0.75, "expand": 2})
    first, second = (table.training(genotype, draw) for draw in (0.0, 0.999))
    assert table.epochs == EPOCHS
    assert len(table.trainings) == 12
    assert [scores["robust_accuracy"] for scores in first.scores] == pytest.approx(
        [0.475 * e / 4 for e in (1, 2, 3, 4)]
    )
    assert second.scores[-1]["robust_accuracy"] == pytest.approx(0.495)
    assert first.seconds == 1.5
    assert table.unseen(genotype, 0.0)["robust_accuracy"] == pytest.approx(0.495), "the other one"
    assert table.unseen(genotype, 0.999)["robust_accuracy"] == pytest.approx(0.475)
    assert table.metrics == ("natural_accuracy", "robust_accuracy", "instability")


def without(column: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda table: table.drop(columns=column)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("width"), "no column width"),
        (without("robust_accuracy"), "no column robust_accuracy"),
        (lambda t: t[t["expand"] < 4], "9 of the 12 architectures"),
        (lambda t: t[(t["epoch"] < 4) | (t["seed"] == 10)], r"trainings of \[3, 4\] epochs"),
        (lambda t: t[t["seed"] == 10], "trained once.*sweep.seeds 2"),
        (lambda t: t[t["epoch"] != 2], r"\[1, 3, 4\], not 1, 2, 3"),
        (lambda t: t.replace({"width": {0.5: 0.55}}), "width = 0.55 is no option"),
    ],
)
def test_what_is_no_table_of_the_space_is_refused(
    bench: Path, space: SearchSpace, change: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    change(rows()).to_csv(bench / "table.csv", index=False)
    with pytest.raises(UsageError, match=message):
        read_table(bench / "table.csv", space)


def with_value(column: str, value: object, row: int = 5) -> pd.DataFrame:
    """The table with `value` in a row (0 is the line after the header) of `column`."""
    table = rows().astype({column: object})
    table.loc[row, column] = value
    return table


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("robust_accuracy", "fast", "'fast' is no number"),
        ("robust_accuracy", None, r"robust_accuracy cannot be nan \(allowed: 0 to 1\)"),
        ("robust_accuracy", 41.7, r"robust_accuracy cannot be 41.7 \(allowed: 0 to 1; did you mean 0.417\?\)"),
        ("natural_accuracy", -0.1, r"natural_accuracy cannot be -0.1 \(allowed: 0 to 1\)"),
        ("instability", "inf", r"instability cannot be inf \(allowed: 0 or more\)"),
        ("width", None, "nan is no value"),
        ("seed", None, "nan is no value"),
        ("seconds", -1.0, "-1 is no time"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_line_and_column(
    bench: Path, space: SearchSpace, column: str, value: object, reason: str
) -> None:
    with_value(column, value).to_csv(bench / "table.csv", index=False)
    with pytest.raises(UsageError, match=rf"table.csv, line 7, column {column}: {reason}"):
        read_table(bench / "table.csv", space)


def test_columns_that_are_no_metrics_are_left_alone_and_empty_ones_were_not_measured(
    bench: Path, space: SearchSpace
) -> None:
    rows().assign(note="by hand", lipschitz_empirical=None).to_csv(bench / "table.csv", index=False)
    assert read_table(bench / "table.csv", space).metrics == ("natural_accuracy", "robust_accuracy", "instability")


def test_a_missing_file_and_one_that_is_no_csv_are_refused(bench: Path, space: SearchSpace) -> None:
    with pytest.raises(UsageError, match="nas study curves"):
        read_table(bench / "none.csv", space)
    (bench / "table.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UsageError, match="not a CSV"):
        read_table(bench / "table.csv", space)
