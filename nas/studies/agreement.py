"""Do networks rank at the end as they ranked before? What early halting, a surrogate and other settings rely on.

Who was trained to the end because it was good is no sample of all: among the good the ranks agree less than among all.
With halting on, agreement is therefore judged on the candidates that were spared (`nas.search.halting.is_spared`),
whatever their rank; all others that came to the end are shown beside them as survivors, a biased sample.

Scores are compared under the attacks that both sides have met (nas/studies/common_rung.py): at a stage of epochs
that is the first of the ladder.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from nas.base.errors import UsageError
from nas.base.records import Interval, TrialRecord, TrialState
from nas.pareto import MEASURES, Measure, scores_of
from nas.pareto.luck import MIN_NETWORKS
from nas.runs.trial_files import trial_folder
from nas.search.halting import is_spared
from nas.search.settings import Halting
from nas.studies.common_rung import at_common_rung, evaluation_after, evaluation_of, first_attack
from nas.studies.curves import read_curve
from nas.studies.kendall import tau_of

SAFE_TAU = 0.3
"""Halting where τ surely lies below is called unsafe: at 0.34, two pairs of networks in three in order, it did no harm
on the table of digits (docs/search.md)."""
MIN_PAIRS = 10
"""Candidates below which no verdict is given."""

Sample = Literal["all", "spared", "survivors"]
Scores = Mapping[str, float]
Samples = Mapping[Sample, Sequence[TrialRecord]]


@dataclass(frozen=True)
class Agreement:
    """How alike one metric ranks the same networks twice."""

    compared: Literal["rung", "prediction", "run"]
    """With the final scores: those at a stage of epochs, a surrogate's predictions, those of another run."""
    metric: str
    epochs: int | None
    """Of the rung."""
    sample: Sample
    """Of candidates: all, those that were spared from halting, or all that halting let through (biased)."""
    pairs: int
    networks: int
    tau: float | None
    """Kendall's τ-b; None where one side does not vary."""
    interval: Interval | None
    """Of 95 % (nas/studies/kendall.py); None where there is none."""
    words: str
    """What must be said about it."""


@dataclass(frozen=True)
class Verdict:
    """Whether halting at a rung may be relied on."""

    epochs: int
    verdict: Literal["safe", "unsafe", "not shown to be safe", "unknown"]
    words: str


def samples_of(records: Sequence[TrialRecord], spared: float) -> Samples:
    """Trials that came to the end, each training once: all or, where some were halted, the spared and the survivors.

    `spared` is the share of candidates that halting let through by lot (search.halting.spared).
    """
    complete = [r for r in records if r.state is TrialState.COMPLETE and r.reused_from is None]
    if not any(record.state is TrialState.HALTED for record in records):
        return {"all": complete}
    return {"spared": [r for r in complete if is_spared(r.seed, spared)], "survivors": complete}


def measured(objectives: Sequence[Measure]) -> tuple[str, ...]:
    """Metrics that only training tells; those on the paper's scale where they are among `objectives`."""
    wanted = {objective.name for objective in objectives}
    return tuple(n for n, one in MEASURES.items() if not one.is_static and (not one.is_rescaled or n in wanted))


def rung_agreement(
    samples: Samples, folder: Path, metrics: Iterable[str], epochs: Collection[int] | None = None
) -> list[Agreement]:
    """Scores at stages of epochs (all, or those in `epochs`) against the final ones, by rung, sample and metric.

    Reads the folder of all trials. Metrics that do not vary are left out.
    """
    courses = {record.number: _course(record, folder) for records in samples.values() for record in records}
    rungs = sorted({e for course in courses.values() for e in course if epochs is None or e in epochs})
    pairs = {rung: {n: course[rung] for n, course in courses.items() if rung in course} for rung in rungs}
    varying = _varying(metrics, [final for course in courses.values() for _, final in course.values()])
    return [
        _agreement("rung", metric, rung, sample, records, pairs[rung])
        for rung in rungs
        for sample, records in samples.items()
        for metric in varying
    ]


def prediction_agreement(
    samples: Samples,
    folder: Path,
    predictions: Mapping[int, tuple[Sequence[float], Sequence[float]]],
    objectives: Sequence[Measure],
) -> list[Agreement]:
    """A surrogate's predictions against the final scores under the common rung, by sample and objective.

    `predictions` as `nas.search.finished.read_predictions` returns them; what the study was told (their second part) is
    of different rungs. The surrogate chose these candidates among others, so they are more alike than all: among all,
    its ranks would agree better. Reads the folder of all trials.
    """
    names = [objective.name for objective in objectives]
    chosen = [record for record in _complete(samples) if record.number in predictions]
    (measured,) = at_common_rung([(folder, chosen)]).runs
    pairs = {
        record.number: (
            dict(zip(names, predictions[record.number][0], strict=True)),
            _finite({objective.name: objective.read(record) for objective in objectives}),
        )
        for record in measured
    }
    return [
        _agreement("prediction", name, None, sample, [r for r in records if r.number in pairs], pairs)
        for sample, records in samples.items()
        for name in (names if pairs else ())
    ]


