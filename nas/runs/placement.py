"""Where the candidates of a run are trained: how many workers, what each gets, and the executor that runs them."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from nas.base.errors import ConfigError
from nas.base.machine import available_cores, claim_threads, resolve_device
from nas.runs.config import RunConfig
from nas.runs.trial import TrialPlan
from nas.workers.local import Executor, InProcess, Processes

Warn = Callable[[str], None]
"""Reports what a user should know."""

GPU_WORKERS = 4
"""Candidates at once on a GPU by default: a tiny network fills a fraction of it."""


@dataclass(frozen=True)
class Workers:
    """Workers of a search."""

    count: int
    threads: int
    """Of each worker."""
    device: str
    """Where they train; on the worker's own machine."""
    make_executor: Callable[[TrialPlan], Executor]
    """Makes the executor of a plan."""

    @contextmanager
    def executor(self, plan: TrialPlan) -> Iterator[Executor]:
        """Executor of `plan`, closed at the end."""
        with closing(self.make_executor(plan)) as executor:
            yield executor


def workers_and_threads(config: RunConfig) -> tuple[int, int]:
    """Number of workers and threads of each; their product never exceeds the cores of this process.

    Of a Ray cluster, what this machine alone would lend to it. Raises ConfigError for more workers than cores: torch
    would run 20 to 50 times slower.
    """
    cores = available_cores()
    if config.search.executor == "in_process":
        return 1, cores
    on_cpu = resolve_device(config.device).type == "cpu"
    workers = (
        (cores if on_cpu else min(cores, GPU_WORKERS)) if config.search.workers == "auto" else config.search.workers
    )
    if config.search.executor == "ray":
        workers = min(workers, cores)
    if not 1 <= workers <= cores:
        raise ConfigError(f"search.workers: must be 1 to {cores} (the cores of this machine) or auto [got {workers}]")
    workers = min(workers, config.search.trials)
    return workers, cores // workers


@contextmanager
def workers_of(config: RunConfig, warn: Warn = lambda _: None) -> Iterator[Workers]:
    """Workers that `config` asks for; connects to the Ray cluster, or starts one, where it is to train there.

    `warn` gets what its workers cannot be given as usual.
    """
    if config.search.executor == "ray":
        with _ray_workers(config) as found:
            yield found
        return
    workers, threads = workers_and_threads(config)
    device = str(resolve_device(config.device))

    def make_executor(plan: TrialPlan) -> Executor:
        if config.search.executor == "in_process":
            claim_threads(threads)
            return InProcess(plan)
        timeout = config.search.trial_timeout
        return Processes(plan, workers=workers, threads=threads, timeout=timeout, device=device, warn=warn)

    yield Workers(workers, threads, device, make_executor)


@contextmanager
def _ray_workers(config: RunConfig) -> Iterator[Workers]:
    from nas.runs.remote import RemotePlan
    from nas.workers.ray import RayTasks, cluster, share_out

    search, device = config.search, config.device
    if ":" in device:
        raise ConfigError(f"device: {device} names a GPU, but Ray hands them out; use auto, cpu or cuda")
    with cluster(search.ray_address, available_cores()) as nodes:
        if device == "auto":
            device = "cuda" if any(node.gpus for node in nodes) else "cpu"
        wanted = None if search.workers == "auto" else search.workers
        share = share_out(nodes, wanted, search.trials, None if device == "cpu" else GPU_WORKERS)

        def make_executor(plan: TrialPlan) -> Executor:
            return RayTasks(RemotePlan(plan), share, timeout=search.trial_timeout, device=device)

        yield Workers(share.workers, share.threads, device, make_executor)
