"""How fast this machine trains and scores, against a plain TRADES loop.

The plain loop is written from the paper's description (Zhang 2019, algorithm 1) the way public code has it:
clean logits recomputed in every attack step, batch-norm in the graph, default memory layout. Ratios are medians
over rounds in which both sides run one after the other, as machines are shared and noisy: one process against one,
and several workers against as many plain loops.
"""

import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.assets.manifold.codes import on_manifold
from nas.assets.manifold.keeping import untrained
from nas.assets.manifold.settings import Pca, Vae
from nas.attacks import Pgd
from nas.attacks.threat import ThreatModel
from nas.base.errors import UsageError
from nas.base.machine import claim_threads, processor
from nas.base.seeding import make_generator
from nas.base.settings import Settings
from nas.budgets import Deployment, count_costs
from nas.data.domain import PIXELS
from nas.data.split import Split
from nas.evaluation import EvaluationSettings
from nas.evaluation.evaluate import evaluate
from nas.networks.build import new_network
from nas.runs.parts import load_parts
from nas.training import Training
from nas.training.loop import start_training, train_epoch
from nas.training.settings import InnerAttack
from nas.workers.fork_server import METHOD
from search_spaces import NetworkSpec
from search_spaces.mobilenet_tiny import PRESETS, preset
from search_spaces.network import Network

Speed = dict[str, float]
"""Images per second of RATES, and the peak memory in bytes."""

RATES = ("training", "scoring")


@dataclass(frozen=True)
class Workload:
    """What is measured: one network, one kind of training, one kind of scoring."""

    spec: NetworkSpec
    threat: ThreatModel
    training: Training
    evaluation: EvaluationSettings
    device: str = "cpu"
    seconds: float = 1.0
    """Least time of one measurement."""
    plugins: tuple[str, ...] = ()
    """Modules, and parts in them, that this needs; a process that measures imports them."""
    plugin_folder: Path | None = None
    """Folder that holds them where they are not installed."""
    treatments: tuple[Settings, ...] = ()
    """Of the network that the engine trains and scores; the plain loop has it without."""
    manifold: Pca | Vae | None = None
    """What the engine trains on, too, where `training.on_manifold` says so; a subspace has `dimensions`."""


def paper_workload(network: str, image_size: int, batch_size: int, steps: int, device: str) -> Workload:
    """TRADES and PGD-20 in l_inf at 8/255 on a preset of the paper's tables. Raises UsageError for an unknown one."""
    if network not in PRESETS:
        raise UsageError(f"unknown network {network!r} (allowed: {', '.join(PRESETS)})")
    threat = ThreatModel(epsilon=8 / 255)
    training = Training(batch_size=batch_size, attack=InnerAttack(steps=steps, step_size=threat.epsilon / 4))
    spec = preset(network, (3, image_size, image_size))
    return Workload(spec, threat, training, EvaluationSettings(batch_size=batch_size), device)


def compare(workload: Workload, rounds: int, workers: int, cores: int, report: Callable[[int], None]) -> dict[str, Any]:
    """Images per second of the plain loop and of the engine, each in one process and in several, JSON-ready.

    Every round measures all of them, one after the other; ratios are taken within a round, between as many processes
    with as many threads. Keys: `plain` and `engine` (one process with all `cores`), `plain_machine` and `machine`
    (`workers` processes that share them), each with `training` and `scoring`, and `memory_bytes`, the peak of one
    process. Sets the threads of this process.
    """
    claim_threads(cores)
    plain, engine = plain_speed(workload), engine_speed(workload)
    threads = max(1, cores // workers)
    with worker_pool(workers, threads, plain_speed) as plains, worker_pool(workers, threads) as engines:
        measures: dict[str, Callable[[], Speed]] = {
            "plain": plain,
            "engine": engine,
            "plain_machine": lambda: _together(plains(workload)),
            "machine": lambda: _together(engines(workload)),
        }
        for side in ("plain_machine", "machine"):
            measures[side]()  # starts the processes; the first run of everything does not count
        sides: dict[str, list[Speed]] = {side: [] for side in measures}
        for number in range(rounds):
            for side, measure in measures.items():
                sides[side].append(measure())
            report(number + 1)
    result: dict[str, Any] = {side: _summary(measured) for side, measured in sides.items()}
    for side, baseline in BASELINES.items():
        pairs = list(zip(sides[side], sides[baseline], strict=True))
        result[side]["ratio"] = {key: _spread([a[key] / b[key] for a, b in pairs]) for key in RATES}
    return result | {
        "cores": cores,
        "workers": workers,
        "rounds": rounds,
        "device": workload.device,
        "processor": processor(),
        "params": count_costs(workload.spec, Deployment()).params,
        "image_size": workload.spec.input_shape[1],
        "batch_size": workload.training.batch_size,
        "steps": workload.training.attack.steps,
        "torch": torch.__version__,
    }


BASELINES = {"engine": "plain", "machine": "plain_machine"}
"""What each side is compared with: as many processes of the plain loop, with as many threads."""


def _together(parts: list[Speed]) -> Speed:
    """Rates of all processes, and the memory of the largest."""
    rates = {key: sum(part[key] for part in parts) for key in RATES}
    return rates | {"memory_bytes": max(part["memory_bytes"] for part in parts)}


@contextmanager
def worker_pool(
    workers: int, threads: int, prepare: "Callable[[Workload], Callable[[], Speed]] | None" = None
) -> Iterator[Callable[[Workload], list[Speed]]]:
    """Measures a workload in `workers` processes of `threads` threads at once: the speeds of each.

    `prepare` makes what is measured: `engine_speed` where left out, or `plain_speed`.
    """
    once = partial(_once, prepare or engine_speed)
    context = multiprocessing.get_context(METHOD)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=claim_threads, initargs=(threads,)) as pool:
        list(pool.map(len, [()] * workers))  # they are starting
        yield lambda workload: list(pool.map(once, [workload] * workers))


