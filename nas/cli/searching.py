"""Verbs around a search: check, search, sweep, bench."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.status import Status

from nas.base.errors import UsageError
from nas.cli.ending import says_what_is_kept
from nas.cli.options import ConfigPath, Overrides, PlainFormat, RunName, app, err, out, print_json, study, warn
from nas.cli.printing import print_front, print_safety
from nas.workers.fork_server import OPTIMIZER, start_server

if TYPE_CHECKING:
    from nas.runs.config import RunConfig


@app.command(epilog="Example: nas check configs/digits.yaml --set budget.params=50000")
def check(
    config: Annotated[Path | None, typer.Argument(metavar="CONFIG", help="YAML file of the run.")] = None,
    overrides: Overrides = None,
    time: Annotated[bool, typer.Option(help="Measure on a few networks how long the search will take.")] = True,
    explain: Annotated[
        str, typer.Option(metavar="FIELD", help="Instead, say what a field means, such as training.attack.steps.")
    ] = "",
    format: PlainFormat = PlainFormat.TABLE,
) -> None:
    """Validate a config and say what its search would cover and how long it would take."""
    if explain:
        return _explain(explain, config, overrides, format)
    if config is None:
        raise UsageError("check needs a CONFIG, the YAML file of a run; or --explain FIELD")
    from nas.runs.config import load_config

    loaded = load_config(config, overrides or ())  # first: what is wrong with it is said at once
    if time:
        start_server("nas.timing.bench", OPTIMIZER)  # imports beside ours, on another core
    from nas.data.datasets import load_search_data
    from nas.report.tables import coverage_table
    from nas.timing.estimate import coverage, retraining_time, search_time

    data = load_search_data(loaded.data, survey_test=True)
    facts = dict(coverage(loaded, data))
    if time:
        with err.status("measuring three networks …"):
            facts["time"] = search_time(loaded, data)
            facts["retraining"] = retraining_time(loaded, data)
    print_json(facts) if format is PlainFormat.JSON else out.print(coverage_table(facts))
    for text in data.warnings:
        warn(text)


def _explain(field: str, config: Path | None, overrides: list[str] | None, format: PlainFormat) -> None:
    """Prints what a field of any config means; with `config`, its plugins' choices are among those shown."""
    from nas.runs.config import load_config
    from nas.runs.reference_text import explained, explanation

    if config is not None:
        load_config(config, overrides or ())
    if format is PlainFormat.JSON:
        return print_json(explained(field))
    out.print(explanation(field, min(out.width, 100)), end="", highlight=False, soft_wrap=True)


@app.command(epilog="Example: nas search configs/digits.yaml --set search.trials=64 --run long")
def search(
    config: ConfigPath,
    overrides: Overrides = None,
    run: RunName = "",
    format: PlainFormat = PlainFormat.TABLE,
) -> None:
    """Start the search of a config, or go on with it; Ctrl-C and kill lose nothing finished."""
    loaded, folder = _begun(config, overrides, run)
    from nas.report.rows import front_row
    from nas.runs import open_run
    from nas.runs.members import front_notes
    from nas.runs.work import search as run_search
    from nas.studies.agreement import safety

    reason = _worked(run_search, loaded, folder)
    finished = open_run(folder)
    if format is PlainFormat.JSON:
        found = finished.front()
        notes = front_notes(finished, found)
        print_json([front_row(record) | {"notes": notes} for record in found.records])
    else:
        print_front(finished, (), ())
        out.print(f"{reason}; look closer with [bold]nas report {folder}[/bold]", soft_wrap=True)
    halting, objectives = finished.config.search.halting, finished.config.parsed_objectives
    verdicts = safety(finished.records, halting, objectives, finished.trials_folder)
    print_safety([verdict for verdict in verdicts if verdict.verdict != "safe"], err)


