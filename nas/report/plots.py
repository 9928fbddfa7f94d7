"""Pictures: the front and a training curve as PNG.

Every panel has one objective on its y-axis and the same cost on its x-axis. Grey points are trials that
are dominated in all objectives together, coloured ones are the front; the line is the front of the two
objectives of that panel alone. Where the members' uncertainty is given, the front's points are means over trainings
in their 95 % intervals: a box, or a bar over an exact cost.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.base.records import TrialRecord, by_network
from nas.budgets import COSTS
from nas.pareto import Measure, Member, ParetoFront, has_all, is_non_dominated, losses, number_of
from nas.report.evaluations import protocol_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FRONT_COLOUR, OTHER_COLOUR, PICK_COLOUR, BASELINE_COLOUR = "#1f6fb4", "#b8b8b8", "#d1495b", "#c77700"


def front_png(
    front: ParetoFront,
    records: Sequence[TrialRecord],
    title: str,
    picked: TrialRecord | None = None,
    members: Sequence[Member] = (),
    notes: Sequence[str] = (),
    baseline: Sequence[TrialRecord] = (),
) -> bytes:
    """PNG of the front among all feasible trials that have its objectives, one panel per objective over the cost axis.

    `members` are those of the front with their uncertainty, where it is to be drawn; `notes` are written below.
    `baseline` are trainings of uniform networks (nas/studies/baseline.py).
    """
    x_axis, panels = _axes(front.objectives)
    shown = _shown(records, front)
    width, footer = max(len(panels), 1) * 4.6, ""
    figure = figure_of(width, 4.4)
    for index, objective in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), index + 1)
        _panel(axes, x_axis, objective, front, shown, picked, members)
        _draw_baseline(axes, x_axis, objective, [r for r in baseline if has_all(r, (x_axis, objective))])
        if index == 0:
            above = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "ncols": 2}  # boxes leave no room inside
            axes.legend(**(above if members else {"loc": "best"}), fontsize=8, framealpha=0.9)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    if front.records and front.records[0].evaluation is not None:
        notes = (protocol_text(front.records[0].evaluation), *notes)
    if notes:
        footer = "\n".join(fill(note, int(20 * width)) for note in notes)
        figure.text(0.01, 0.005, footer, fontsize=7, color="#555555", va="bottom")
    figure.tight_layout(rect=(0, 0.03 * len(footer.splitlines()), 1, 1))
    return png_of(figure)


def _shown(records: Sequence[TrialRecord], front: ParetoFront) -> list[TrialRecord]:
    """Feasible trials that have all objectives of `front`, each architecture once."""
    return [r for r in records if r.is_feasible and r.reused_from is None and has_all(r, front.objectives)]


def _known(metric: Measure, records: Sequence[TrialRecord]) -> list[float]:
    """Values of `metric` of records that have it."""
    return [value for record in records if (value := number_of(metric, record)) is not None]


def _panel(
    axes: "Axes",
    x_axis: Measure,
    objective: Measure,
    front: ParetoFront,
    shown: Sequence[TrialRecord],
    picked: TrialRecord | None,
    members: Sequence[Member],
) -> None:
    numbers = {record.number for record in front.records}
    others = [record for record in shown if record.number not in numbers]
    axes.scatter(_known(x_axis, others), _known(objective, others), s=16, color=OTHER_COLOUR, label="dominated")
    front_x, front_y = (_centres(metric, front.records, members) for metric in (x_axis, objective))
    bars_x, bars_y = (_interval_bars(metric, front.records, members) for metric in (x_axis, objective))
    if bars_x is not None and bars_y is not None and members:
        _boxes(axes, front_x, front_y, bars_x, bars_y)
    elif bars_y is not None:
        axes.errorbar(front_x, front_y, yerr=bars_y, fmt="none", ecolor=FRONT_COLOUR, alpha=0.35, elinewidth=1)
    has_seeds = any(member.seeds > 1 for member in members)
    label = "front, mean over seeds" if has_seeds else "front (all objectives)"
    axes.scatter(front_x, front_y, s=34, color=FRONT_COLOUR, zorder=4, label=label)
    if has_seeds:
        own_x, own_y = _known(x_axis, front.records), _known(objective, front.records)
        axes.plot([own_x, front_x], [own_y, front_y], color=FRONT_COLOUR, linewidth=0.7, linestyle=":")
        axes.scatter(own_x, own_y, s=20, facecolors="white", edgecolors=FRONT_COLOUR, linewidths=0.8, zorder=3,
                     label="the search's own training")  # fmt: skip
    else:
        line = _two_objective_front(shown, x_axis, objective)
        axes.plot(*line, color=FRONT_COLOUR, linewidth=1, alpha=0.6, drawstyle="steps-post", zorder=2)
    for record, x, y in zip(front.records, front_x, front_y, strict=True):
        axes.annotate(str(record.number), (x, y), textcoords="offset points", xytext=(5, 4), fontsize=7)
    if picked is not None and has_all(picked, (x_axis, objective)):
        place = {r.number: ([x], [y]) for r, x, y in zip(front.records, front_x, front_y, strict=True)}
        at = place.get(picked.number, (_known(x_axis, [picked]), _known(objective, [picked])))
        axes.scatter(*at, s=130, facecolors="none", edgecolors=PICK_COLOUR, linewidths=1.8, zorder=5,
                     label=f"picked: trial {picked.number}")  # fmt: skip
    if x_axis.name in COSTS and shown:
        log_axis(axes, _known(x_axis, shown))
    axes.set_xlabel(f"{x_axis.title} ({_better(x_axis)})")
    axes.set_ylabel(f"{objective.title} [{objective.unit}] ({_better(objective)})")
    axes.grid(alpha=0.25)


def _draw_baseline(axes: "Axes", x_axis: Measure, objective: Measure, records: Sequence[TrialRecord]) -> None:
    """Means of the baseline's networks over their trainings, joined where no other dominates in these two."""
    networks = by_network(records)
    if not networks:
        return
    points = np.array([[np.mean(_known(m, same)) for m in (x_axis, objective)] for same in networks.values()])
    turned = np.array([[x_axis.loss(x), objective.loss(y)] for x, y in points])
    style: dict[str, Any] = {"s": 14, "marker": "D", "alpha": 0.6, "zorder": 3, "label": "uniform"}
    axes.scatter(points[:, 0], points[:, 1], color=BASELINE_COLOUR, **style)
    line = points[is_non_dominated(turned)]
    line = line[np.argsort(line[:, 0])]
    axes.plot(line[:, 0], line[:, 1], color=BASELINE_COLOUR, linewidth=1, alpha=0.8, drawstyle="steps-post")


