"""The page's sentences: what was searched, what was found, and what its numbers mean."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from nas.attacks.threat import threat_text
from nas.base.records import TrialRecord, TrialState
from nas.base.settings import ratio_text
from nas.budgets import COSTS
from nas.measures import MEASURES, Measure, number_of
from nas.pareto import Member, ParetoFront, Pick
from nas.report.tables import bytes_text, number_text
from nas.runs import Run
from nas.runs.config import RunConfig


def value_text(one: Measure, value: float | None) -> str:
    """A value with what is needed to read it."""
    if value is None:
        return "not measured"
    if one.unit == "fraction":
        return f"{100 * value:.1f}\N{NO-BREAK SPACE}%"
    if one.unit == "bytes":
        return bytes_text(value)
    return f"{value:,.0f}" if one.name in COSTS else number_text(value)


def counted(count: int, noun: str) -> str:
    """1 trial, 2 trials."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def time_words(seconds: float) -> str:
    """12 seconds, 12 minutes, 3.4 hours."""
    for unit, size in (("hour", 3600), ("minute", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.{int(size == 3600 and seconds < 36_000)}f} {unit}s"
    return f"{seconds:.0f} seconds"


def threat_words(threat: Mapping[str, Any]) -> str:
    """What the adversary may do, and its name."""
    epsilon = ratio_text(threat["epsilon"])
    reach = {
        "linf": f"every value by at most {epsilon} of its range",
        "l2": f"by at most {epsilon} in Euclidean length",
    }
    words = reach.get(threat["norm"])
    return f"{words}; {threat_text(threat)}" if words else threat_text(threat)


def searched_sentences(run: Run, records: Sequence[TrialRecord]) -> list[str]:
    """What was looked for, in what, and how much of it was trained."""
    config, space = run.config, run.space
    channels, height, width = space.input_shape
    objectives = [f"{o.title} ({'less' if o.direction == 'minimize' else 'more'} is better)"
                  for o in config.parsed_objectives]  # fmt: skip
    limits = [f"{MEASURES[name].title} at most {value_text(MEASURES[name], limit)}"
              for name, limit in config.budget.model_dump().items() if limit is not None]  # fmt: skip
    states = Counter(record.state for record in records if record.reused_from is None)
    reused = sum(record.reused_from is not None for record in records)
    trained = states[TrialState.COMPLETE]
    others = [
        (states[TrialState.HALTED], "stopped early because others were better"),
        (states[TrialState.FAILED], "failed"),
        (states[TrialState.REJECTED], "rejected untrained because they were over budget"),
        (reused, "the same network as an earlier trial, whose result was reused"),
    ]
    told = "; ".join(f"{count:,} {words}" for count, words in others if count)
    seconds = sum(record.seconds for record in records)
    return [
        f"This run looked for small neural networks for the images of {_data_words(config)} "
        f"({space.num_classes} classes, {height} × {width} pixels, {counted(channels, 'channel')}) that stay correct "
        f"when an adversary changes every image a little ({threat_words(config.threat.model_dump())}).",
        f"It optimised {joined(objectives)}{f', with {joined(limits)}' if limits else ''}"
        f"{f', and required {joined(config.constraints)}' if config.constraints else ''}.",
        f"The search space {space.name} has {space.size:,} possible networks, from {len(space.choices)} choices. "
        f"{trained:,} of them {'was' if trained == 1 else 'were'} trained for "
        f"{counted(config.training.epochs, 'epoch')} each and attacked{f'; {told}' if told else ''}. "
        f"Training and scoring took {time_words(seconds)} in all, summed over the trials.",
    ]


def _data_words(config: RunConfig) -> str:
    """The data set by its name; a folder of the user's by its own."""
    root = getattr(config.data, "root", None)
    return f"the folder {root.name}" if config.data.name == "image_folder" and root is not None else config.data.name


def found_sentences(front: ParetoFront, knee: Pick | None, members: Mapping[int, Member]) -> list[str]:
    """What the front is, its extremes and the compromise."""
    if not front.records:
        return ["No trial is complete and within every limit yet: there is no front to choose from."]
    names = joined([one.title for one in front.objectives])
    size = len(front.records)
    found = [
        f"{size:,} networks are on the Pareto front: no other trained network is at least as good in all of {names} "
        "and better in one. Choose among them; every other network is beaten by one of these."
        if size > 1
        else f"1 network is on the Pareto front: it is at least as good as every other in all of {names}."
    ]
    if knee is not None:
        values = [f"{o.title} {_with_interval(o, knee.record, members)}" for o in front.objectives]
        found.append(f"A balanced choice is trial {knee.record.number} ({knee.reason}): {joined(values)}.")
    first = front.objectives[0]
    best = min(front.records, key=lambda record: (first.loss_of(record), record.costs.params))
    if knee is None or best is not knee.record:
        cost = MEASURES["params"]
        found.append(
            f"The best {first.title} is that of trial {best.number}: {_with_interval(first, best, members)}, with "
            f"{value_text(cost, number_of(cost, best))} {cost.unit}."
        )
    return found


def _with_interval(one: Measure, record: TrialRecord, members: Mapping[int, Member]) -> str:
    member = members.get(record.number)
    value = member.mean(one.name) if member and one.name in member.values else number_of(one, record)
    interval = member.intervals.get(one.name) if member and not one.is_static else None
    if interval is None or interval.low == interval.high:
        return value_text(one, value)
    low, high = value_text(one, interval.low).removesuffix("\N{NO-BREAK SPACE}%"), value_text(one, interval.high)
    return f"{value_text(one, value)} (95 % interval {low} – {high})"


def tiles_of(run: Run, records: Sequence[TrialRecord], front: ParetoFront, share: float | None) -> list[dict[str, Any]]:
    """Four figures in large type: label, value, and a note."""
    trained = sum(r.state is TrialState.COMPLETE and r.reused_from is None for r in records)
    target = run.config.search.trials
    tiles = [
        {"label": "networks trained", "value": f"{trained:,}", "note": f"of {target:,} planned"},
        {"label": "on the front", "value": f"{len(front.records):,}", "note": "none of them beaten by another"},
    ]
    first = next((o for o in front.objectives if not o.is_static), None)
    if first and front.records:
        best = min(front.records, key=first.loss_of)
        note = f"trial {best.number}; {value_text(MEASURES['params'], best.costs.params)} parameters"
        tiles.append({"label": f"best {first.title}", "value": value_text(first, number_of(first, best)), "note": note})
    if share is not None:
        tiles.append({"label": "hypervolume", "value": f"{share:.4f}", "note": "1 would be a perfect front"})
    return tiles


def joined(parts: Sequence[str]) -> str:
    """A, B and C."""
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts)


MEANINGS = {
    "robust_accuracy": "Share of the images on which no attack found a change that makes the network answer wrongly. "
    "An upper bound: a stronger attack can only lower it.",
    "natural_accuracy": "Share of the unchanged images that the network classifies correctly.",
    "instability": "How far the network's prediction moves under attack (KL divergence, in nats). 0 is perfectly "
    "stable.",
    "lipschitz_bound_log10": "Upper bound on how fast outputs can change with the image, from the shapes of the layers "
    "alone, as a power of ten.",
    "lipschitz_certified_log10": "Proved upper bound on how fast outputs can change with the image, of the trained "
    "weights, as a power of ten.",
    "lipschitz_empirical": "How fast outputs change along the attack's direction: a lower bound of the true constant.",
    "params": "Numbers that training sets.",
    "macs": "Multiply-accumulate operations for one image: the work of an answer.",
    "weight_bytes": "Flash memory that the stored weights need.",
    "peak_activation_bytes": "Working memory (RAM) at the layer that needs most of it.",
}
"""What the usual measures mean, for readers without the documentation."""