def _once(prepare: Callable[[Workload], Callable[[], Speed]], workload: Workload) -> Speed:
    if workload not in _PREPARED:
        load_parts(workload.plugins, workload.plugin_folder)
        _PREPARED[workload] = prepare(workload)
    return _PREPARED[workload]()


_PREPARED: dict[Workload, Callable[[], Speed]] = {}
"""Of a worker process, which measures one side: warm networks."""


def engine_speed(workload: Workload) -> Callable[[], Speed]:
    """Measures how fast the project trains and scores with the threads of this process; warmed up."""
    data, scored = (_images(workload, part.batch_size) for part in (workload.training, workload.evaluation))
    if workload.manifold is not None:
        data = on_manifold(data, untrained(workload.manifold, workload.spec.input_shape, workload.spec.num_classes))
    network, generator = _network(workload, workload.treatments), make_generator(0, "bench", device=workload.device)
    state = start_training(network, workload.training, generator)

    def train() -> None:
        train_epoch(state, data, workload.training, workload.threat)

    def score() -> None:
        evaluate(network.eval(), scored, workload.threat, workload.evaluation, generator, split_name="validation")

    return _measured(train, score, workload)


def plain_speed(workload: Workload) -> Callable[[], Speed]:
    """The same for a plain TRADES loop and a plain PGD evaluation."""
    data, scored = (_images(workload, part.batch_size) for part in (workload.training, workload.evaluation))
    network = _network(workload).to(memory_format=torch.contiguous_format)
    x, x_scored = data.inputs(), scored.inputs()
    generator = make_generator(0, "bench", device=workload.device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=2e-4)
    threat, training, attack = workload.threat, workload.training, workload.evaluation.attack
    step, steps = threat.epsilon / 4, attack.steps if isinstance(attack, Pgd) else 1

    def train() -> None:
        plain_trades_step(
            network, optimizer, x, data.labels, threat.epsilon, step, training.attack.steps, training.beta, generator
        )

    def score() -> None:
        plain_pgd(network.eval(), x_scored, scored.labels, threat.epsilon, step, steps)

    return _measured(train, score, workload)


def plain_trades_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    epsilon: float,
    step_size: float,
    steps: int,
    beta: float,
    generator: torch.Generator,
) -> None:
    """One training step of TRADES (Zhang 2019, algorithm 1), l_inf, as it is usually written."""
    network.eval()
    x_adv = x + 0.001 * torch.empty_like(x).normal_(generator=generator)
    for _ in range(steps):
        x_adv.requires_grad_()
        kl = F.kl_div(F.log_softmax(network(x_adv), 1), F.softmax(network(x), 1), reduction="sum")
        (gradient,) = torch.autograd.grad(kl, x_adv)
        x_adv = x_adv.detach() + step_size * gradient.sign()
        x_adv = PIXELS.clamp(torch.min(torch.max(x_adv, x - epsilon), x + epsilon))
    network.train()
    optimizer.zero_grad()
    natural = F.cross_entropy(network(x), y)
    robust = F.kl_div(F.log_softmax(network(x_adv), 1), F.softmax(network(x), 1), reduction="batchmean")
    (natural + beta * robust).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def plain_pgd(network: nn.Module, x: Tensor, y: Tensor, epsilon: float, step_size: float, steps: int) -> Tensor:
    """Adversarial images of l_inf PGD on the cross-entropy, as it is usually written."""
    x_adv = x.clone()
    for _ in range(steps):
        x_adv.requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(network(x_adv), y), x_adv)
        x_adv = x_adv.detach() + step_size * gradient.sign()
        x_adv = PIXELS.clamp(torch.min(torch.max(x_adv, x - epsilon), x + epsilon))
    return x_adv


def _images(workload: Workload, count: int) -> Split:
    """Random images: speed does not depend on what they show."""
    generator = make_generator(0, "images")
    size = (count, *workload.spec.input_shape)
    images = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, workload.spec.num_classes, size[:1], generator=generator)
    return Split(images, labels).to(torch.device(workload.device))


def _network(workload: Workload, treatments: tuple[Settings, ...] = ()) -> Network:
    return new_network(workload.spec, make_generator(0, "weights"), treatments=treatments).to(workload.device)


def _measured(train: Callable[[], None], score: Callable[[], None], workload: Workload) -> Callable[[], Speed]:
    train()
    score()

    def measure() -> Speed:
        rates = {
            "training": _rate(train, workload.training.batch_size, workload),
            "scoring": _rate(score, workload.evaluation.batch_size, workload),
        }
        return rates | {"memory_bytes": _peak_memory(workload.device)}

    return measure


def _rate(work: Callable[[], None], images: int, workload: Workload) -> float:
    """Images per second of `work`, repeated for at least `workload.seconds`."""
    _wait(workload.device)
    started, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - started < workload.seconds:
        work()
        _wait(workload.device)
        count += 1
    return images * count / (time.perf_counter() - started)


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def _peak_memory(device: str) -> float:
    """Bytes of the device's memory, or of this process on the CPU."""
    if device != "cpu":
        return float(torch.cuda.max_memory_allocated())
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def _summary(measured: list[Speed]) -> dict[str, Any]:
    spreads: dict[str, Any] = {key: _spread([one[key] for one in measured]) for key in RATES}
    return spreads | {"memory_bytes": max(one["memory_bytes"] for one in measured)}


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}
