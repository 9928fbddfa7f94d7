"""The work in a run folder: a search or a sweep, begun or gone on with."""

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from secrets import token_hex

from nas.assets.asset import kept
from nas.assets.supernet.keeping import Report, SupernetAsset
from nas.assets.supernet.weights import Supernet
from nas.base.environment import log_environment
from nas.base.errors import RunMismatch, StudyCorrupt, UsageError
from nas.base.files import exclusive, write_atomic, write_json
from nas.base.machine import available_cores, claim_threads, resolve_device
from nas.base.records import TrialRecord
from nas.data.datasets import SearchData, load_search_data
from nas.data.facts import check_same_data
from nas.networks.build import stored_network
from nas.pareto import front_of
from nas.runs.config import RunConfig, dump_config
from nas.runs.folder import STUDY_ID, Run, front_in, open_run
from nas.runs.manifolds import data_on_manifold
from nas.runs.needs import check_needs
from nas.runs.placement import Warn, Workers, workers_of
from nas.runs.plan import sweep_plan
from nas.runs.problem import check_budget, make_problem, make_space
from nas.runs.same import check_same_config
from nas.runs.trial import TrialPlan
from nas.runs.trial_files import WEIGHTS, stored_outcome, trial_folder
from nas.search.engine import run_search
from nas.search.finished import Place
from nas.search.problem import Problem, Progress
from nas.search.repeats import run_repeats
from nas.search.samplers import make_sampler
from nas.search.samplers.prescreen import Foreknown
from nas.search.start import START, frozen, starts_to_freeze
from nas.search.study import StudyFile
from nas.search.sweep import run_sweep
from nas.workers.local import Executor
from search_spaces.network import Network


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
        starts = starts_to_freeze(folder / START, wanted, problem, front_in, has_trials=bool(records))

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
    with workers_of(config, warn) as workers:
        return _work_of(workers, config, folder, planned, report, warn)


def _work_of(
    workers: Workers, config: RunConfig, folder: Path, planned: Callable[[Problem], Work], report: Report, warn: Warn
) -> str:
    begun = open_run(folder).config if (folder / "config.yaml").exists() else None
    if begun is not None:
        config = config.continuing(begun)
        check_same_config(config, begun, folder)
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
        log_environment(folder / "environment.json", workers.count, workers.threads)
        write_atomic(folder / "config.yaml", dump_config(config).encode())
        directions = [objective.direction for objective in problem.objectives]
        sampler = partial(
            make_sampler, config.search, known=Foreknown(problem.space, problem.costs, problem.objectives)
        )
        data = data_on_manifold(data, config, folder)
        study = StudyFile(_study_of(run), problem.space, directions, sampler)
        supernet = None if config.search.evaluator == "scratch" else supernet_of(run, data, report)
        plan = TrialPlan(
            problem.space, data.trained_on(config.search.train_images), config.threat, config.training,
            config.scoring, workers.device, run.trials_folder, supernet,
            trains=config.search.evaluator != "supernet", treatments=config.treatments, plugins=config.plugins,
            plugin_folder=config.plugin_folder,
        )  # fmt: skip
        with study.guarded(), workers.executor(plan) as executor:
            return work(study, executor)


def supernet_of(run: Run, data: SearchData, report: Report = lambda *_: None) -> Supernet:
    """Supernet of `run`, on the CPU; trained now, with all cores, where it is not yet."""
    claim_threads(available_cores())
    config, device = run.config, resolve_device(run.config.device)
    space = make_space(config, data.input_shape, data.num_classes)
    asset = SupernetAsset(space, data, config.threat, config.supernet, config.search.seed, device, report)
    return kept(run.folder, asset, config.supernet.taken_from)


def trained_network(run: Run, record: TrialRecord) -> Network:
    """Network of a trial with the weights that were scored, in eval mode, on the CPU.

    Raises CheckpointError where the trial left none.
    """
    number = record.number if record.reused_from is None else record.reused_from
    path = trial_folder(run.trials_folder, number) / WEIGHTS
    return stored_network(run.space.spec(record.genotype), path, run.config.treatments)


def _study_of(run: Run) -> Place:
    """Place of the study of `run`; one in a database gets its name with the first start."""
    if run.config.search.storage_env is not None and not (run.folder / STUDY_ID).exists():
        # The run's name and a random part: the runs of many folders share a database, and none takes up another's.
        write_json(run.folder / STUDY_ID, {"study": f"{run.folder.name}-{token_hex(4)}"})
    return run.study
