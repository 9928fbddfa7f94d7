"""The verbs. Each parses its options, calls one function and prints; results on stdout, progress on stderr.

Exit codes: 0 done, 1 failed, 2 misuse, 130 interrupted by Ctrl-C. Heavy imports happen inside the verbs,
so that --help is instant.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from nas.errors import ConfigError, NasError, UsageError

if TYPE_CHECKING:
    from nas.pareto import Metric
    from nas.records import TrialRecord
    from nas.runs import Run

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich",
    help="Search for tiny networks that withstand adversarial perturbations.",
)  # fmt: skip
# A pipe or a file has no width of its own; 80 columns would cut the tables.
out = Console(width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, width=None if sys.stderr.isatty() else 200)


class Format(StrEnum):
    """Ways to print a result."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class PlainFormat(StrEnum):
    """Ways to print a result that is not a list."""

    TABLE = "table"
    JSON = "json"


class SplitName(StrEnum):
    """Images to evaluate on."""

    TEST = "test"
    VALIDATION = "validation"


ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of the run.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, such as runs/digits.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Override a field; repeatable.")
]
RunName = Annotated[str, typer.Option("--run", metavar="NAME", help="Folder name under runs/ instead of the config's.")]


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
    _print_json(facts) if format is PlainFormat.JSON else out.print(coverage_table(facts))


@app.command(epilog="Example: nas search configs/digits.yaml --set search.trials=64 --run long")
def search(
    config: ConfigPath,
    overrides: Overrides = None,
    run: RunName = "",
    format: PlainFormat = PlainFormat.TABLE,
) -> None:
    """Start the search of a config, or go on with it; Ctrl-C and kill lose nothing finished."""
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
        _print_json([front_row(record) for record in finished.front().records])
    else:
        _print_front(finished, (), ())
        out.print(f"{reason}; look closer with [bold]nas front {folder}[/bold]", soft_wrap=True)


@app.command(epilog='Example: nas front runs/digits --where "params<=30000" --png front.png')
def front(
    run: RunPath,
    format: Format = Format.TABLE,
    objectives: Annotated[str, typer.Option(help="Subset of metrics, comma-separated.")] = "",
    where: Annotated[list[str] | None, typer.Option(help="Condition such as params<=100000; repeatable.")] = None,
    pick: Annotated[str, typer.Option(help="Mark the trial that this rule picks (knee, best:METRIC, …).")] = "",
    png: Annotated[Path | None, typer.Option(help="Write a picture of the front.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write an interactive page, readable offline.")] = None,
) -> None:
    """Show the Pareto front of a run."""
    from nas.pareto import parse_condition
    from nas.pareto import pick as pick_rule
    from nas.report.plots import front_html, front_png
    from nas.report.rows import csv_text, front_row
    from nas.runs import open_run

    opened = open_run(run)
    conditions = [parse_condition(text) for text in where or ()]
    chosen = _objectives(opened, objectives)
    records = _where(opened.records, conditions)
    found = opened.front(chosen, records)
    chosen_one = pick_rule(pick, found) if pick else None
    picked = chosen_one.record if chosen_one else None
    if chosen_one and format is not Format.TABLE:
        err.print(f"picked: trial {chosen_one.record.number} ({chosen_one.reason})", soft_wrap=True)
    title = f"Pareto front of {run.name}"
    if png:
        _write(png, front_png(found, records, title, picked))
    if html:
        facts = [
            _summary(opened, chosen, records),
            *(f"only trials with {condition}" for condition in conditions),
        ]
        _write(html, front_html(found, records, title, facts, picked).encode())
    if format is Format.JSON:
        _print_json([front_row(record) for record in found.records])
    elif format is Format.CSV:
        sys.stdout.write(csv_text(found.records))
    else:
        _print_front(opened, chosen, [str(condition) for condition in conditions], records)
        if chosen_one:
            out.print(f"picked: trial {chosen_one.record.number} ({chosen_one.reason})", soft_wrap=True)


