"""Run folders: what a config makes on disk, the search in it, and what later verbs read from it."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from random import Random
from secrets import token_hex

from nas.budgets import count_costs, over_budget_text
from nas.config import RunConfig, differences, dump_config, load_config
from nas.crew import Crew, Warn, crew_of
from nas.data import SearchData, load_search_data
from nas.data.facts import brief, check_same_data, read_facts
from nas.environment import log_environment
from nas.errors import ConfigError, EmptyBudget, RunMismatch, StudyCorrupt, UsageError
from nas.evaluation import lipschitz_bound_log10
from nas.files import exclusive, read_json, write_atomic, write_json
from nas.machine import available_cores, claim_threads, resolve_device
from nas.needs import check_needs
from nas.pareto import Metric, ParetoFront, front_of, metric
from nas.records import Costs, TrialRecord
from nas.search.database import Database
from nas.search.engine import run_search
from nas.search.executors import Executor
from nas.search.problem import Problem, Progress
from nas.search.repeats import run_repeats
from nas.search.samplers import make_sampler
from nas.search.samplers.prescreen import Foreknown
from nas.search.start import START, frozen, starts_to_freeze
from nas.search.study import Place, StudyFile, read_records
from nas.search.sweep import run_sweep
from nas.seeding import make_generator
from nas.settings import AS_WRITTEN
from nas.sweep import sweep_plan
from nas.training.checkpoint import load_weights
from nas.training.supernet import Report, Supernet, kept_supernet
from nas.trial import WEIGHTS, TrialPlan, stored_outcome, trial_folder
from search_spaces import SPACES, Genotype, SearchSpace
from search_spaces.network import Network, build_network

MAY_CHANGE = (
    "data.root",
    "data.download",
    "search.trials",
    "search.workers",
    "search.executor",
    "search.ray_address",
    "search.trial_timeout",
    "search.max_failures",
    "search.reference_point",
    "evaluation.ladder.final",
    "evaluation.final_images",
    "evaluation.seeds",
    "sweep.seeds",
    "retrain",
    "device",
)
"""Fields that do not change what the finished trials mean; all others are fixed once a run exists."""


@dataclass(frozen=True)
class Run:
    """A run folder and its config."""

    folder: Path
    config: RunConfig

    @property
    def study_path(self) -> Path:
        """The study's journal file."""
        return self.folder / "study.journal"

    @property
    def study(self) -> Place:
        """Where the study is: the journal, or the database that `search.storage_env` names."""
        variable = self.config.search.storage_env
        if variable is None:
            return self.study_path
        if not (self.folder / STUDY_ID).exists():
            raise StudyCorrupt(f"no study of {self.folder}: nothing was searched there; start with `nas search CONFIG`")
        return Database(variable, read_json(self.folder / STUDY_ID, lambda found: str(found["study"]), REMEDY))

    @property
    def trials_folder(self) -> Path:
        """Folder of the trials' folders."""
        return self.folder / "trials"

    @cached_property
    def space(self) -> SearchSpace:
        """Search space, for the image shape and classes the run found in its data."""
        facts = read_facts(self.folder / "data.json")
        channels, height, width = facts["input_shape"]
        return make_space(self.config, (channels, height, width), facts["num_classes"])

    @cached_property
    def records(self) -> tuple[TrialRecord, ...]:
        """Finished trials by number, as they are now."""
        return tuple(read_records(self.study))

    def front(self, objectives: Sequence[Metric] = (), records: Sequence[TrialRecord] | None = None) -> ParetoFront:
        """Front of `records` (default: all) for `objectives` (default: the run's)."""
        return front_of(self.records if records is None else records, objectives or self.config.parsed_objectives)

    def reference_point(self, objectives: Sequence[Metric] = ()) -> tuple[float, ...]:
        """Worst value of each objective, in its own direction."""
        return reference_point(self.config, self.space, objectives or self.config.parsed_objectives)


STUDY_ID = "study.json"
"""Name of the run's study in a database that many runs share."""

REMEDY = "restore it from the config or copy that this run was started with; all trials are kept"
"""What to do where a file of a run that cannot be written anew is damaged."""


