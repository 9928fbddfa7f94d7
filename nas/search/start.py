"""Where a search begins: the ends of the space, then genotypes that somebody already believes in.

What `search.start_from` names is resolved once, when the run is created, and kept in the run's folder: another run may
grow later, and trial n of a resumed search is to be what it would have been. Only genotypes are taken from another run,
never its results: its training, data or attack may differ.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.base.errors import ConfigError, NasError, RunMismatch
from nas.base.files import read_json, write_json
from nas.base.records import TrialRecord
from nas.search.genotypes import spread_over, within_budget
from nas.search.problem import Problem
from nas.search.settings import StartFrom
from search_spaces import Genotype, SearchSpace
from search_spaces.presets import values_of
from search_spaces.space import Value

START = "start.json"
"""What `search.start_from` named when the run was created, in the run's folder."""

FrontIn = Callable[[Path], Sequence[TrialRecord]]
"""Members of the front of the run in a folder, in the order in which they are to be proposed."""


@dataclass(frozen=True)
class Start:
    """A genotype to begin with, and where it comes from."""

    genotype: Genotype
    origin: str


def first_genotypes(problem: Problem, anchors: bool) -> tuple[Genotype, ...]:
    """Genotypes of the first trials by number: with `anchors` the smallest and the largest, then `problem.first`.

    Each architecture comes once.
    """
    ends = (problem.space.smallest(), problem.space.largest()) if anchors else ()
    first: dict[str, Genotype] = {}
    for genotype in (*ends, *problem.first):
        first.setdefault(genotype.key, genotype)
    return tuple(first.values())


def starts_of(settings: StartFrom, problem: Problem, front_in: FrontIn) -> tuple[Start, ...]:
    """What `settings` names now: its genotypes, its presets, the fronts of its runs, then its uniform networks.

    Members of a front that the space does not hold are skipped. Raises ConfigError for a genotype or a preset that is
    not of the space, for a folder without a readable run, for a run of which no member is of the space, and where
    uniform networks are wanted and none is within the budget.
    """
    space = problem.space
    found = [_listed(index, values, space) for index, values in enumerate(settings.genotypes)]
    found += [_preset(name, space) for name in settings.presets]
    found += [start for folder in settings.runs for start in _members(folder, space, front_in)]
    return (*found, *_uniform(settings.uniform, problem))


def starts_to_freeze(
    path: Path, settings: StartFrom, problem: Problem, front_in: FrontIn, *, has_trials: bool
) -> tuple[Start, ...]:
    """What `frozen` is to write to `path`: as `starts_of`, nothing where the file is there. Changes nothing.

    Raises RunMismatch where the run `has_trials` without the file: what they began with is no longer known.
    """
    if path.exists() or settings == StartFrom():
        return ()
    if has_trials:
        raise RunMismatch(
            f"{path.parent} holds trials but no {path.name}, which says where this search began (it was removed, or "
            f"the trials are a sweep's): restore it, or use --run NAME for a new run"
        )
    return starts_of(settings, problem, front_in)


def frozen(path: Path, starts: Sequence[Start], space: SearchSpace) -> tuple[Genotype, ...]:
    """Genotypes in the file at `path`; where there is none, `starts` are written to it first (no file for none).

    Raises UsageError where the file is damaged.
    """
    if starts and not path.exists():
        write_json(path, [{"origin": start.origin, "genotype": dict(start.genotype.values)} for start in starts])

    def genotypes(data: Sequence[Mapping[str, Mapping[str, Value]]]) -> tuple[Genotype, ...]:
        return tuple(_genotype(entry["genotype"], space) for entry in data)

    return read_json(path, genotypes, REMEDY) if path.exists() else ()


REMEDY = (
    "restore it, or use --run NAME for a new run: without it the search cannot go on as it began; its trials are kept, "
    "and `nas front` reads them"
)


def _listed(index: int, values: Mapping[str, Value], space: SearchSpace) -> Start:
    field = f"search.start_from.genotypes.{index}"
    try:
        return Start(_genotype(values, space), field)
    except ValueError as error:
        raise ConfigError(
            f"{field}: {dict(values)} is not of the space ({error}); `nas check` without it lists all options"
        ) from None


def _preset(name: str, space: SearchSpace) -> Start:
    try:
        return Start(_genotype(values_of(name, space), space), name)
    except ValueError as error:
        raise ConfigError(
            f"search.start_from.presets: {name} is not of the space ({error}); add the option to the space, or leave "
            f"the preset out"
        ) from None


def _members(folder: Path, space: SearchSpace, front_in: FrontIn) -> list[Start]:
    try:
        records = front_in(folder)
    except NasError as error:
        raise ConfigError(f"search.start_from.runs: {error}") from error
    found, refused = [], []
    for record in records:
        try:
            found.append(Start(_genotype(record.genotype.values, space), f"{folder}, trial {record.number}"))
        except ValueError as error:
            refused.append(f"trial {record.number}: {error}")
    if not found:
        raise ConfigError(
            f"search.start_from.runs: {folder} has nothing that this space holds "
            f"({refused[0] if refused else 'its front is empty'}); add the options to the space, or leave the run out"
        )
    return found


def _uniform(count: int, problem: Problem) -> list[Start]:
    if not count:
        return []
    found = list(within_budget(problem, problem.space.uniform()))
    if not found:
        raise ConfigError(
            f"search.start_from.uniform: {count} uniform networks are wanted, none is within the "
            f"budget; widen the budget, or leave it out"
        )
    return [Start(one, "uniform") for one in spread_over(problem, "params", found, min(count, len(found)))]


def _genotype(values: Mapping[str, Value], space: SearchSpace) -> Genotype:
    """Genotype of `space` with these values, in the options' own types: a config's 6 is the space's 6.0."""
    return space.decode(space.encode(space.genotype(values)))
