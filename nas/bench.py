"""How fast this machine trains and scores, against a plain TRADES loop.

The plain loop is written from the paper's description (Zhang 2019, algorithm 1) the way public code has it:
clean logits recomputed in every attack step, batch-norm in the graph, default memory layout. Ratios are medians
over rounds in which both sides run one after the other, as machines are shared and noisy.
"""

import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.attacks import Pgd
from nas.budgets import Deployment, count_costs
from nas.data import Split
from nas.evaluation import EvaluationSettings, evaluate
from nas.machine import claim_threads
from nas.seeding import make_generator
from nas.threat import ThreatModel
from nas.training import Training, start_training, train_epoch
from search_spaces import NetworkSpec
from search_spaces.network import Network, build_network


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


def compare(workload: Workload, rounds: int, cores: int, report: Callable[[int], None]) -> dict[str, Any]:
    """Images per second of the plain loop, of the engine, and of one engine per core, JSON-ready.

    Every round measures all of them, one after the other; ratios are taken within a round. Keys:
    `plain`, `engine` (one worker with all cores), `machine` (as many single-thread workers as cores), each
    with `training` and `scoring`; `ratio` with median, low and high; `memory_bytes` (peak of this process).
    Sets the threads of this process to `cores`.
    """
    claim_threads(cores)
    sides: dict[str, list[dict[str, float]]] = {"plain": [], "engine": [], "machine": []}
    context = torch.multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores, mp_context=context, initializer=claim_threads, initargs=(1,)) as pool:
        list(pool.map(engine_speed, [workload] * cores))  # starts the processes
        for number in range(rounds):
            sides["plain"].append(plain_speed(workload))
            sides["engine"].append(engine_speed(workload))
            parts = list(pool.map(engine_speed, [workload] * cores))
            sides["machine"].append({key: sum(part[key] for part in parts) for key in parts[0]})
            report(number + 1)
    result: dict[str, Any] = {side: _summary(measured) for side, measured in sides.items()}
    for side in ("engine", "machine"):
        pairs = list(zip(sides[side], sides["plain"], strict=True))
        result[side]["ratio"] = {key: _spread([a[key] / b[key] for a, b in pairs]) for key in sides[side][0]}
    return result | {
        "cores": cores,
        "rounds": rounds,
        "device": workload.device,
        "params": count_costs(workload.spec, Deployment()).params,
        "batch_size": workload.training.batch_size,
        "steps": workload.training.attack.steps,
        "memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "torch": torch.__version__,
    }


def engine_speed(workload: Workload) -> dict[str, float]:
    """Images per second that the project trains and scores with the threads of this process."""
    data = _images(workload)
    network = _network(workload)
    generator = make_generator(0, "bench", device=workload.device)
    state = start_training(network, workload.training, generator)
    training = _rate(lambda: train_epoch(state, data, workload.training, workload.threat), len(data), workload)
    scored = network.eval()
    scoring = _rate(
        lambda: evaluate(scored, data, workload.threat, workload.evaluation, generator, split_name="validation"),
        len(data),
        workload,
    )
    return {"training": training, "scoring": scoring}


def plain_speed(workload: Workload) -> dict[str, float]:
    """Images per second of a plain TRADES loop and a plain PGD evaluation, with the threads of this process."""
    data = _images(workload)
    network = _network(workload).to(memory_format=torch.contiguous_format)
    x, y = data.images.float() / 255, data.labels
    generator = make_generator(0, "bench", device=workload.device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=2e-4)
    threat, training = workload.threat, workload.training
    step = threat.epsilon / 4

    def train() -> None:
        plain_trades_step(
            network, optimizer, x, y, threat.epsilon, step, training.attack.steps, training.beta, generator
        )

    attack = workload.evaluation.attack
    steps = attack.steps if isinstance(attack, Pgd) else 1
    trained = _rate(train, len(data), workload)
    network.eval()
    scored = _rate(lambda: plain_pgd(network, x, y, threat.epsilon, step, steps), len(data), workload)
    return {"training": trained, "scoring": scored}


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
        x_adv = torch.min(torch.max(x_adv, x - epsilon), x + epsilon).clamp(0, 1)
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
        x_adv = torch.min(torch.max(x_adv, x - epsilon), x + epsilon).clamp(0, 1)
    return x_adv


def _images(workload: Workload) -> Split:
    """One batch of random images: speed does not depend on what they show."""
    generator = make_generator(0, "images")
    size = (workload.training.batch_size, *workload.spec.input_shape)
    images = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, workload.spec.num_classes, size[:1], generator=generator)
    return Split(images, labels).to(torch.device(workload.device))


def _network(workload: Workload) -> Network:
    return build_network(workload.spec, make_generator(0, "weights")).to(workload.device)


def _rate(work: Callable[[], object], images: int, workload: Workload) -> float:
    """Images per second of `work`, repeated for at least `workload.seconds` after one run that does not count."""
    work()
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


def _summary(measured: list[dict[str, float]]) -> dict[str, Any]:
    return {key: _spread([one[key] for one in measured]) for key in measured[0]}


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}