def trained_network(run: Run, record: TrialRecord) -> Network:
    """Network of a trial with the weights that were scored, in eval mode, on the CPU.

    Raises CheckpointError where the trial left none.
    """
    number = record.number if record.reused_from is None else record.reused_from
    network = build_network(run.space.spec(record.genotype), make_generator(0, "weights"))
    load_weights(trial_folder(run.trials_folder, number) / WEIGHTS, network)
    return network.eval()


def open_run(folder: Path) -> Run:
    """Existing run in `folder`. Raises UsageError where there is none."""
    config = folder / "config.yaml"
    if not config.is_file():
        raise UsageError(f"no run in {folder} (it has no config.yaml); start one with `nas search CONFIG`")
    try:
        return Run(folder, load_config(config))
    except ConfigError as error:
        raise ConfigError(f"{error}\n{config} is a run's own: {REMEDY}") from error


def front_in(folder: Path) -> Sequence[TrialRecord]:
    """Members of the front of the run in `folder`, best first objective first. Raises NasError where it has none."""
    return open_run(folder).front().records


def search(
    config: RunConfig, folder: Path, report: Callable[[Progress], None], report_supernet: Report = lambda *_: None,
    warn: Warn = lambda _: None,
) -> str:  # fmt: skip
    """Creates or resumes the run in `folder` and searches until the config's trials are done.

    First trains the supernet, where `search.evaluator` needs one (supernet/; `report_supernet` gets its epochs). At the
    end trains the members of the front from as many seeds as `evaluation.seeds` asks for. `warn` gets what looks wrong
    with the data. Returns in words why it ended. Writes config.yaml, data.json, environment.json, start.json (with
    `search.start_from`), trials/ and study.journal (or study.json, the name of a study in a database) there. Raises
    RunMismatch where the folder was made with another config, RunLocked where another process searches in it,
    EmptyBudget where no genotype fits, ConfigError where an attack cannot be made with so few classes or
    `search.start_from` names what is not of the space.
    """
    stored = partial(stored_outcome, Run(folder, config).trials_folder)

    def planned(problem: Problem) -> Work:
        records, wanted = _found(folder, config), config.search.start_from
        _check_attacked_alike(records, problem, folder)
        starts = starts_to_freeze(folder / START, wanted, problem.space, front_in, has_trials=bool(records))

        def work(study: StudyFile, executor: Executor) -> str:
            first = frozen(folder / START, starts, problem.space)
            reason = run_search(dataclasses.replace(problem, first=first), study, executor, config.search, report)
            front, seeds = front_of(study.records(), problem.objectives).records, config.evaluation.seeds
            repeated = run_repeats(problem, front, seeds, executor, config.search, stored, report)
            return f"{reason}; {repeated}" if repeated else reason

        return work

    return _work(config, folder, planned, report_supernet, warn)


def sweep(
    config: RunConfig, folder: Path, report: Callable[[Progress], None], report_supernet: Report = lambda *_: None,
    warn: Warn = lambda _: None,
) -> str:  # fmt: skip
    """Creates or resumes the run in `folder` and trains what `config.sweep` lists, from several seeds each.

    Otherwise as `search`. Raises UsageError where a genotype is not of the space, or weights are to be inherited.
    """
    if config.search.inherit:
        raise UsageError("search.inherit: a sweep trains from scratch [got true]; set it to false for `nas sweep`")

    def planned(problem: Problem) -> Work:
        plan = sweep_plan(config, problem, front_in)
        for record in _found(folder, config):
            if record.number >= len(plan) or (record.genotype, record.seed) != plan[record.number]:
                raise RunMismatch(
                    f"{folder} holds trial {record.number}, which is not of this sweep; use --run NAME for a new run"
                )
        same = dataclasses.replace(problem, rungs=("attack",))  # every network of a study meets the same attack
        return lambda study, executor: run_sweep(same, study, executor, config.search, report, plan)

    return _work(config, folder, planned, report_supernet, warn)


