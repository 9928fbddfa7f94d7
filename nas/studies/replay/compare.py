"""Many searches on a table: what each way to search has found after how many epochs.

Letters: R searches (seeds) of a variant, E points of the epochs axis, B resamples.
"""

import dataclasses
import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from nas.base.bootstrap import RESAMPLES, ends, mean_interval
from nas.base.errors import UsageError
from nas.base.machine import available_cores, claim_threads
from nas.base.records import Interval, TrialRecord, TrialState
from nas.data.datasets import load_search_data
from nas.runs import front_in, make_problem
from nas.runs.config import RunConfig, load_config
from nas.search.problem import Problem
from nas.search.start import starts_of
from nas.studies.replay.table import BenchTable, read_table
from nas.studies.replay.virtual import Replay, replay
from nas.workers.fork_server import METHOD

Array = NDArray[np.float64]
POINTS = 200
"""Points of the epochs axis."""


@dataclass(frozen=True)
class Variant:
    """A way to search: what is set beyond the config."""

    label: str
    overrides: tuple[str, ...]


def variants(vary: Sequence[str]) -> list[Variant]:
    """All combinations of the alternatives FIELD=[A, B, …] of `vary`; the config as it is where there are none.

    Raises UsageError where one is no such list.
    """
    fields = [_alternatives(text) for text in vary]
    found = []
    for values in product(*(alternatives for _, alternatives in fields)):
        chosen = [(name, value) for (name, _), value in zip(fields, values, strict=True)]
        label = ", ".join(f"{name.removeprefix('search.')} {_text(value)}" for name, value in chosen)
        found.append(Variant(label or "as configured", tuple(f"{name}={_text(value)}" for name, value in chosen)))
    return found


def _alternatives(text: str) -> tuple[str, list[Any]]:
    name, _, values = text.partition("=")
    try:
        found = YAML(typ="safe").load(values)
    except YAMLError:
        found = None
    if not isinstance(found, list) or not found:
        raise UsageError(f"--vary {text}: needs a field and a list of its values, as in search.sampler=[random, nsga2]")
    if not name.startswith("search."):
        raise UsageError(f"--vary {text}: only fields of search can be replayed; the table decides all others")
    return name, found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True)
class Summary:
    """What the searches of a variant found, R of them."""

    variant: Variant
    replays: tuple[Replay, ...]
    budget: int
    """Epochs that were to be spent."""

    @cached_property
    def grid(self) -> Array:
        """Numbers of epochs at which searches are compared, (E,)."""
        return np.linspace(0, self.budget, POINTS + 1)

    @cached_property
    def curves(self) -> Array:
        """Hypervolume by unseen trainings after each number of epochs of the grid, (R, E)."""
        return np.stack([_at(self.grid, one) for one in self.replays])

    @cached_property
    def seen(self) -> Array:
        """Hypervolume at the end by the scores that the search saw, (R,)."""
        return np.array([one.steps[-1].hypervolume for one in self.replays])

    def final(self) -> tuple[float, Interval]:
        """Hypervolume by unseen trainings at the end: mean over the searches, and its interval."""
        return float(self.curves[:, -1].mean()), mean_interval(self.curves[:, -1])

    def share_of(self, baseline: "Summary") -> tuple[float, Interval]:
        """Epochs after which the mean search is as good as the mean search of `baseline` in the end, over its budget.

        With a bootstrap interval over the seeds of both. Infinite where it never is; so is an end of the interval where
        more than 2.5 % (97.5 %) of the resamples never are.
        """
        shares = self.grid / baseline.budget
        found = _share(self.curves.mean(0), baseline.curves[:, -1].mean(), shares)
        rng = np.random.default_rng(0)
        count = len(self.replays), len(baseline.replays)
        drawn = []
        for _ in range(RESAMPLES):
            ours, theirs = (rng.integers(n, size=n) for n in count)
            drawn.append(_share(self.curves[ours].mean(0), baseline.curves[theirs, -1].mean(), shares))
        return found, Interval(*ends(np.array(drawn), "inverted_cdf").tolist())

    def row(self, baseline: "Summary") -> dict[str, Any]:
        """JSON-ready figures; `share` and its interval are those of `share_of` the baseline, null for never."""
        hypervolume, bar = self.final()
        share, range_ = self.share_of(baseline)
        return {
            "variant": self.variant.label, "searches": len(self.replays), "epochs": self.budget,
            "candidates": float(np.mean([one.candidates for one in self.replays])),
            "halted": float(np.mean([one.halted for one in self.replays])),
            "reused": float(np.mean([one.reused for one in self.replays])),
            "hypervolume": hypervolume, "hypervolume_low": bar.low, "hypervolume_high": bar.high,
            "hypervolume_seen": float(self.seen.mean()),
            "share": _or_never(share), "share_low": _or_never(range_.low), "share_high": _or_never(range_.high),
        }  # fmt: skip

    def curve(self) -> list[dict[str, Any]]:
        """Hypervolume by unseen trainings after every number of epochs of the grid, with its interval; JSON-ready."""
        points = zip(self.grid.tolist(), self.curves.T, strict=True)
        found = [(epochs, float(column.mean()), mean_interval(column)) for epochs, column in points]
        return [
            {"variant": self.variant.label, "epochs": epochs, "hypervolume": mean, "low": bar.low, "high": bar.high}
            for epochs, mean, bar in found
        ]