@app.command(epilog="Example: nas show runs/digits 17")
def show(
    run: RunPath,
    pick: Annotated[str, typer.Argument(metavar="PICK", help="Trial number, knee, best:METRIC, weights:METRIC=W,…")],
    format: PlainFormat = PlainFormat.TABLE,
) -> None:
    """Show one candidate: its blocks, costs, scores with intervals, warnings."""
    from nas.pareto import pick as pick_rule
    from nas.records import to_json
    from nas.report.tables import block_table, bytes_text, evaluation_view, genotype_text
    from nas.runs import open_run

    opened = open_run(run)
    numbered = [record for record in opened.records if str(record.number) == pick]
    found = None if numbered else pick_rule(pick, opened.front(), opened.records)
    record = found.record if found else numbered[0]
    if found:
        err.print(f"trial {record.number}: {found.reason}", soft_wrap=True)
    if format is PlainFormat.JSON:
        return _print_json(to_json(record))
    costs = record.costs
    out.print(f"[bold]trial {record.number}[/bold] {record.state.value}, architecture {record.genotype.key}")
    out.print(genotype_text(record.genotype.values), highlight=False)
    out.print(block_table(opened.space.spec(record.genotype), opened.config.deployment))
    out.print(
        f"weights {bytes_text(costs.weight_bytes)} at {opened.config.deployment.weight_bits} bits, "
        f"peak activation {bytes_text(costs.peak_activation_bytes)} at "
        f"{opened.config.deployment.activation_bits} bits (batch 1, layer by layer)"
    )
    if record.evaluation:
        out.print(evaluation_view(record.evaluation))
    broken = {name: value for name, value in record.violations.items() if value > 0}
    for name, value in broken.items():
        out.print(f"[yellow]beyond {name} by {100 * value:.1f} %[/yellow]")
    if record.error:
        out.print(record.error.strip(), markup=False, style="red")


@app.command(epilog="Example: nas retrain runs/digits --pick best:robust_accuracy")
def retrain(
    run: RunPath,
    pick: Annotated[
        str, typer.Option(help="knee, best:METRIC, weights:METRIC=W,METRIC=W, or a trial number.")
    ] = "knee",
    overrides: Overrides = None,
    format: PlainFormat = PlainFormat.TABLE,
) -> None:
    """Train a picked network from scratch for long, then evaluate it once on the test set."""
    from nas.config import load_config
    from nas.pareto import pick as pick_rule
    from nas.records import to_json
    from nas.report.live import retraining_progress
    from nas.report.tables import evaluation_view
    from nas.retrain import retrain as run_retrain
    from nas.runs import Run, open_run

    opened = open_run(run)
    if overrides:
        beyond = [text for text in overrides if not text.startswith(("retrain.", "device="))]
        if beyond:
            raise UsageError(f"retrain can override retrain.* and device only, got {beyond[0]}")
        opened = Run(run, load_config(run / "config.yaml", overrides))
    picked = pick_rule(pick, opened.front(), opened.records)
    err.print(f"retraining trial {picked.record.number} ({picked.reason})", soft_wrap=True)
    for warning in picked.record.evaluation.warnings if picked.record.evaluation else ():
        err.print(f"[yellow]warning of trial {picked.record.number}: {warning}[/yellow]", soft_wrap=True)
    with retraining_progress(err) as report:
        folder, evaluation = run_retrain(opened, picked, report)
    if format is PlainFormat.JSON:
        return _print_json({"folder": str(folder), "trial": picked.record.number, "picked": picked.reason,
                            "evaluation": to_json(evaluation)})  # fmt: skip
    out.print(f"[bold]trial {picked.record.number}, retrained[/bold] ({picked.reason})", soft_wrap=True)
    out.print(evaluation_view(evaluation))
    out.print(
        f"in {folder}: model.safetensors, genotype.json, evaluation.json, curve.csv, curve.png",
        soft_wrap=True,
    )