def _found(folder: Path, config: RunConfig) -> Sequence[TrialRecord]:
    """Finished trials so far; none where the study is to be made, repaired or refused when it is opened to write."""
    with suppress(StudyCorrupt):
        return Run(folder, config).records
    return ()


def _check_attacked_alike(records: Sequence[TrialRecord], problem: Problem, folder: Path) -> None:
    """Raises RunMismatch where members of the front have not met every rung: they would look more robust."""
    front = front_of(records, problem.objectives).records
    lower = [
        r.number
        for r in front
        if r.evaluation and (not r.evaluation.ladder or r.evaluation.fidelity != problem.rungs[-1])
    ]
    if lower:
        raise RunMismatch(
            f"{folder} holds trials on the front that were attacked less than this search would (trial {lower[0]}: by "
            f"a sweep, or by a version without the attack ladder); use --run NAME for a new run"
        )


Work = Callable[[StudyFile, Executor], str]
"""What is done in an open run; returns in words why it ended."""


def _work(config: RunConfig, folder: Path, planned: Callable[[Problem], Work], report: Report, warn: Warn) -> str:
    """Does what `planned` says of the problem. What it refuses leaves the folder as it was."""
    with crew_of(config, warn) as crew:
        return _work_of(crew, config, folder, planned, report, warn)


def _work_of(
    crew: Crew, config: RunConfig, folder: Path, planned: Callable[[Problem], Work], report: Report, warn: Warn
) -> str:
    begun = open_run(folder).config if (folder / "config.yaml").exists() else None
    if begun is not None:
        config = config.continuing(begun)
        _check_same(config, begun, folder)
    data = load_search_data(config.data, survey_test=True)
    for text in data.warnings:
        warn(text)
    if begun is None:
        config = config.above_chance(data)
    run = Run(folder, config)
    problem = make_problem(config, data)
    check_budget(problem)
    check_needs(config, problem.space)
    work = planned(problem)
    try:
        run.trials_folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UsageError(f"{folder} is in the way: it is not a folder; choose another --run NAME") from None
    with exclusive(folder):
        check_same_data(data, folder / "data.json")
        log_environment(folder / "environment.json", crew.workers, crew.threads)
        write_atomic(folder / "config.yaml", dump_config(config).encode())
        directions = [objective.direction for objective in problem.objectives]
        sampler = partial(
            make_sampler, config.search, known=Foreknown(problem.space, problem.costs, problem.objectives)
        )
        study = StudyFile(_study_of(run), problem.space, directions, sampler)
        plan = TrialPlan(
            problem.space, data, config.threat, config.training, config.evaluation, crew.device, run.trials_folder,
            None if config.search.evaluator == "scratch" else supernet_of(run, data, report),
            trains=config.search.evaluator != "supernet",
        )  # fmt: skip
        with study.guarded(), crew.executor(plan) as executor:
            return work(study, executor)


def supernet_of(run: Run, data: SearchData, report: Report = lambda *_: None) -> Supernet:
    """Supernet of `run`, on the CPU; trained now, with all cores, where it is not yet."""
    claim_threads(available_cores())
    config, device = run.config, resolve_device(run.config.device)
    space = make_space(config, data.input_shape, data.num_classes)
    return kept_supernet(run.folder, space, data, config.threat, config.supernet, config.search.seed, device, report)


def _study_of(run: Run) -> Place:
    """Place of the study of `run`; one in a database gets its name with the first start."""
    if run.config.search.storage_env is not None and not (run.folder / STUDY_ID).exists():
        # The run's name and a random part: the runs of many folders share a database, and none takes up another's.
        write_json(run.folder / STUDY_ID, {"study": f"{run.folder.name}-{token_hex(4)}"})
    return run.study


def make_space(config: RunConfig, input_shape: tuple[int, int, int], num_classes: int) -> SearchSpace:
    """Search space of `config` for images of this shape."""
    return SPACES[config.space.name].constructor(config.space, input_shape, num_classes)


