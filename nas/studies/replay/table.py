"""A tabular benchmark: the scores of every genotype of a space after every epoch, from several seeds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.base.errors import UsageError
from nas.base.records import Evaluation, Interval
from nas.measures.closed_form import lipschitz_bound_log10
from nas.pareto import MEASURES
from search_spaces import Genotype, NetworkSpec, SearchSpace

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TabulatedTraining:
    """One training of a genotype."""

    scores: tuple[Mapping[str, float], ...]
    """Metrics by name after each epoch, from the first."""
    seconds: float
    """Wall time of an epoch, scoring included."""


@dataclass(frozen=True)
class BenchTable:
    """What training would give, known beforehand."""

    epochs: int
    """Epochs of every training."""
    trainings: Mapping[str, tuple[TabulatedTraining, ...]]
    """Trainings from different seeds, two at least, by the architecture's key."""
    metrics: tuple[str, ...]

    def training(self, genotype: Genotype, draw: float) -> TabulatedTraining:
        """The one of the trainings of `genotype` that `draw`, in [0, 1), falls on."""
        known = self.trainings[genotype.key]
        return known[int(draw * len(known))]

    def unseen(self, genotype: Genotype, draw: float) -> Mapping[str, float]:
        """Final metrics of `genotype`, mean over its trainings but the one that `draw` falls on."""
        seen = self.training(genotype, draw)
        others = [one.scores[-1] for one in self.trainings[genotype.key] if one is not seen]
        return {name: sum(scores[name] for scores in others) / len(others) for name in self.metrics}

    def evaluation(self, scores: Mapping[str, float], spec: NetworkSpec) -> Evaluation:
        """Evaluation with `scores` of this table; what the table does not know is absent (None or NaN)."""
        natural, robust = scores.get("natural_accuracy", nan), scores["robust_accuracy"]
        return Evaluation(
            split="validation", num_images=0,
            natural_accuracy=natural, natural_interval=Interval(natural, natural),
            robust_accuracy=robust, robust_interval=Interval(robust, robust),
            instability=scores.get("instability", nan),
            instability_scaled=scores.get("instability_scaled", nan),
            lipschitz_bound_log10=lipschitz_bound_log10(spec),
            lipschitz_empirical=scores.get("lipschitz_empirical", nan),
            lipschitz_empirical_scaled=scores.get("lipschitz_empirical_scaled", nan),
            lipschitz_certified_log10=scores.get("lipschitz_certified_log10"),
            lipschitz_maximised=scores.get("lipschitz_maximised"),
            attack={"name": "table"}, threat={},
            scores={name: value for name, value in scores.items() if MEASURES[name].compute is not None},
        )  # fmt: skip


def read_table(path: Path, space: SearchSpace) -> BenchTable:
    """Table at `path`, the CSV that `nas study curves --format csv` prints of a sweep over all of `space`.

    Columns: the choices of `space`, seed, epoch (from 1, the same number for every training), seconds, metrics. A
    metric whose column is empty was not measured; other columns are left alone. Raises UsageError where it is not such
    a table, with the line and the column of a value that cannot be.
    """
    import pandas as pd

    try:
        rows = pd.read_csv(path)
    except FileNotFoundError:
        raise UsageError(
            f"no table at {path}; `nas study curves RUN --format csv` prints one of a sweep's run"
        ) from None
    except (ValueError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not a CSV file ({error})") from None
    names = [choice.name for choice in space.choices]
    missing = [name for name in (*names, "seed", "epoch", "seconds", "robust_accuracy") if name not in rows]
    if missing:
        raise UsageError(f"{path} has no column {missing[0]}: is it a table of another space than the config's?")
    metrics = _metrics(path, rows, names)
    trainings: dict[str, list[TabulatedTraining]] = {}
    for values, same in rows.groupby([*names, "seed"], sort=False):
        genotype = _genotype(path, space, dict(zip(names, values, strict=False)))
        trainings.setdefault(genotype.key, []).append(_training(path, genotype, same, metrics))
    if len(trainings) < len(architectures := {space.decode(index).key for index in _grid(space)}):
        raise UsageError(
            f"{path} holds {len(trainings)} of the {len(architectures)} architectures of the config's space: a table "
            f"must know them all"
        )
    lone = next((known for known in trainings.values() if len(known) < 2), None)
    if lone is not None:
        raise UsageError(
            f"{path} holds networks that were trained once: what a search finds is scored by a training that it did "
            f"not see, so every network needs two; make the table with sweep.seeds 2 or more"
        )
    lengths = sorted({len(one.scores) for known in trainings.values() for one in known})
    if len(lengths) != 1:
        raise UsageError(f"{path}: trainings of {lengths} epochs; a table holds trainings of one length")
    return BenchTable(lengths[0], {key: tuple(known) for key, known in trainings.items()}, metrics)


def _grid(space: SearchSpace) -> Iterator[tuple[int, ...]]:
    return product(*(range(len(choice.options)) for choice in space.choices))


def _metrics(path: Path, rows: "pd.DataFrame", names: Sequence[str]) -> tuple[str, ...]:
    """Metrics that `rows` have. Raises UsageError for the first value that its column cannot have."""
    metrics = tuple(name for name in rows.columns if name in MEASURES and not rows[name].isna().all())
    for name in (*names, "seed", "epoch", "seconds", *dict.fromkeys(("robust_accuracy", *metrics))):
        for index, value in enumerate(rows[name]):
            try:
                _check(name, value)
            except UsageError as error:
                raise UsageError(f"{path}, line {index + 2}, column {name}: {error}") from None
    return metrics


def _check(name: str, value: Any) -> None:
    """Raises UsageError where the column `name` cannot have `value`."""
    try:
        number = float(value)
    except ValueError:
        raise UsageError(f"{value!r} is no number") from None
    if name in MEASURES:
        MEASURES[name].check(number)
    elif not isfinite(number) or (name == "seconds" and number < 0):
        raise UsageError(f"{number:g} is no {'time' if name == 'seconds' else 'value'}")


def _genotype(path: Path, space: SearchSpace, values: Mapping[str, Any]) -> Genotype:
    options = {choice.name: {float(option): option for option in choice.options} for choice in space.choices}
    for name, value in values.items():
        if value not in options[name]:
            raise UsageError(f"{path}: {name} = {value} is no option of the config's space ({list(options[name])})")
    return space.genotype({name: options[name][value] for name, value in values.items()})


def _training(path: Path, genotype: Genotype, rows: "pd.DataFrame", metrics: Sequence[str]) -> TabulatedTraining:
    ordered = rows.sort_values("epoch")
    if list(ordered["epoch"]) != list(range(1, len(ordered) + 1)):
        raise UsageError(f"{path}: epochs of {dict(genotype.values)} are {list(ordered['epoch'])}, not 1, 2, 3, …")
    scores = (dict(zip(metrics, map(float, row), strict=True)) for row in ordered[list(metrics)].to_numpy())
    return TabulatedTraining(tuple(scores), float(ordered["seconds"].mean()))
