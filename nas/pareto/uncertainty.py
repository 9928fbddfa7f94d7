"""How sure the members of a front are: what other images and other trainings would have given instead.

All networks are scored on the same N images and share what is hard about them, so the images are resampled in common
(paired): differences between networks are surer than their intervals look. Trainings differ by chance, too: how much
is estimated from all members together, as two or three trainings of one network tell next to nothing.

Letters: P trials, M objectives, S trainings of a trial, N images, B resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.base.bootstrap import drawn_times, ends
from nas.base.records import Interval, TrialRecord
from nas.measures import Measure
from nas.pareto.front import Array

RESAMPLES = 1000
CHUNK = 250
"""Resamples at once: bounds the memory to CHUNK × N and CHUNK × P × P numbers."""


@dataclass(frozen=True)
class Trainings:
    """S trainings of one trial from different seeds, the search's own first."""

    values: Array
    """Objectives in their own units (S, M)."""
    images: tuple[Array | None, ...]
    """Of every objective: what it is the mean of, image by image (S, N), or None where it is no such mean.
    Values that are not finite do not count."""

    @property
    def mean(self) -> Array:
        """Mean over the trainings (M,)."""
        return np.asarray(self.values.mean(0), dtype=np.float64)


@dataclass(frozen=True)
class Uncertainty:
    """What the members of a front might have been."""

    objectives: tuple[Measure, ...]
    draws: Array
    """Objectives of every trial in every resample, in their own units (B, P, M)."""

    @property
    def losses(self) -> Array:
        """`draws` turned so that less is better."""
        return np.stack([o.loss(1.0) * self.draws[..., m] for m, o in enumerate(self.objectives)], -1)

    @property
    def intervals(self) -> Array:
        """Ends of the 95 % percentile intervals, (2, P, M)."""
        return ends(self.draws, "inverted_cdf")

    @property
    def domination(self) -> Array:
        """Probability [i, j] that trial i dominates trial j: share of the resamples in which it does, (P, P)."""
        losses = self.losses
        count = np.zeros((losses.shape[1],) * 2)
        for start in range(0, len(losses), CHUNK):
            part = losses[start : start + CHUNK]
            no_worse, better = np.array(True), np.array(False)
            for m in range(part.shape[2]):
                i, j = part[:, :, None, m], part[:, None, :, m]
                no_worse, better = no_worse & (i <= j), better | (i < j)
            count += (no_worse & better).sum(0)
        shares: Array = count / len(losses)
        return shares

    def ranks(self, objective: int) -> NDArray[np.int64]:
        """Ranks (P, 2) by one objective that noise allows, from best to worst; 1 is the best.

        i counts as better than j where the 95 % interval of their paired difference excludes 0. A range such as 1–3
        is a tie. Every pair is tested at 95 % by itself: with many members a few pairs are told apart by luck.
        """
        losses = self.losses[:, :, objective]
        ranks = []
        for i in range(losses.shape[1]):
            with np.errstate(invalid="ignore"):  # inf − inf is no difference: a tie
                difference = np.nan_to_num(losses - losses[:, [i]], nan=0.0, posinf=np.inf, neginf=-np.inf)
            low, high = ends(difference, "inverted_cdf")
            ranks.append((1 + int((high < 0).sum()), losses.shape[1] - int((low > 0).sum())))
        return np.array(ranks, dtype=np.int64).reshape(-1, 2)


def resample(
    trials: Sequence[Trainings], objectives: Sequence[Measure], resamples: int = RESAMPLES, seed: int = 0
) -> Uncertainty:
    """Bootstrap over images and trainings of `trials`, which are scored on the same images; costs are exact.

    Images: drawn with replacement, the same for all trials; every trial answers with the mean over its trainings.
    Trainings: to that, the mean of S residuals is added (Efron & Tibshirani 1993, ch. 9), each the deviation of some
    training from the mean of its trial × √(S / (S − 1)), drawn from those of all trials, whole vectors of objectives
    at once. As this pool is an estimate with ν = Σ(S − 1) degrees of freedom, each resample scales it by √(ν / χ²_ν):
    deviations become Student's t. The part of a network's chance that images and trainings share is counted twice, so
    intervals of several trainings err to the wide side (Owen 2007, the pigeonhole bootstrap). With one training each,
    the images are the only chance. Simulated with 2 to 5 trainings of 2 to 8 networks on 200 to 2,000 images, 95 to
    99 % of the intervals held the truth.

    Raises ValueError where trials were scored on different numbers of images.
    """
    rng = np.random.default_rng(seed)
    draws = _over_images(trials, len(objectives), resamples, rng) + _over_trainings(trials, objectives, resamples, rng)
    for m, objective in enumerate(objectives):
        if objective.unit == "fraction":
            draws[..., m] = draws[..., m].clip(0.0, 1.0)
    return Uncertainty(tuple(objectives), draws)


def _over_images(trials: Sequence[Trainings], columns: int, resamples: int, rng: np.random.Generator) -> Array:
    """Means over trainings and resampled images, (B, P, M)."""
    draws = np.broadcast_to([trial.mean for trial in trials], (resamples, len(trials), columns)).copy()
    counts = {images.shape[1] for trial in trials for images in trial.images if images is not None}
    if not counts:
        return draws
    if len(counts) > 1:
        raise ValueError(f"trials were scored on {' and '.join(map(str, sorted(counts)))} images: nothing to pair")
    (count,) = counts
    for start in range(0, resamples, CHUNK):
        times = drawn_times(count, min(CHUNK, resamples - start), rng).astype(np.float64)
        for p, trial in enumerate(trials):
            for m, images in enumerate(trial.images):
                if images is not None:
                    finite = np.isfinite(images)
                    # The mean of a resample without any finite value has no meaning; it stays at 0, as in a score.
                    sums, sizes = times @ np.where(finite, images, 0.0).T, times @ finite.T.astype(np.float64)
                    draws[start : start + CHUNK, p, m] = (sums / np.maximum(sizes, 1.0)).mean(1)
    return draws