def make_problem(config: RunConfig, data: SearchData) -> Problem:
    """What the engine searches, from the config and the shape of the data."""
    config.threat.check_fits(data.input_shape)
    space = make_space(config, data.input_shape, data.num_classes)
    return Problem(
        space=space,
        costs=lambda genotype: costs_of(config, space, genotype),
        budget=config.budget,
        objectives=config.parsed_objectives,
        constraints=config.parsed_constraints,
        reference_point=reference_point(config, space, config.parsed_objectives),
        epochs=config.training.epochs,
        rungs=config.evaluation.ladder.search_rungs,
        reject_untrusted=config.search.reject_untrusted,
    )


def costs_of(config: RunConfig, space: SearchSpace, genotype: Genotype) -> Costs:
    """Costs of `genotype` in the config's number formats."""
    return count_costs(space.spec(genotype), config.deployment)


def reference_point(config: RunConfig, space: SearchSpace, objectives: Sequence[Metric]) -> tuple[float, ...]:
    """Worst value of each objective for the hypervolume, in its own direction.

    Accuracies 0; costs their limit, else 1.1 times the largest genotype's; the closed-form bound 1.1 times
    the largest genotype's; instability ln(classes) nats, that of a certain prediction becoming uniform
    (divided by epsilon on the paper's scale). `search.reference_point` overrides; the empirical and the
    certified Lipschitz constants have no worst value known before training and need it. Raises ConfigError
    where it is missing.
    """
    spec = space.spec(space.largest())
    uniform = math.log(space.num_classes)
    worst = {
        "robust_accuracy": 0.0,
        "natural_accuracy": 0.0,
        "instability": uniform,
        "instability_scaled": uniform / config.threat.epsilon,
        "lipschitz_bound_log10": 1.1 * lipschitz_bound_log10(spec),
    }
    for name, largest in dataclasses.asdict(count_costs(spec, config.deployment)).items():
        worst[name] = float(getattr(config.budget, name) or 1.1 * largest)
    for name, value in config.search.reference_point.items():
        best = metric(name).best
        if metric(name).loss(value) <= metric(name).loss(best):
            raise ConfigError(f"search.reference_point: {name} {value:g} must be worse than the best value, {best:g}")
        worst[name] = value
    missing = [o.name for o in objectives if o.name not in worst]
    if missing:
        raise ConfigError(
            f"objective {missing[0]} has no natural worst value: set search.reference_point: "
            f"{{{missing[0]}: VALUE}} for the hypervolume"
        )
    return tuple(worst[objective.name] for objective in objectives)


def check_budget(problem: Problem) -> None:
    """Raises EmptyBudget where even the smallest genotype exceeds the budget, with its size."""
    costs = problem.costs(problem.space.smallest())
    rng = Random(0)
    if any(problem.budget.allows(problem.costs(problem.space.sample(rng))) for _ in range(200)):
        return  # the smallest network need not have the lowest peak: a residual that it opens holds memory
    if text := over_budget_text(problem.space.spec(problem.space.smallest()), costs, problem.budget):
        raise EmptyBudget(f"no genotype fits the budget: the smallest network of the space has {text}")


def _check_same(ours: RunConfig, theirs: RunConfig, folder: Path) -> None:
    free_now = MAY_CHANGE if ours.search.evaluator != "scratch" else (*MAY_CHANGE, "supernet")  # which nothing uses
    mine, stored = (one.model_dump(mode="json", context=AS_WRITTEN) for one in (ours, theirs))
    changed = [
        (field, new, old)
        for field, new, old in differences(mine, stored)
        if not any(field == free or field.startswith(f"{free}.") for free in free_now)
    ]
    if changed:
        lines = [f"  {field}: the run has {brief(old)}, the config has {brief(new)}" for field, new, old in changed]
        raise RunMismatch(
            f"{folder} was made with another config:\n" + "\n".join(lines) + f"\nto see its trials by other objectives "
            f"or limits: nas front {folder} --objectives … --where …; to search anew from its front: --run NAME --set "
            f"'search.start_from.runs=[{folder}]'; or use --run NAME alone, or make the fields equal (free to change: "
            f"{', '.join(MAY_CHANGE)})"
        )
