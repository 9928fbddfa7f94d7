"""Rich tables for the terminal."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import ceil
from typing import Any

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nas.base.records import Interval, TrialRecord
from nas.budgets import Deployment, block_costs, count_costs
from nas.pareto import MEASURES, ParetoFront, number_of
from nas.report.names import column_name
from nas.report.whole_table import WholeTable
from nas.search.problem import Progress
from search_spaces import NetworkSpec


def front_table(front: ParetoFront, title: str, budgeted: Sequence[str] = (), see: str = "") -> WholeTable:
    """The front, a row a trial: objectives with their direction, `budgeted` costs, then as much else as there is room.

    `see` says where what is left out can be read.
    """
    arrows = {o.name: " ↓" if o.direction == "minimize" else " ↑" for o in front.objectives}
    columns = columns_for(front, budgeted)
    table = WholeTable(title, kept=1 + len({*arrows, *budgeted}), see=see)
    table.add_column("trial", justify="right")
    for name in columns:
        table.add_column(f"{column_name(name)}{arrows.get(name, '')}", justify="right")
    table.add_column("genotype", no_wrap=True)
    marks = {text: f"{index}" for index, text in enumerate(warnings_of(front.records), 1)}
    for record in front.records:
        assert record.evaluation is not None, "only evaluated trials are on a front"
        notes = "".join(f" [{marks[text]}]" for text in record.evaluation.all_warnings)
        cells = [cell(name, record) for name in columns]
        table.add_row(Text(f"{record.number}{notes}"), *cells, genotype_text(record.genotype.values))
    return table


COLUMNS = (
    "robust_accuracy",
    "natural_accuracy",
    "balanced_robust_accuracy",
    "balanced_natural_accuracy",
    "params",
    "macs",
    "weight_bytes",
    "peak_activation_bytes",
    "instability",
    "lipschitz_bound_log10",
    "lipschitz_empirical",
)
"""Scores and costs that a front shows where there is room, before the computed measures that were taken."""


def columns_for(front: ParetoFront, budgeted: Sequence[str] = ()) -> list[str]:
    """Metrics to show for a front: its objectives, the `budgeted` costs, then the usual ones that were measured."""
    computed = dict.fromkeys(name for r in front.records if r.evaluation for name in r.evaluation.scores)
    measured = [
        name
        for name in (*COLUMNS, *computed)
        if any(hasattr(r.costs, name) or number_in(name, r) is not None for r in front.records)
    ]
    return list(dict.fromkeys([*(objective.name for objective in front.objectives), *budgeted, *measured]))


def cell(name: str, record: TrialRecord) -> str:
    """Value of a column in words; accuracies with their 95 % interval."""
    evaluation = record.evaluation
    if evaluation is not None and name in MEASURES and MEASURES[name].interval:
        interval: Interval = getattr(evaluation, MEASURES[name].interval)
        return f"{getattr(evaluation, name):.3f} [dim]{interval.low:.2f}–{interval.high:.2f}[/dim]"
    value = number_in(name, record)
    if value is None:
        return "–"
    if name in MEASURES and MEASURES[name].unit == "bytes":
        return bytes_text(value)
    return f"{getattr(record.costs, name):,}" if hasattr(record.costs, name) else f"{value:.3g}"


def number_in(name: str, record: TrialRecord) -> float | None:
    """Value of a column: of a metric, or an accuracy over uneven classes; None where it was not measured."""
    if name in MEASURES:
        return number_of(MEASURES[name], record)
    return None if record.evaluation is None else record.evaluation.score(name)


def warnings_of(records: Sequence[TrialRecord]) -> list[str]:
    """Different warnings of the trials, in order of appearance."""
    return list(dict.fromkeys(text for r in records if r.evaluation for text in r.evaluation.all_warnings))


BROKEN = {"trusted": "not trusted (search.reject_untrusted)", "halted": "halted: others had come farther by then"}
"""Constraints that are no limits on a number, in words."""


def broken_texts(record: TrialRecord) -> list[str]:
    """Limits that a trial is beyond, in words."""
    broken = {name: value for name, value in record.violations.items() if value > 0}
    return [BROKEN.get(name) or f"beyond {name} by {100 * value:.1f} %" for name, value in broken.items()]


def tie_notes(front: ParetoFront) -> list[str]:
    """Warning of a front whose members robust accuracy does not tell apart; none where it does or is no objective."""
    if not front.is_tied or all(objective.name != "robust_accuracy" for objective in front.objectives):
        return []
    return [
        f"all {len(front.records)} members tie in robust accuracy: their 95 % intervals overlap. Two compared on the "
        "same images (nas show RUN A B) may differ all the same; for more, raise training.epochs or data.limit"
    ]


def genotype_text(values: Mapping[str, Any]) -> str:
    """Genotype in short: widths, then expand ratios, then whatever else."""
    groups: dict[str, list[str]] = {}
    for name, value in values.items():
        groups.setdefault(name.split("_")[0], []).append(f"{value:g}" if isinstance(value, float) else str(value))
    letters = {"weight": "bits W", "activation": "bits A"}
    return "  ".join(f"{letters.get(name, name[0].upper())} {' '.join(options)}" for name, options in groups.items())


def bits_text(bits: Iterable[int]) -> str:
    """Different numbers of bits: 4, or 2 to 8."""
    found = sorted(set(bits))
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


def block_table(spec: NetworkSpec, deployment: Deployment) -> WholeTable:
    """The network block by block: channels, resolution, parameters and MACs of each."""
    table = WholeTable(kept=8, see="`nas show` into a file")
    own = any(block.weight_bits or block.activation_bits for block in spec.blocks)
    bits = ("bits W/A",) if own else ()
    headings = ("block", "in", "hidden", "out", "output", "params", "MACs", "kernel", "stride", "residual", "row")
    for heading in (*headings, *bits):
        table.add_column(heading, justify="left" if heading == "block" else "right")
    for one in block_costs(spec, deployment):
        size = f"{one.size[0]}×{one.size[1]}" if one.kernel else ""
        channels = (str(one.in_channels), str(one.hidden_channels or ""), str(one.out_channels))
        last = (one.kernel, one.stride, one.shortcut, one.row, *((one.bits,) if own else ()))
        table.add_row(one.kind, *channels, size, f"{one.params:,}", f"{one.macs:,}", *last)
    costs = count_costs(spec, deployment)
    table.add_section()
    table.add_row("all", *[""] * 4, f"{costs.params:,}", f"{costs.macs:,}")
    return table


def coverage_table(facts: Mapping[str, Any]) -> WholeTable:
    """What `nas check` found."""
    table = WholeTable(f"{facts['name']}: the config is valid", show_header=False)
    for name, value in _coverage_rows(facts):
        table.add_row(name, value)
    return table


def _coverage_rows(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    data = facts["data"]
    shape = "×".join(map(str, data["input_shape"]))
    part = f" ({data['candidate']:,} a candidate)" if data["candidate"] < data["train"] else ""
    yield (
        "data",
        f"{data['train']:,} training{part}, {data['validation']:,} validation, {data['classes']} classes, {shape}",
    )
    yield "images per class", _per_class_text(data["images_per_class"])
    yield "genotypes", f"{facts['genotypes']:,} in {len(facts['choices'])} choices"
    for name, (low, high) in facts["costs"].items():
        is_bytes = name.endswith("_bytes")
        yield name, f"{bytes_text(low)} – {bytes_text(high)}" if is_bytes else f"{low:,} – {high:,}"
    yield (
        "within the budget",
        f"{100 * facts['within_budget']:.0f} % of {facts['sampled']:,} random genotypes",
    )
    yield "objectives", ", ".join(f"{name} ({way})" for name, way in facts["objectives"].items())
    if facts["constraints"]:
        yield "constraints", ", ".join(facts["constraints"])
    yield (
        "reference point",
        ", ".join(f"{name} {number_text(value)}" for name, value in facts["reference_point"].items()),
    )
    hands = _hands_text(facts)
    if facts["begins_with"]["architectures"]:
        yield "first trials", _first_text(facts["begins_with"])
    yield "work", f"{facts['trials']} candidates on {hands}, {facts['device']}"
    if "time" in facts:
        yield "time", _time_text(facts["time"])
        yield "retraining", retraining_text(facts["retraining"])
    yield "disk", f"about {bytes_text(facts['disk_bytes'])}"


def _first_text(first: Mapping[str, Any]) -> str:
    """What is proposed before the sampler proposes anything, and what of it is not trained."""
    over: Sequence[str] = first["anchors_over_budget"]
    parts = []
    if first["anchors"]:
        skipped = "both are" if len(over) == 2 else f"the {over[0]} is" if over else ""
        named = " and ".join(("the smallest", "the largest")[: first["anchors"]])
        parts.append(f"{named} network" + (f" ({skipped} over budget and skipped)" if over else ""))
    if listed := first["architectures"] - first["anchors"]:
        skipped = f" ({more} over budget and skipped)" if (more := first["over_budget"] - len(over)) else ""
        parts.append(f"{listed} of search.start_from{skipped}")
    return ", then ".join(parts)


def _per_class_text(classes: Mapping[str, Mapping[str, int | None]]) -> str:
    """Training (validation included) and, where known, test images of each class; of many classes, the extremes."""
    known = all(counts["test"] is not None for counts in classes.values())

    def text(name: str) -> str:
        counts = classes[name]
        return f"{name} {counts['train']:,}" + (f" / {counts['test']:,}" if known else "")

    heading = "training / test: " if known else "training: "
    if len(classes) <= 20:
        return heading + ", ".join(map(text, classes))
    ordered = sorted(classes, key=lambda name: (classes[name]["train"], classes[name]["test"] or 0))
    return f"{heading}fewest {text(ordered[0])}, most {text(ordered[-1])}"


def _hands_text(facts: Mapping[str, Any]) -> str:
    workers, threads = facts["workers"], facts["threads_per_worker"]
    return f"{workers} worker{'s' * (workers > 1)} of {threads} thread{'s' * (threads > 1)}"


def time_table(time: Mapping[str, Any]) -> WholeTable:
    """What was measured to say how long a search takes."""
    table = WholeTable(_time_text(time))
    for heading in ("MACs", "training, images/s", "scoring, images/s", "seconds a candidate", "memory of a worker"):
        table.add_column(heading, justify="right")
    for one in time["networks"]:
        table.add_row(
            f"{one['macs']:,}", f"{one['training']:.1f}", f"{one['scoring']:.1f}", f"{one['seconds']:.1f}",
            bytes_text(one["memory_bytes"]),
        )  # fmt: skip
    return table


def _time_text(time: Mapping[str, Any]) -> str:
    hands = f"{_hands_text(time)}, {time['device']}"
    first = "".join(
        f"{duration_text(time[f'{asset}_seconds'])} for the {asset}, "
        for asset in ("supernet", "manifold") if time.get(f"{asset}_seconds")
    )  # fmt: skip
    return (
        f"about {duration_text(time['search_seconds'])}: {first}{time['candidates_per_hour']:,.0f} candidates an hour "
        f"({hands}; {bytes_text(time['memory_bytes'])} of memory)"
    )


def retraining_text(time: Mapping[str, Any]) -> str:
    """How long a retraining and its final evaluation take."""
    about = "about" if time["standing"] < 1 else "at most"
    attacks = f"{time['attacks']} attacks on {time['test_images']:,} test images"
    return (
        f"about {duration_text(time['training_seconds'])} for {time['epochs']} epochs, then {about} "
        f"{duration_text(time['evaluation_seconds'])} for {attacks}"
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + "s" * (count != 1)


def bench_table(found: Mapping[str, Any]) -> RenderableType:
    """What `nas bench` measured: images per second, and ratios to as many plain loops of the same round."""
    table = WholeTable()
    for heading in ("", "training, images/s", "ratio", "scoring, images/s", "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    threads = max(1, found["cores"] // found["workers"])
    names = {
        "plain": f"1 plain loop of {_counted(found['cores'], 'thread')}",
        "engine": f"1 worker of {_counted(found['cores'], 'thread')}",
        "plain_machine": f"{_counted(found['workers'], 'plain loop')} of {_counted(threads, 'thread')}",
        "machine": f"{_counted(found['workers'], 'worker')} of {_counted(threads, 'thread')}",
    }
    for side, name in names.items():
        cells = []
        for kind in ("training", "scoring"):
            ratio = found[side].get("ratio", {}).get(kind)
            cells.append(f"{found[side][kind]['median']:.1f}")
            cells.append(f"{ratio['median']:.2f} [dim]{ratio['low']:.2f}–{ratio['high']:.2f}[/dim]" if ratio else "1")
        table.add_row(name, *cells)
    facts = (
        f"median of {found['rounds']} paired rounds (lowest to highest); {found.get('network', '')} "
        f"({found['params']:,} parameters) at {found['image_size']} × {found['image_size']}, batch "
        f"{found['batch_size']}, {found['steps']} attack steps, {found['device']}, torch {found['torch']}, "
        f"{bytes_text(found['engine']['memory_bytes'])} at most in a process, {found['processor']}"
    )
    return Group(table, Text(facts, style="dim"))


def progress_view(progress: Progress, name: str, elapsed: float, workers: Sequence[str] = ()) -> Panel:
    """Live view of a running search: how far it is, and what each of the `workers` does."""
    eta = "–" if progress.seconds_left is None else duration_text(progress.seconds_left)
    facts = [
        f"done [bold]{_spent(progress)}[/bold] / {progress.target}",
        f"running {progress.running}",
        f"left {max(0, ceil(progress.target - progress.spent - progress.running))}",
        f"[red]failed {progress.failed}[/red]" if progress.failed else "failed 0",
        f"elapsed {duration_text(elapsed)}",
        f"ETA {eta}",
    ]
    found = [f"front {progress.front_size}"]
    title = f"search {name}: more seeds for the front"
    if progress.repeat is None:
        title = f"search {name}"
        best = progress.best_robust_accuracy
        found += [f"hypervolume {progress.hypervolume:.4f}", *([] if best is None else [f"best robust {best:.3f}"])]
        ended = {"rejected": progress.rejected, "reused": progress.reused, "halted": progress.halted}
        found += [f"{state} {count}" for state, count in ended.items() if count]
    bar = ProgressBar(total=progress.target, completed=progress.spent)
    # Rich's bar ends without a newline: in a table of its own, it has a line of its own.
    rows: list[RenderableType] = [_alone(bar), *(_side_by_side(row) for row in (facts, found, workers) if row)]
    return Panel(Group(*rows), title=title, title_align="left")


def waiting_view(name: str, doing: str, elapsed: float) -> Panel:
    """Live view of what comes before a search."""
    return Panel(
        _side_by_side([doing, f"elapsed {duration_text(elapsed)}"]), title=f"search {name}", title_align="left"
    )


def _alone(bar: ProgressBar) -> Table:
    grid = Table.grid(expand=True)
    grid.add_row(bar)
    return grid


def _side_by_side(words: Sequence[str]) -> Columns:
    """As many in a row as fit."""
    return Columns(words, padding=(0, 3))


def progress_line(progress: Progress) -> Text | None:
    """One line about the trial that has just finished, for logs."""
    record = progress.latest
    if record is None:
        return None
    which = f" seed {progress.repeat}" if progress.repeat else ""
    head = f"[{_spent(progress)}/{progress.target}] trial {record.number}{which} {record.state.value}"
    size = f"{record.costs.params:,} params"
    if record.reused_from is not None:
        return Text(f"{head}: same architecture as trial {record.reused_from}")
    if record.evaluation is None:
        why = (record.error or "over budget").strip().splitlines()[-1]
        return Text(f"{head}: {size}; {why}")
    scores = f"robust {record.evaluation.robust_accuracy:.3f}, natural {record.evaluation.natural_accuracy:.3f}"
    origin = "" if record.inherits is None else f", from trial {record.inherits}'s weights"
    share = "" if progress.repeat else f"; hypervolume {progress.hypervolume:.4f}"
    return Text(f"{head}: {size}, {scores}, {record.seconds:.1f} s{origin}{share}")


def _spent(progress: Progress) -> str:
    """Trainings spent, to a tenth where halted candidates have left a fraction."""
    return f"{progress.spent:.1f}".removesuffix(".0")


def number_text(value: float) -> str:
    """Number with thousands separators where it is large, four digits where it is not."""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def bytes_text(count: float) -> str:
    """Bytes in readable units, 1 KB = 1,000 bytes."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if count >= 100 or unit == "B" else f"{count:.1f} {unit}"


def duration_text(seconds: float) -> str:
    """Duration as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
