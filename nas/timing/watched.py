"""A search and a retraining with their progress on a console, for the verbs and for programs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console

from nas.base.records import Evaluation
from nas.data.datasets import SearchData
from nas.pareto import Pick
from nas.report.live import Epochs, attack_lines, live_progress, retraining_progress
from nas.report.tables import retraining_text
from nas.runs import Run
from nas.runs.config import RunConfig
from nas.runs.retrain import retrain
from nas.runs.trial_files import epochs_trained
from nas.timing.estimate import retraining_time


def watched_work(
    work: Callable[..., str], config: RunConfig, folder: Path, console: Console, warn: Callable[[str], None]
) -> str:
    """Why `work` (`search` or `sweep` of nas.runs.work) has ended in the run folder; its progress is on `console`."""
    # A trial on another machine of a cluster brings its files when it ends: nothing is known of its epochs.
    epochs: Epochs = (
        (lambda *_: None) if config.search.executor == "ray" else partial(epochs_trained, folder / "trials")
    )
    with live_progress(console, folder.name, epochs, config.training.epochs) as (report, report_supernet):
        return work(config, folder, report, report_supernet, warn)


def watched_retraining(
    run: Run, picked: Pick, console: Console, *, inherited: bool = False, name: str = ""
) -> tuple[Path, Evaluation]:
    """Folder and evaluation that `nas.runs.retrain.retrain` gives; warnings, time and progress are on `console`."""
    record = picked.record
    console.print(f"retraining trial {record.number} ({picked.reason})", soft_wrap=True)
    for warning in record.evaluation.all_warnings if record.evaluation else ():
        console.print(f"[yellow]warning of trial {record.number}: {warning}[/yellow]", soft_wrap=True)

    def foresee(data: SearchData, epochs: int) -> None:
        # What was trained briefly is less robust than it will be; its natural accuracy is an upper bound of that.
        standing = record.evaluation.natural_accuracy if record.evaluation else 1.0
        found = retraining_time(run.config, data, run.space.spec(record.genotype), epochs, standing)
        console.print(retraining_text(found), soft_wrap=True, highlight=False)

    with retraining_progress(console) as report:
        return retrain(
            run, picked, report, inherited=inherited, name=name, foresee=foresee, report_attack=attack_lines(console)
        )