def run_agreement(
    samples: Samples, folder: Path, others: Samples, other_folder: Path, metrics: Iterable[str]
) -> list[Agreement]:
    """Final scores of the networks that two runs have in common, by sample and metric; means over their trainings.

    Two searches have in common what both thought promising; a sweep or a random search has no such preference. Reads
    the folders of all trials. Raises UsageError where the runs have nothing in common.
    """
    found, metrics = [], tuple(metrics)
    common = {r.genotype.key for r in _complete(samples)} & {r.genotype.key for r in _complete(others)}
    if not common:
        raise UsageError(f"{other_folder.parent} has no trained network in common with {folder.parent}: choose another")
    same = [[r for r in _complete(sides) if r.genotype.key in common] for sides in (samples, others)]
    here, there = (_by_number(run) for run in at_common_rung(list(zip((folder, other_folder), same, strict=True))).runs)
    labels: tuple[Sample, ...] = ("all",) if samples.keys() == others.keys() == {"all"} else ("spared", "survivors")
    for label in labels:
        records = samples.get(label, samples.get("all", ()))
        ours = _means(records, here)
        theirs = _means(others.get(label, others.get("all", ())), there)
        first = {r.genotype.key: r for r in reversed(records) if r.genotype.key in ours.keys() & theirs.keys()}
        pairs = {record.number: (ours[key], theirs[key]) for key, record in first.items()}
        varying = _varying(metrics, [scores for pair in pairs.values() for scores in pair])
        found += [_agreement("run", metric, None, label, list(first.values()), pairs) for metric in varying]
    return found


def verdict_lines(verdicts: Iterable[Verdict]) -> list[tuple[str, bool]]:
    """What is said of halting at each rung, and whether it is a warning; what is said of several only once."""
    found = []
    for verdict, words in dict.fromkeys((one.verdict, one.words) for one in verdicts):
        warns = verdict in ("unsafe", "not shown to be safe")
        found.append((f"{'warning' if warns else 'note'}: {words}", warns))
    return found


def safety(
    records: Sequence[TrialRecord], halting: Halting, objectives: Sequence[Measure], folder: Path
) -> tuple[Verdict, ...]:
    """For each rung of `halting`, whether the ranks there agree with the final ones in every objective to be trained.

    Judged on the spared candidates (on all, where none was halted). Reads the folder of all trials.
    """
    metrics = [objective.name for objective in objectives if objective.name in measured(objectives)]
    if not halting.epochs or not metrics:
        return ()
    samples = samples_of(records, halting.spared)
    unbiased: Samples = {label: chosen for label, chosen in samples.items() if label != "survivors"}
    found = rung_agreement(unbiased, folder, metrics, halting.epochs)
    return tuple(
        _verdict(epochs, [one for one in found if one.epochs == epochs], halting.spared > 0 or "all" in samples)
        for epochs in halting.epochs
    )


def _verdict(epochs: int, found: Sequence[Agreement], any_spared: bool) -> Verdict:
    """Verdict on a rung from its agreement in every objective: the worst one decides."""
    if not any_spared:
        words = "whether halting is safe cannot be judged: no candidate goes on by lot; set search.halting.spared"
        return Verdict(epochs, "unknown", words)
    told = [(one.interval, one) for one in found if one.interval is not None and one.pairs >= MIN_PAIRS]
    below = [(interval.high, one) for interval, one in told if interval.high < SAFE_TAU]
    if below:
        worst = min(below, key=lambda pair: pair[0])[1]
        words = f"halting at epoch {epochs} is not safe here: {_told(worst)}; raise search.halting.epochs"
        return Verdict(epochs, "unsafe", words)
    pairs = min((one.pairs for one in found), default=0)
    if pairs < MIN_PAIRS or len(told) < len(found):
        reason = f"{pairs} of {MIN_PAIRS} candidates needed" if pairs < MIN_PAIRS else "a score does not vary"
        words = f"whether halting at epoch {epochs} is safe cannot be told yet: {reason} (search.halting.spared)"
        return Verdict(epochs, "unknown", words)
    low, lowest = min(((interval.low, one) for interval, one in told), key=lambda pair: pair[0])
    if low <= 0:
        words = f"halting at epoch {epochs} is not shown to be safe: {_told(lowest)}; raise search.halting.spared"
        return Verdict(epochs, "not shown to be safe", words)
    return Verdict(epochs, "safe", f"halting at epoch {epochs} is safe here: {_told(lowest)}, the least sure score")


