"""Progress of long work on a terminal (live) or in a log (a line at a time)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from nas.report.tables import duration_text, progress_line, progress_view, waiting_view
from nas.search.problem import Progress as SearchProgress

if TYPE_CHECKING:
    from nas.assets.supernet.training import SupernetLog
    from nas.evaluation.course import AttackReport
    from nas.runs.retrain import CurvePoint


Epochs = Callable[[int, int], int | None]
"""Epochs that a training (of a trial, from a seed) has finished; None where that is not known."""


@dataclass
class SearchView:
    """What a terminal shows of a search; made anew at each refresh, so that clock and epochs move between reports."""

    name: str
    epochs: Epochs = lambda *_: None
    target: int = 0
    """Epochs of a full training."""
    began: float = field(default_factory=monotonic)
    progress: SearchProgress | None = None
    reported: float = 0.0
    """When `progress` was."""
    first: str = "reading the data, starting workers"
    """What is done before the first report."""

    def update(self, progress: SearchProgress) -> None:
        """Shows `progress` from now on."""
        self.progress, self.reported = progress, monotonic()

    def __rich__(self) -> RenderableType:
        elapsed = monotonic() - self.began
        if self.progress is None:
            return waiting_view(self.name, self.first, elapsed)
        left = self.progress.seconds_left
        left = None if left is None else max(0.0, left - (monotonic() - self.reported))
        workers = [self._worker(number, repeat) for number, repeat in self.progress.in_work]
        return progress_view(replace(self.progress, seconds_left=left), self.name, elapsed, workers)

    def _worker(self, number: int, repeat: int) -> str:
        done, seed = self.epochs(number, repeat), f" seed {repeat}" if repeat else ""
        doing = "" if done is None else f" epoch {done}/{self.target}" if done < self.target else " scoring"
        return f"trial {number}{seed}{doing}"


@contextmanager
def live_progress(
    console: Console, name: str, epochs: Epochs = lambda *_: None, target: int = 0
) -> Iterator[tuple[Callable[[SearchProgress], None], "Callable[[SupernetLog, int], None]"]]:
    """Receivers of a search's progress and of its supernet's epochs: a live panel on a terminal, lines elsewhere.

    The panel shows how many of its `target` `epochs` each running candidate has finished, where that is known.
    """
    if not console.is_terminal:
        yield lambda progress: _log(console, progress), lambda log, total: _log_supernet(console, log, total)
        return
    view = SearchView(name, epochs, target)
    # The empty line takes what a terminal echoes (^C): in a full line it would wrap, and leave a border behind.
    with Live(Group(view, ""), console=console, refresh_per_second=4, transient=True):

        def update(progress: SearchProgress) -> None:
            view.update(progress)
            if progress.latest is not None and progress.latest.error:
                _log(console, progress)

        def update_supernet(log: "SupernetLog", total: int) -> None:
            view.first = f"training the supernet, epoch {log.epoch}/{total}"
            _log_supernet(console, log, total)

        yield update, update_supernet


def _log(console: Console, progress: SearchProgress) -> None:
    line = progress_line(progress)
    if line is not None:
        console.print(line, soft_wrap=True, highlight=False)


def _log_supernet(console: Console, log: "SupernetLog", total: int) -> None:
    """A line for each tenth of the epochs."""
    if log.epoch % max(1, total // 10) == 0 or log.epoch == total:
        text = f"largest {log.loss_largest:.3f}, smallest {log.loss_smallest:.3f}"
        text += "" if log.loss_random is None else f", random {log.loss_random:.3f}"
        console.print(f"supernet epoch {log.epoch}/{total}: loss of the {text}", soft_wrap=True, highlight=False)


def attack_lines(console: Console) -> "Callable[[AttackReport], None]":
    """Receiver of the attacks of a scoring: a line as each begins and as it ends, with the time that is left."""
    from nas.report.evaluations import attack_text

    def update(report: "AttackReport") -> None:
        name, rung = attack_text(report.attack, brief=True), report.rung
        left = "" if report.seconds_left is None else f"; about {duration_text(report.seconds_left)} left"
        if rung is None:
            text = f"attacking with {name} …{left}"
        else:
            text = f"{name}: {rung.broken} of {rung.num_images} images broken, robust {rung.robust_accuracy:.3f}{left}"
        console.print(text, soft_wrap=True, highlight=False, markup=False)

    return update


@contextmanager
def retraining_progress(console: Console) -> Iterator["Callable[[CurvePoint, int], None]"]:
    """Receiver of a retraining's epochs: a bar and the clock on a terminal, one line per validation elsewhere."""
    columns = (
        TextColumn("epoch"),
        MofNCompleteColumn(),
        BarColumn(bar_width=10),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    bar = Progress(*columns)
    task = bar.add_task("", total=None)

    def update(point: "CurvePoint", total: int) -> None:
        text = f"loss {point.loss:.3f}"
        if point.robust_accuracy is not None:
            text += f", robust {point.robust_accuracy:.3f}, natural {point.natural_accuracy:.3f}"
            if not console.is_terminal:
                console.print(f"epoch {point.epoch}/{total}: {text} (validation)", soft_wrap=True, highlight=False)
        bar.update(task, completed=point.epoch, total=total, description=text)

    # The empty line takes what a terminal echoes, as under the panel of a search.
    live = Live(Group(bar, ""), console=console, refresh_per_second=4, transient=True)
    with live if console.is_terminal else nullcontext():
        yield update
