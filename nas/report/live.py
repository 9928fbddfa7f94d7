"""Progress of long work on a terminal (live) or in a log (a line at a time)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nas.report.tables import progress_line, progress_view
from nas.search.problem import Progress as SearchProgress

if TYPE_CHECKING:
    from nas.retrain import CurvePoint
    from nas.training.supernet import SupernetLog


@contextmanager
def live_progress(console: Console, name: str) -> Iterator[Callable[[SearchProgress], None]]:
    """Receiver of a search's progress: a live panel on a terminal, one line per trained trial elsewhere."""
    if not console.is_terminal:
        yield lambda progress: _log(console, progress)
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:

        def update(progress: SearchProgress) -> None:
            live.update(progress_view(progress, name))
            if progress.latest is not None and progress.latest.error:
                _log(live.console, progress)

        yield update


def _log(console: Console, progress: SearchProgress) -> None:
    line = progress_line(progress)
    if line is not None:
        console.print(line, soft_wrap=True, highlight=False)


def supernet_progress(console: Console) -> "Callable[[SupernetLog, int], None]":
    """Receiver of a supernet's epochs: a line for each tenth of them."""

    def update(log: "SupernetLog", total: int) -> None:
        if log.epoch % max(1, total // 10) == 0 or log.epoch == total:
            text = f"largest {log.loss_largest:.3f}, smallest {log.loss_smallest:.3f}"
            text += "" if log.loss_random is None else f", random {log.loss_random:.3f}"
            console.print(f"supernet epoch {log.epoch}/{total}: loss of the {text}", soft_wrap=True, highlight=False)

    return update


@contextmanager
def retraining_progress(console: Console) -> Iterator["Callable[[CurvePoint, int], None]"]:
    """Receiver of a retraining's epochs: a bar on a terminal, one line per validation elsewhere."""
    columns = (
        TextColumn("epoch"),
        MofNCompleteColumn(),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=None)

        def update(point: "CurvePoint", total: int) -> None:
            text = f"loss {point.loss:.3f}"
            if point.robust_accuracy is not None:
                text += f", validation robust {point.robust_accuracy:.3f}, natural {point.natural_accuracy:.3f}"
                if not console.is_terminal:
                    console.print(f"epoch {point.epoch}/{total}: {text}", soft_wrap=True, highlight=False)
            bar.update(task, completed=point.epoch, total=total, description=text)

        yield update