def _told(found: Agreement) -> str:
    """Agreement in words: tau of robust_accuracy 0.21 (−0.05 to 0.45) over 24 spared candidates."""
    assert found.interval is not None, "a verdict has an interval"
    tau, low, high = (f"{x:.2f}".replace("-", "−") for x in (found.tau, found.interval.low, found.interval.high))
    spared = "spared " if found.sample == "spared" else ""
    return f"tau of {found.metric} {tau} ({low} to {high}) over {found.pairs} {spared}candidates"


def rows_of(found: Iterable[Agreement]) -> list[dict[str, Any]]:
    """One flat, JSON-ready row for each; `low` and `high` are the interval's ends."""
    rows = []
    for one in found:
        ends = {"low": one.interval and one.interval.low, "high": one.interval and one.interval.high}
        row = {name: getattr(one, name) for name in ("compared", "metric", "epochs", "sample", "pairs", "networks")}
        rows.append({**row, "tau": one.tau, **ends, "words": one.words})
    return rows


def _course(record: TrialRecord, folder: Path) -> dict[int, tuple[Scores, Scores]]:
    """Scores of a trained trial after epochs, each with the final ones under the same attack.

    At halting's own rungs what halting saw; else what was tracked after every epoch.
    """
    curve = read_curve(trial_folder(folder, record.number))
    last = max(curve, default=0)
    tracked = {epoch: (_finite(scores), _finite(curve[last])) for epoch, scores in curve.items() if epoch < last}
    final = final_scores(record, folder) if record.halfway else {}
    return tracked | {passed.epochs: (_finite(passed.scores), final) for passed in record.halfway}


def final_scores(record: TrialRecord, folder: Path) -> Scores:
    """Scores of a complete trial under the first attack of the ladder, from its record and its folder.

    Those that cannot be had without scores image by image are left out where these are missing.
    """
    return _finite(scores_of(evaluation_after(record, folder, first_attack(record))))


def _complete(samples: Samples) -> Sequence[TrialRecord]:
    """All trials of `samples` that came to the end."""
    return samples.get("all", samples.get("survivors", ()))


def _by_number(records: Sequence[TrialRecord]) -> dict[int, Scores]:
    return {record.number: _finite(scores_of(evaluation_of(record))) for record in records}


def _means(records: Sequence[TrialRecord], scores: Mapping[int, Scores]) -> dict[str, Scores]:
    """Scores of every network by its key, means over those of its trainings that are in `scores`."""
    found: dict[str, list[Scores]] = {}
    for record in records:
        if record.number in scores:
            found.setdefault(record.genotype.key, []).append(scores[record.number])
    return {
        key: {name: fmean(one[name] for one in same) for name in same[0] if all(name in one for one in same)}
        for key, same in found.items()
    }


def _agreement(
    compared: Literal["rung", "prediction", "run"],
    metric: str,
    epochs: int | None,
    sample: Sample,
    records: Sequence[TrialRecord],
    pairs: Mapping[int, tuple[Scores, Scores]],
) -> Agreement:
    """Agreement of `metric` over those of `records` that have it on both sides of their entry in `pairs`."""
    usable = [r for r in records if r.number in pairs and all(metric in side for side in pairs[r.number])]
    here, there = ([pairs[record.number][side][metric] for record in usable] for side in (0, 1))
    tau = tau_of(here, there, [record.genotype.key for record in usable])
    words = []
    if sample == "survivors":
        words.append("biased: only candidates that halting let through")
    if len(usable) < len(records):
        words.append(f"{len(records) - len(usable)} of {len(records)} candidates have no such score")
    if tau.networks < MIN_NETWORKS:
        words.append(f"no interval: {tau.networks} networks, at least {MIN_NETWORKS} are needed")
    elif tau.value is None:
        words.append("no tau: one side does not vary")
    return Agreement(compared, metric, epochs, sample, tau.pairs, tau.networks, tau.value, tau.interval,
                     "; ".join(words))  # fmt: skip


def _varying(metrics: Iterable[str], scores: Sequence[Scores]) -> list[str]:
    return [name for name in metrics if len({one[name] for one in scores if name in one}) > 1]


def _finite(scores: Mapping[str, Any]) -> dict[str, float]:
    """Measures among `scores`, or among the `scores` in them, that have a number: what could not be proved has none."""
    scores = {**scores, **scores.get("scores", {})}
    return {n: float(v) for n, v in scores.items() if n in MEASURES and v is not None and isfinite(v)}