@study.command(epilog="Example: nas study sweep configs/digits_bench.yaml")
@app.command(epilog="Example: nas sweep configs/paper/mousavi_digits.yaml")
def sweep(
    config: ConfigPath,
    overrides: Overrides = None,
    run: RunName = "",
    uniform: Annotated[
        bool,
        typer.Option("--uniform", help="Instead, networks of one width and one expand ratio; in NAME_uniform."),
    ] = False,
    format: PlainFormat = PlainFormat.TABLE,
) -> None:
    """Train the networks that a config lists, from several seeds; resumes like a search."""
    loaded, folder = _begun(config, [*(overrides or ()), *(UNIFORM if uniform else ())], run, "_uniform" * uniform)
    from nas.report.rows import front_row
    from nas.runs import open_run
    from nas.runs.work import sweep as run_sweep

    reason = _worked(run_sweep, loaded, folder)
    if format is PlainFormat.JSON:
        print_json([front_row(record) for record in open_run(folder).records])
    else:
        out.print(f"{reason}; look closer with [bold]nas study table {folder}[/bold], curves, insights", soft_wrap=True)


UNIFORM = ("sweep.uniform=true", "sweep.genotypes=[]", "sweep.sample=0", "sweep.front_of=null")
"""Overrides of a sweep that trains the baseline alone."""


def _begun(config: Path, overrides: list[str] | None, run: str, suffix: str = "") -> tuple["RunConfig", Path]:
    """The config and its run folder, by default its name and `suffix`, before the slow imports.

    The workers' server begins with its own.
    """
    from nas.runs.asked import run_folder
    from nas.runs.config import load_config

    loaded = load_config(config, overrides or ())
    folder = run_folder(loaded, run, suffix)
    start_server("nas.runs.trial", OPTIMIZER)  # imports beside ours, on another core
    return loaded, folder


def _worked(verb: "Callable[..., str]", loaded: "RunConfig", folder: Path) -> str:
    """Why `verb` has ended in the run folder."""
    from nas.timing.watched import watched_work

    with says_what_is_kept(folder):
        return watched_work(verb, loaded, folder, err, warn)


@app.command(epilog="Example: nas bench --network mousavi_w0.35_e6 --rounds 5 --format json")
def bench(
    networks: Annotated[
        list[str] | None,
        typer.Option("--network", help="Preset of the paper's tables; repeatable. mousavi_w0.35_e6 where left out."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Candidates per hour of this config's search, instead.")] = None,
    image_size: Annotated[int, typer.Option(min=8, max=512, help="Side of the colour images.")] = 32,
    batch_size: Annotated[int, typer.Option(min=2, help="Images per training step.")] = 128,
    steps: Annotated[int, typer.Option(min=1, help="Attack steps of training.")] = 10,
    rounds: Annotated[int, typer.Option(min=1, help="Paired measurements.")] = 5,
    workers: Annotated[int, typer.Option(min=0, help="Processes at once; 0: a core each, 4 on a GPU.")] = 0,
    device: str = "auto",
    format: PlainFormat = PlainFormat.TABLE,
) -> None:
    """Measure how fast this machine trains and scores, against a plain TRADES loop."""
    start_server("nas.timing.bench", OPTIMIZER)
    from nas.report.tables import bench_table, time_table

    if config is not None:
        from nas.data.datasets import load_search_data
        from nas.runs.config import load_config
        from nas.timing.estimate import search_time

        loaded = load_config(config, ())
        with err.status("measuring three networks …"):
            time = search_time(loaded, load_search_data(loaded.data))
        return print_json(time) if format is PlainFormat.JSON else out.print(time_table(time))

    from nas.base.machine import available_cores, resolve_device
    from nas.timing.bench import compare, paper_workload

    chosen = str(resolve_device(device))
    cores = available_cores()
    at_once = workers or (cores if chosen == "cpu" else 4)
    found = []
    for network in networks or ["mousavi_w0.35_e6"]:
        workload = paper_workload(network, image_size, batch_size, steps, chosen)
        with err.status(f"measuring {network} …") as status:

            def report(done: int, name: str = network, line: Status = status) -> None:
                line.update(f"measured {done} of {rounds} rounds of {name} …")

            seen = compare(workload, rounds, at_once, cores, report)
        found.append({"network": network, **seen})
    if format is PlainFormat.JSON:
        return print_json(found)
    for one in found:
        out.print(bench_table(one))
