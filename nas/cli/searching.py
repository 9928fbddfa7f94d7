"""Verbs around a search: check, search, bench."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.options import ConfigPath, Overrides, PlainFormat, RunName, app, err, out, print_json
from nas.cli.printing import print_front
from nas.errors import UsageError

if TYPE_CHECKING:
    pass


@app.command(epilog="Example: nas check configs/digits.yaml --set budget.params=50000")
def check(
    config: ConfigPath,
    overrides: Overrides = None,
    format: PlainFormat = PlainFormat.TABLE,
) -> None:
    """Validate a config and say what its search would cover."""
    from nas.config import load_config
    from nas.data import load_search_data
    from nas.report.tables import coverage_table
    from nas.runs import coverage

    loaded = load_config(config, overrides or ())
    facts = coverage(loaded, load_search_data(loaded.data))
    print_json(facts) if format is PlainFormat.JSON else out.print(coverage_table(facts))


@app.command(epilog="Example: nas search configs/digits.yaml --set search.trials=64 --run long")
def search(
    config: ConfigPath,
    overrides: Overrides = None,
    run: RunName = "",
    format: PlainFormat = PlainFormat.TABLE,
) -> None:
    """Start the search of a config, or go on with it; Ctrl-C and kill lose nothing finished."""
    from nas.processes import start_server

    start_server("nas.trial")  # imports beside ours, on another core
    from nas.config import NAME_PATTERN, load_config
    from nas.report.live import live_progress
    from nas.report.rows import front_row
    from nas.runs import open_run
    from nas.runs import search as run_search

    loaded = load_config(config, overrides or ())
    if run and not re.fullmatch(NAME_PATTERN, run):
        raise UsageError(f"--run {run}: a run has a plain name (letters, digits, . _ -), not a path")
    folder = Path("runs") / (run or loaded.name)
    try:
        with live_progress(err, folder.name) as report:
            reason = run_search(loaded, folder, report)
    except KeyboardInterrupt:
        err.print(f"stopped; everything finished is kept in {folder}, the same command goes on from there")
        raise
    finished = open_run(folder)
    if format is PlainFormat.JSON:
        print_json([front_row(record) for record in finished.front().records])
    else:
        print_front(finished, (), ())
        out.print(f"{reason}; look closer with [bold]nas front {folder}[/bold]", soft_wrap=True)


@app.command(epilog="Example: nas bench --network mousavi_w0.35_e6 --rounds 5 --format json")
def bench(
    network: Annotated[str, typer.Option(help="Preset of the paper's tables.")] = "mousavi_w0.35_e6",
    image_size: Annotated[int, typer.Option(min=8, max=512, help="Side of the colour images.")] = 32,
    batch_size: Annotated[int, typer.Option(min=2, help="Images per training step.")] = 128,
    steps: Annotated[int, typer.Option(min=1, help="Attack steps of training.")] = 10,
    rounds: Annotated[int, typer.Option(min=1, help="Paired measurements.")] = 5,
    format: PlainFormat = PlainFormat.TABLE,
) -> None:
    """Measure how fast this machine trains and scores, against a plain TRADES loop."""
    from nas.bench import Workload, compare
    from nas.evaluation import EvaluationSettings
    from nas.machine import available_cores
    from nas.report.tables import bench_table
    from nas.threat import ThreatModel
    from nas.training import Training
    from nas.training.settings import InnerAttack
    from search_spaces.mobilenet_tiny import PRESETS, preset

    if network not in PRESETS:
        raise UsageError(f"unknown network {network!r} (allowed: {', '.join(PRESETS)})")
    threat = ThreatModel(epsilon=8 / 255)
    training = Training(batch_size=batch_size, attack=InnerAttack(steps=steps, step_size=threat.epsilon / 4))
    spec = preset(network, (3, image_size, image_size))
    workload = Workload(spec, threat, training, EvaluationSettings(batch_size=batch_size))
    with err.status("measuring …") as status:
        found = compare(
            workload, rounds, available_cores(), lambda n: status.update(f"measured {n} of {rounds} rounds …")
        )
    print_json({"network": network, **found}) if format is PlainFormat.JSON else out.print(bench_table(found))
