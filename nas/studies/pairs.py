"""Is A really better than B: differences between trials that were scored on the same images, with their intervals."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nas.base.errors import CheckpointError
from nas.base.records import TrialRecord
from nas.measures import MEASURES, Measure
from nas.pareto import ParetoFront, has_all
from nas.pareto.front import Array
from nas.pareto.uncertainty import degrees_of_freedom, resample
from nas.runs import Run
from nas.runs.members import trainings_by_image
from nas.studies.within import front_steps

COMPARED = 250
"""Members of a front, at most, between which all paired differences are taken (1 MB of a page at three scores)."""

Verdict = Literal["better", "worse", "tied", "exact", "unknown"]
"""Of the first of two trials. `tied`: the 95 % interval of their difference holds 0; `exact`: a number that no training
changes, such as a cost; `unknown`: no interval can be given."""


@dataclass(frozen=True)
class Difference:
    """A − B in one measure, of the means over trainings."""

    measure: Measure
    a: float
    b: float
    low: float | None
    """95 % interval of the difference, paired image by image; None where none can be given."""
    high: float | None
    verdict: Verdict

    @property
    def value(self) -> float:
        """A − B."""
        return self.a - self.b


@dataclass(frozen=True)
class Pairs:
    """Paired differences between P trials in M measures."""

    numbers: tuple[int, ...]
    measures: tuple[Measure, ...]
    means: Array
    """Over all trainings, (P, M)."""
    low: Array
    """Ends of the 95 % intervals of the differences i − j, (P, P, M); NaN where none can be given."""
    high: Array
    notes: tuple[str, ...]

    def between(self, a: int, b: int) -> tuple[Difference, ...]:
        """Trial `a` against trial `b`, by number. Raises ValueError where one of them is not among the trials."""
        i, j = self.numbers.index(a), self.numbers.index(b)
        found = []
        for m, one in enumerate(self.measures):
            known = bool(np.isfinite([self.low[i, j, m], self.high[i, j, m]]).all())
            low, high = (float(end[i, j, m]) if known else None for end in (self.low, self.high))
            of_a, of_b = float(self.means[i, m]), float(self.means[j, m])
            found.append(Difference(one, of_a, of_b, low, high, verdict_of(one, of_a - of_b, low, high)))
        return tuple(found)


def verdict_of(measure: Measure, difference: float, low: float | None, high: float | None) -> Verdict:
    """What a `difference` with its interval says of the first of two trials."""
    if measure.is_static:
        return "exact"
    if low is None or high is None:
        return "unknown"
    if low <= 0 <= high:
        return "tied"
    return "better" if measure.loss(difference) < 0 else "worse"


def paired(run: Run, records: Sequence[TrialRecord], measures: Sequence[Measure]) -> Pairs:
    """Differences between all pairs of `records`, evaluated on the same images after the same attacks.

    Images are resampled in common, trainings from their pooled spread (nas/pareto/uncertainty.py): a front's intervals
    and ranks come from the same draws. Of a score that is no mean over images there is an interval only from several
    trainings.
    """
    if not records:
        return Pairs((), tuple(measures), np.empty((0, len(measures))), *(np.empty((0, 0, len(measures))),) * 2, ())
    numbers, notes = tuple(record.number for record in records), []
    try:
        trials = trainings_by_image(run, records, measures)
        draws = resample(trials, measures).draws
    except (CheckpointError, ValueError) as error:
        means = np.array([[np.nan if (v := one.read(r)) is None else v for one in measures] for r in records])
        nothing = np.full((len(records), len(records), len(measures)), np.nan)
        return Pairs(numbers, tuple(measures), means, nothing, nothing, (f"no paired differences: {error}",))
    if not degrees_of_freedom(trials):
        notes.append("one training each: the intervals are for other images, not for other trainings")
    by_image = np.array([[images is not None for images in trial.images] for trial in trials])
    low, high = _ends(draws, by_image)
    return Pairs(numbers, tuple(measures), np.array([trial.mean for trial in trials]), low, high, tuple(notes))


def front_pairs(run: Run, front: ParetoFront, kept: Collection[int] = ()) -> Pairs:
    """Differences between the members of `front`, in its order: what page and terminal show of two of its members.

    Of more than COMPARED members, those that are best within some budget and those numbered in `kept` come first.
    """
    first = {*kept, *(step.record.number for one in front_steps(front) for step in one.steps)}
    chosen = sorted(front.records, key=lambda record: record.number not in first)[:COMPARED]
    numbers = {record.number for record in chosen}
    members = [record for record in front.records if record.number in numbers]
    found = paired(run, members, measures_compared(front.records, front.objectives))
    if len(members) == len(front.records):
        return found
    note = f"{len(members)} of the {len(front.records)} members of the front can be compared here"
    return replace(found, notes=(*found.notes, note))


def measures_compared(records: Sequence[TrialRecord], objectives: Sequence[Measure]) -> tuple[Measure, ...]:
    """The objectives and, where all have it, natural accuracy."""
    natural = MEASURES["natural_accuracy"]
    more = (natural,) if natural not in objectives and all(has_all(record, (natural,)) for record in records) else ()
    return (*objectives, *more)


def _ends(draws: Array, by_image: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Ends of the intervals of i − j, (P, P, M); NaN where nothing could vary. Those of j − i are the opposite ones.

    `draws` are (B, P, M), `by_image` (P, M) says what is a mean over images.
    """
    resamples, count, width = draws.shape
    cut = int(np.ceil(0.025 * resamples)) - 1  # as many draws are below the interval as above it
    low, high = np.zeros((2, count, count, width))
    for i in range(count - 1):
        with np.errstate(invalid="ignore"):  # inf − inf: a bound that could not be proved
            ordered = np.partition(draws[:, [i]] - draws[:, i + 1 :], (cut, resamples - 1 - cut), axis=0)
        below, above = ordered[cut], ordered[resamples - 1 - cut]
        unknown = (below == above) & ~(by_image[i + 1 :] & by_image[i])  # images that agree everywhere are an answer
        low[i, i + 1 :], high[i, i + 1 :] = (np.where(unknown, np.nan, side) for side in (below, above))
        low[i + 1 :, i], high[i + 1 :, i] = -high[i, i + 1 :], -low[i, i + 1 :]
    return low, high