def _boxes(
    axes: "Axes", xs: Sequence[float], ys: Sequence[float], bars_x: np.ndarray[Any, Any], bars_y: np.ndarray[Any, Any]
) -> None:
    """Rectangles of two uncertain axes."""
    from matplotlib.patches import Rectangle

    for x, y, left, right, below, above in zip(xs, ys, *bars_x, *bars_y, strict=True):
        axes.add_patch(Rectangle((x - left, y - below), left + right, below + above, facecolor=(FRONT_COLOUR, 0.1),
                                 edgecolor=(FRONT_COLOUR, 0.6), linewidth=0.8))  # fmt: skip


def log_axis(axes: "Axes", values: Sequence[float]) -> None:
    """Logarithmic x-axis with readable ticks (20,000 instead of 2 × 10⁴)."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    spread = max(values, default=1) / max(min(values, default=1), 1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if spread < 300 else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", labelsize=8)


def training_curve_png(points: Sequence[Mapping[str, Any]], selected_epoch: int) -> bytes:
    """PNG of a retraining: loss and training accuracy of every epoch, validation where it was measured."""
    figure = figure_of(9.2, 3.9)
    left, right = figure.subplots(1, 2)
    epochs = [p["epoch"] for p in points]
    left.plot(epochs, [p["loss"] for p in points], color=FRONT_COLOUR)
    left.set(xlabel="epoch", ylabel="training loss")
    right.plot(epochs, [p["train_accuracy"] for p in points], color=OTHER_COLOUR, label="training (augmented)")
    validated = [p for p in points if p["robust_accuracy"] is not None]
    at = [p["epoch"] for p in validated]
    right.plot(
        at,
        [p["natural_accuracy"] for p in validated],
        "o-",
        ms=3,
        color="#3a9d5d",
        label="natural, validation",
    )
    right.plot(
        at,
        [p["robust_accuracy"] for p in validated],
        "o-",
        ms=3,
        color=FRONT_COLOUR,
        label="robust, validation",
    )
    right.axvline(
        selected_epoch,
        color=PICK_COLOUR,
        linewidth=1,
        linestyle="--",
        label=f"selected: epoch {selected_epoch}",
    )
    right.set(xlabel="epoch", ylabel="accuracy")
    right.legend(fontsize=8)
    for axes in (left, right):
        axes.grid(alpha=0.25)
    figure.tight_layout()
    return png_of(figure)


def _axes(objectives: Sequence[Measure]) -> tuple[Measure, list[Measure]]:
    """The objective for the x-axis (the first cost, else the last one) and those for the panels."""
    x_axis = next((o for o in objectives if o.name in COSTS), objectives[-1])
    return x_axis, [o for o in objectives if o is not x_axis] or [x_axis]


def _two_objective_front(
    records: Sequence[TrialRecord], x_axis: Measure, objective: Measure
) -> tuple[list[float], list[float]]:
    """Points that no trial dominates in these two objectives, by x."""
    if not records:
        return [], []
    on_front = is_non_dominated(losses(records, [x_axis, objective]))
    kept = [record for record, kept in zip(records, on_front, strict=True) if kept]
    points = sorted(set(zip(_known(x_axis, kept), _known(objective, kept), strict=True)))
    return [x for x, _ in points], [y for _, y in points]


def _centres(metric: Measure, records: Sequence[TrialRecord], members: Sequence[Member]) -> list[float]:
    """Values to draw: means over trainings where `members` are given."""
    return [member.mean(metric.name) for member in members] or _known(metric, records)


def _interval_bars(
    metric: Measure, records: Sequence[TrialRecord], members: Sequence[Member] = ()
) -> np.ndarray[Any, Any] | None:
    """Lengths of the error bars (2, P): of the members' intervals or of an accuracy's own, None for anything else."""
    if not records or metric.name in COSTS or not (members or metric.interval):
        return None
    values = np.array(_centres(metric, records, members))
    ends = [member.intervals.get(metric.name) for member in members] or [
        getattr(record.evaluation, metric.interval) for record in records
    ]
    low, high = (np.array([getattr(end, side, v) for end, v in zip(ends, values, strict=True)])
                 for side in ("low", "high"))  # fmt: skip
    with np.errstate(invalid="ignore"):  # a bound that could not be proved is infinite
        lengths: np.ndarray[Any, Any] = np.nan_to_num(np.maximum(np.array([values - low, high - values]), 0.0))
    return lengths


def _better(objective: Measure) -> str:
    return "less is better" if objective.direction == "minimize" else "more is better"


def figure_of(width: float, height: float) -> "Figure":
    """Figure that belongs to no window and no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130)
    FigureCanvasAgg(figure)
    return figure


def png_of(figure: "Figure") -> bytes:
    """PNG of `figure`."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