@app.command(epilog="Example: nas evaluate runs/digits/retrained/00017 --steps 100 --restarts 5")
def evaluate(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="Folder that `nas retrain` made.")],
    attack: Annotated[str, typer.Option(help="pgd or fgsm; the checkpoint's own when left out.")] = "",
    steps: Annotated[int | None, typer.Option(help="Steps of pgd.")] = None,
    restarts: Annotated[int | None, typer.Option(help="Restarts of pgd.")] = None,
    step_size: Annotated[
        str | None, typer.Option(help="Step size of pgd in pixel units, may be written 2/255.")
    ] = None,
    split: SplitName = SplitName.TEST,
    device: str = "auto",
    format: PlainFormat = PlainFormat.TABLE,
) -> None:
    """Repeat the evaluation of a retrained network from its files, or attack it otherwise."""
    from nas.checkpoint import evaluate_checkpoint, load_checkpoint, other_attack
    from nas.records import to_json
    from nas.report.tables import evaluation_view
    from nas.runs import resolve_device

    loaded = load_checkpoint(checkpoint)
    changes = {"steps": steps, "restarts": restarts, "step_size": step_size}
    changed = other_attack(loaded.evaluation.attack, attack, {k: v for k, v in changes.items() if v is not None})
    with err.status(f"evaluating on the {split.value} images …"):
        found = evaluate_checkpoint(loaded, split_name=split.value, attack=changed, device=resolve_device(device))
    _print_json(to_json(found)) if format is PlainFormat.JSON else out.print(evaluation_view(found))


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
    from nas.report.tables import bench_table
    from nas.runs import available_cores
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
    _print_json({"network": network, **found}) if format is PlainFormat.JSON else out.print(bench_table(found))


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `nas`: runs a verb; every error is one message on stderr and an exit code."""
    try:
        code = app(args=arguments, standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except NasError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}; what was finished before is kept", 1)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except Exception as error:
        if not hasattr(error, "format_message"):  # a mistake of ours: show where
            raise
        _fail(f"{error.format_message()} (see --help)", 2)


def _fail(message: str, code: int) -> None:
    err.print(f"[bold red]error[/bold red] {_escaped(message)}", soft_wrap=True, highlight=False)
    sys.exit(code)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _print_json(data: Any) -> None:
    sys.stdout.write(json.dumps(data, indent=2, allow_nan=False) + "\n")


def _objectives(run: "Run", text: str) -> "tuple[Metric, ...]":
    """Objectives named in `text` (comma-separated), all of the run's when empty."""
    from nas.pareto import metric

    if not text:
        return run.config.parsed_objectives
    chosen = tuple(metric(name.strip()) for name in text.split(","))
    if len(set(chosen)) < len(chosen):
        raise UsageError(f"--objectives names a metric twice: {text}")
    return chosen


def _where(records: "Sequence[TrialRecord]", conditions: Sequence[Any]) -> "list[TrialRecord]":
    evaluated = [record for record in records if record.evaluation is not None]
    return [record for record in evaluated if all(c.violation(record) <= 0 for c in conditions)]


def _summary(run: "Run", objectives: "tuple[Metric, ...]", records: "Sequence[TrialRecord]") -> str:
    """Size and hypervolume of the front, with its reference point."""
    from nas.pareto import hypervolume
    from nas.report.tables import number_text

    found = run.front(objectives, records)
    size = f"{len(found.records)} of {len(run.records)} trials"
    try:
        reference = run.reference_point(objectives)
    except ConfigError as error:
        return f"{size}; no hypervolume: {error}"
    point = ", ".join(f"{o.name} {number_text(v)}" for o, v in zip(objectives, reference, strict=True))
    share = hypervolume(found.records, objectives, reference)
    return f"{size}; hypervolume {share:.4f} of the box between the ideal and the reference point ({point})"


def _print_front(
    run: "Run",
    objectives: "tuple[Metric, ...]",
    conditions: Sequence[str],
    records: "Sequence[TrialRecord] | None" = None,
) -> None:
    from nas.report.tables import front_table, protocol_text, warnings_of

    objectives = objectives or run.config.parsed_objectives
    records = run.records if records is None else records
    found = run.front(objectives, records)
    if not found.records:
        states = Counter(record.state.value for record in run.records)
        finished = ", ".join(f"{count} {state}" for state, count in states.items()) or "none finished yet"
        limits = f" and {', '.join(conditions)}" if conditions else ""
        out.print(f"the front is empty: no trial is complete and within every limit{limits} (trials: {finished})")
        return
    out.print(front_table(found, f"Pareto front of {run.folder.name}", out.width))
    for index, text in enumerate(warnings_of(found.records), 1):
        out.print(f"[yellow]\\[{index}] {text}[/yellow]", soft_wrap=True)
    first = found.records[0].evaluation
    if first:
        out.print(protocol_text(first), style="dim", soft_wrap=True)
    out.print(_summary(run, objectives, records), style="dim", soft_wrap=True)


def _write(path: Path, content: bytes) -> None:
    from nas.files import write_atomic

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content)
    err.print(f"wrote {path}", soft_wrap=True)


if __name__ == "__main__":
    main()