def _at(grid: Array, found: Replay) -> Array:
    epochs = np.array([step.epochs for step in found.steps])
    values = np.array([0.0, *(step.unseen for step in found.steps)])
    return np.asarray(values[np.searchsorted(epochs, grid, side="right")])


def _share(curve_E: Array, wanted: float, shares_E: Array) -> float:
    reached = np.flatnonzero(curve_E >= wanted - 1e-12)
    return float(shares_E[reached[0]]) if len(reached) else np.inf


def _or_never(share: float) -> float | None:
    return share if np.isfinite(share) else None


@dataclass(frozen=True)
class _Stage:
    """What a worker process needs to know to replay a variant."""

    table: Path
    config: Path
    overrides: tuple[str, ...]
    variant: Variant


def compare(
    table: Path, path: Path, overrides: Sequence[str], chosen: Sequence[Variant], seeds: int,
    report: Callable[[int, int], None],
) -> list[Summary]:  # fmt: skip
    """Searches of every variant on `table` from `seeds` seeds, on all cores; `report` is told how many are done.

    Searches of one seed meet the same trainings in all variants. Raises UsageError where the table is not of the
    config's space, length of training or objectives, ConfigError where the config or a variant is wrong.
    """
    stages = [_Stage(table, path, tuple(overrides), variant) for variant in chosen]
    setups = [_setup(stage) for stage in stages]
    first = setups[0][0].search.seed
    tasks = [(stage, seed) for seed in range(first, first + seeds) for stage in stages]
    found: dict[tuple[_Stage, int], Replay] = {}
    for task, one in _played(tasks):
        found[task] = one
        report(len(found), len(tasks))
    return [
        Summary(stage.variant, tuple(found[stage, seed] for seed in range(first, first + seeds)),
                config.training.epochs * config.search.trials)
        for stage, (config, _, _) in zip(stages, setups, strict=True)
    ]  # fmt: skip


def _played(tasks: Sequence[tuple[_Stage, int]]) -> Iterator[tuple[tuple[_Stage, int], Replay]]:
    """Replays of `tasks` as they end: here where they are few, as processes take seconds to begin."""
    if len(tasks) <= FEW:
        yield from ((task, _play(*task)) for task in tasks)
        return
    context = multiprocessing.get_context(METHOD)
    with ProcessPoolExecutor(available_cores(), context, claim_threads, (1,)) as pool:
        running = {pool.submit(_play, *task): task for task in tasks}
        try:
            yield from ((running[future], future.result()) for future in as_completed(running))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


FEW = 6
"""Searches that are replayed in the calling process."""


def _play(stage: _Stage, seed: int) -> Replay:
    config, problem, table = _setup(stage)
    return replay(table, problem, config.search.model_copy(update={"seed": seed}))


@lru_cache(maxsize=64)
def _setup(stage: _Stage) -> tuple[RunConfig, Problem, BenchTable]:
    config = load_config(stage.config, (*stage.overrides, *stage.variant.overrides))
    problem, table = _table(stage.table, stage.config, stage.overrides)
    if config.training.epochs != table.epochs:
        raise UsageError(
            f"{stage.table} holds trainings of {table.epochs} epochs, the config asks for {config.training.epochs}: "
            f"--set training.epochs={table.epochs}"
        )
    if config.search.inherit:
        raise UsageError(
            f"search.inherit: {stage.table} holds trainings from random weights; --set search.inherit=false"
        )
    example = problem.space.smallest()
    known = table.evaluation(table.unseen(example, 0.0), problem.space.spec(example))
    record = TrialRecord(0, example, 0, TrialState.COMPLETE, problem.costs(example), known)
    for wanted in (*problem.objectives, *(condition.metric for condition in problem.constraints)):
        if wanted.read(record) is None:
            raise UsageError(f"{stage.table} does not know {wanted.name}, which the config asks for")
    starts = starts_of(config.search.start_from, problem, front_in)
    return config, dataclasses.replace(problem, first=tuple(start.genotype for start in starts)), table


@cache
def _table(path: Path, config: Path, overrides: tuple[str, ...]) -> tuple[Problem, BenchTable]:
    loaded = load_config(config, overrides)
    problem = dataclasses.replace(make_problem(loaded, load_search_data(loaded.data)), rungs=("attack",))
    return problem, read_table(path, problem.space)
