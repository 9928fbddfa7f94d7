"""Reading a tabular benchmark, and refusing what is none."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from nas.config import load_config
from nas.errors import UsageError
from nas.replay.table import read_table
from nas.runs import make_space
from search_spaces import SearchSpace
from tests.nas.replay.conftest import EPOCHS, rows


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


def test_a_missing_file_and_one_that_is_no_csv_are_refused(bench: Path, space: SearchSpace) -> None:
    with pytest.raises(UsageError, match="nas curves"):
        read_table(bench / "none.csv", space)
    (bench / "table.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UsageError, match="not a CSV"):
        read_table(bench / "table.csv", space)
