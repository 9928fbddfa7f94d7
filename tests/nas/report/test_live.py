"""The live panel of a search, as it stands on a screen."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from nas.report.live import SearchView, live_progress, retraining_progress
from nas.runs.retrain import CurvePoint
from nas.runs.trial_files import epochs_trained
from nas.search.problem import Progress
from tests.terminal import screen

PROGRESS = Progress(
    target=24, trained=7, spent=7, rejected=0, reused=2, failed=1, halted=0, running=2, hypervolume=0.51234,
    front_size=5, best_robust_accuracy=0.61234, seconds_left=4000.0, latest=None, in_work=((7, 0), (8, 0)),
)  # fmt: skip
DONE = {(7, 0): 12, (8, 0): 30}


def console(width: int) -> Console:
    return Console(file=StringIO(), force_terminal=True, width=width, height=24)


def shown(printed: Console) -> list[str]:
    assert isinstance(printed.file, StringIO)
    return screen(printed.file.getvalue(), printed.width)


@pytest.mark.parametrize("width", [80, 110, 200])
def test_the_panel_shows_all_it_knows_at_every_width(width: int) -> None:
    printed = console(width)
    with live_progress(printed, "tiny", lambda *training: DONE.get(training), 30) as (report, _):
        report(PROGRESS)
        printed.print(end="")  # refreshes
        lines = shown(printed)
    text = "\n".join(lines)
    for words in ("done 7 / 24", "running 2", "left 15", "failed 1", "elapsed 0:0", "ETA 1:06:", "front 5",
                  "hypervolume 0.5123", "best robust 0.612", "reused 2", "trial 7 epoch 12/30",
                  "trial 8 scoring"):  # fmt: skip
        assert words in text
    assert "rejected" not in text, "what is 0 is left out"
    assert "━" in lines[1], "the bar has a line of its own"
    assert "done" not in lines[1]
    panel = [line for line in lines if line]
    assert {len(line) for line in panel} == {width}
    assert all(line[0] + line[-1] in ("╭╮", "││", "╰╯") for line in panel), "no row is cropped"


@pytest.mark.parametrize("workers", [1, 7, 16])
def test_the_epoch_of_every_worker_is_shown_at_80_columns(workers: int) -> None:
    in_work = tuple((100 + n, n % 3) for n in range(workers))
    progress = replace(PROGRESS, running=workers, in_work=in_work, target=1000, spent=123.5)
    printed = console(80)
    with live_progress(printed, "tiny", lambda number, _: number - 90, 30) as (report, _):
        report(progress)
        printed.print(end="")
        lines = shown(printed)
    text = "\n".join(lines)
    for number, repeat in in_work:
        assert f"trial {number}{f' seed {repeat}' if repeat else ''} epoch {number - 90}/30" in text
    for words in ("done 123.5 / 1000", f"running {workers}", f"left {877 - workers}", "elapsed 0:0", "ETA 1:06:"):
        assert words in text
    panel = [line for line in lines if line]
    assert all(len(line) == 80 and line[0] + line[-1] in ("╭╮", "││", "╰╯") for line in panel), "a row is cropped"


def test_the_panel_moves_while_nothing_is_reported() -> None:
    view = SearchView("tiny", lambda *training: DONE.get(training), 30)
    view.update(PROGRESS)
    printed = console(80)
    view.began, view.reported = view.began - 61.5, view.reported - 61.5
    printed.print(view)
    text = "\n".join(shown(printed))
    assert "elapsed 1:0" in text
    assert "ETA 1:05:3" in text
    assert "trial 7 epoch 12/30" in text


def test_the_panel_is_there_before_the_first_report() -> None:
    printed = console(80)
    with live_progress(printed, "tiny") as _:
        assert "reading the data, starting workers   elapsed 0:00" in "\n".join(shown(printed))


def test_nothing_is_said_of_epochs_that_are_not_known() -> None:
    printed = console(80)
    with live_progress(printed, "tiny", lambda *_: None, 30) as (report, _):
        report(PROGRESS)
        printed.print(end="")
        text = "\n".join(shown(printed))
    assert "trial 7" in text
    assert "epoch" not in text


@pytest.mark.parametrize("presses", [1, 3])
def test_no_border_remains_where_the_terminal_echoes_ctrl_c(presses: int) -> None:
    printed = console(80)
    with live_progress(printed, "tiny") as (report, _):
        report(PROGRESS)
        printed.print(end="")
        printed.file.write("^C" * presses)
    assert "".join(shown(printed)) == ""


def test_a_retraining_fits_80_columns_and_leaves_nothing() -> None:
    printed = console(80)
    point = CurvePoint(123, 1.2345, 0.5, 0.1, natural_accuracy=0.71234, robust_accuracy=0.61234)
    with retraining_progress(printed) as report:
        report(point, 200)
        printed.print(end="")
        text = shown(printed)[0]
        printed.file.write("^C" * 3)
    assert "epoch 123/200" in text
    assert "0:00:00" in text, "the time that has passed"
    assert "loss 1.234, robust 0.612, natural 0.712" in text
    assert "".join(shown(printed)) == ""


def test_epochs_are_read_from_the_log_of_a_trial(tmp_path: Path) -> None:
    assert epochs_trained(tmp_path, 7) is None
    log = tmp_path / "00007" / "seed_1" / "log.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text('{"inherits": 3, "share": 0.5}\n{"epoch": 1, "loss": 2.0}\n{"epoch": 2, "loss": 1.5}\n')
    assert epochs_trained(tmp_path, 7, 1) == 2