def _over_trainings(
    trials: Sequence[Trainings], objectives: Sequence[Measure], resamples: int, rng: np.random.Generator
) -> Array:
    """Deviations of the means over trainings that other seeds would bring, (B, P, M)."""
    deviations = np.zeros((resamples, len(trials), len(objectives)))
    units = np.array([_unit(trial, objectives) for trial in trials])
    pool = np.concatenate([_residuals(trial) / unit for trial, unit in zip(trials, units, strict=True)])
    freedom = degrees_of_freedom(trials)
    if not freedom:
        return deviations
    for p, trial in enumerate(trials):
        drawn = rng.integers(0, len(pool), (resamples, len(trial.values)))
        deviations[:, p] = pool[drawn].mean(1) * units[p]
    return deviations * np.sqrt(freedom / rng.chisquare(freedom, (resamples, 1, 1)))


def degrees_of_freedom(trials: Sequence[Trainings]) -> int:
    """ν = Σ(S − 1): how much is known about the spread between trainings."""
    return sum(len(trial.values) - 1 for trial in trials)


def _residuals(trial: Trainings) -> Array:
    """Deviations from the trial's mean with the variance of single trainings, (S, M); (0, M) for a lone training."""
    count = len(trial.values)
    if count == 1:
        return np.empty((0, trial.values.shape[1]))
    with np.errstate(invalid="ignore"):  # inf − inf: a bound that could not be proved
        found = (trial.values - trial.mean) * np.sqrt(count / (count - 1))
    return np.asarray(np.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0), dtype=np.float64)


def _unit(trial: Trainings, objectives: Sequence[Measure]) -> Array:
    means = np.array([mean if o.is_relative else 1.0 for o, mean in zip(objectives, trial.mean, strict=True)])
    return np.where(means > 0, means, 1.0)


@dataclass(frozen=True)
class Member:
    """A member of a front with its uncertainty. Values and intervals go by the objective's name."""

    record: TrialRecord
    values: dict[str, tuple[float, ...]]
    """Of every training, the search's own first."""
    intervals: dict[str, Interval]
    """95 %, for the mean over trainings; without an entry where none can be given."""
    rank: tuple[int, int] | None = None
    """Ranks by the first objective that noise allows, best and worst; None where images cannot be compared."""
    dominated_by: dict[int, float] | None = None
    """Probability that another member dominates this one, by its number, where it is above 0.01."""

    @property
    def seeds(self) -> int:
        """Number of trainings."""
        return len(next(iter(self.values.values())))

    def mean(self, name: str) -> float:
        """Mean over all trainings."""
        return float(np.mean(self.values[name]))

    def deviation(self, name: str) -> float | None:
        """Sample standard deviation over the trainings; None for a single one, or where a value is infinite."""
        values = np.array(self.values[name])
        if len(values) < 2 or not np.isfinite(values).all():
            return None
        return float(np.std(values, ddof=1)) if np.ptp(values) else 0.0  # not the rounding of the mean

    def fresh_mean(self, name: str) -> float | None:
        """Mean over the trainings that the front was not chosen by; None where there is none.

        The search's own training is on the front partly for its luck (the winner's curse), the others are not.
        """
        return float(np.mean(self.values[name][1:])) if self.seeds > 1 else None


def members_of(
    records: Sequence[TrialRecord], trials: Sequence[Trainings], objectives: Sequence[Measure]
) -> tuple[Member, ...]:
    """Every trial with its uncertainty among the others, from `resample`."""
    if not records:
        return ()
    found = resample(trials, objectives)
    low, high = found.intervals
    domination, ranks = found.domination, found.ranks(0)
    return tuple(
        Member(
            record,
            _by_name(trial.values, objectives),
            {o.name: _interval(record, o, low[p, m], high[p, m]) for m, o in enumerate(objectives)
             if np.isfinite((low[p, m], high[p, m])).all() and not o.is_derived},
            (int(ranks[p, 0]), int(ranks[p, 1])),
            {other.number: float(share) for other, share in zip(records, domination[:, p], strict=True)
             if share > 0.01},
        )
        for p, (record, trial) in enumerate(zip(records, trials, strict=True))
    )  # fmt: skip


def members_by_wilson(
    records: Sequence[TrialRecord], values: Sequence[Array], objectives: Sequence[Measure]
) -> tuple[Member, ...]:
    """Every trial with what is left where its images are not known: Wilson's intervals of the search's own training.

    `values` has the objectives of every training (S, M) of each trial.
    """
    return tuple(
        Member(
            record,
            _by_name(own, objectives),
            {o.name: found for o in objectives if (found := _wilson(record, o)) is not None},
        )
        for record, own in zip(records, values, strict=True)
    )


def _by_name(values: Array, objectives: Sequence[Measure]) -> dict[str, tuple[float, ...]]:
    return {o.name: tuple(values[:, m].tolist()) for m, o in enumerate(objectives)}


def _wilson(record: TrialRecord, objective: Measure) -> Interval | None:
    """Interval of an accuracy of the search's own training; None for anything else."""
    if not objective.interval or record.evaluation is None:
        return None
    found: Interval = getattr(record.evaluation, objective.interval)
    return found


def _interval(record: TrialRecord, objective: Measure, low: float, high: float) -> Interval:
    """Interval of the resamples; Wilson's where all images are alike and resampling them cannot show any chance."""
    alike = _wilson(record, objective) if low == high else None
    return alike or Interval(float(low), float(high))
