"""Does the engine train networks as good as a plain TRADES loop does? `python -m tests.benchmarks.equal_accuracy`.

Both sides train one digits network of configs/digits.yaml, with its settings. The plain side differs in the step
alone: the attack and the loss go through the module itself by autograd, and the clean logits are computed anew in
every step of the attack. Weights, order and noise of a seed are the same on both sides, and both are scored alike.
"""

import argparse
import json
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.attacks.threat import ThreatModel
from nas.base.machine import claim_threads
from nas.base.seeding import make_generator
from nas.budgets import Deployment, count_costs
from nas.data.datasets import SearchData, load_search_data
from nas.evaluation.evaluate import evaluate
from nas.networks.view import AutogradView
from nas.runs import make_space
from nas.runs.config import RunConfig, load_config
from nas.training import Training
from nas.training.loop import TrainingState, scored_network, start_training, train_epoch
from nas.training.losses import trades_loss
from nas.training.methods import BaseMethod, Batch
from search_spaces import NetworkSpec
from search_spaces.network import build_network
from tests.conftest import ROOT

ATTACK = "{steps: 5, step_size: 0.04, start: normal}"
"""Of both sides."""
GENOTYPE = {
    "width_1": 0.5, "width_2": 0.75, "width_3": 0.75, "width_4": 0.5, "expand_2": 3, "expand_3": 3, "expand_4": 3,
}  # fmt: skip
"""A network of the middle of the space."""
SCORES = ("natural_accuracy", "robust_accuracy")


def digits_config() -> RunConfig:
    """With the five steps that the plain loop makes too, and the ten epochs of docs/performance.md."""
    changes = [f"training.attack={ATTACK}", f"retrain.attack={ATTACK}", "training.epochs=10"]
    return load_config(ROOT / "configs" / "digits.yaml", changes)


def spec_of(config: RunConfig, values: dict[str, float]) -> NetworkSpec:
    space = make_space(config, (1, 8, 8), 10)
    return space.spec(space.genotype(values))


class PlainTrades(BaseMethod):
    """The TRADES step as it is usually written (Zhang 2019, algorithm 1), l_inf."""

    def loss(self, state: TrainingState, batch: Batch, threat: ThreatModel) -> tuple[Tensor, Tensor]:
        return plain_trades(state, batch.x, batch.y, self.settings, threat)


def plain_trades(
    state: TrainingState, x: Tensor, y: Tensor, settings: Training, threat: ThreatModel
) -> tuple[Tensor, Tensor]:
    network, step_size = state.network, settings.attack.step_size
    assert threat.norm == "linf"
    assert step_size is not None
    network.eval()
    x_adv = x + 0.001 * torch.empty_like(x).normal_(generator=state.generator)
    x_adv = x_adv.clamp(0, 1)  # the one deviation: the start of a step of the engine is projected, too
    for _ in range(settings.attack.steps):
        x_adv.requires_grad_()
        loss = F.kl_div(F.log_softmax(network(x_adv), 1), F.softmax(network(x), 1), reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x_adv)
        x_adv = x_adv.detach() + step_size * gradient.sign()
        x_adv = torch.min(torch.max(x_adv, x - threat.epsilon), x + threat.epsilon).clamp(0, 1)
    network.train()
    logits, logits_adv = network(x), network(x_adv)
    return trades_loss(logits, logits_adv, y, settings.beta), logits


@contextmanager
def plain_steps(state: TrainingState) -> Iterator[None]:
    """Inside, `state` is trained by plain steps: neither its folded view nor its pass by hand is there."""
    before = state.method, state.view, state.forward
    assert isinstance(state.method, BaseMethod)
    state.method = PlainTrades(state.method.settings)
    state.view, state.forward = AutogradView(state.network), _refused
    try:
        yield
    finally:
        state.method, state.view, state.forward = before


def _refused(*batches: Tensor) -> tuple[Tensor, ...]:
    raise AssertionError("a plain step goes through the network itself")


def train_and_score(config: RunConfig, data: SearchData, seed: int, plain: bool) -> dict[str, float]:
    """Natural and robust accuracy on the validation images after one training."""
    settings = config.training
    network = build_network(spec_of(config, GENOTYPE), make_generator(seed, "weights"), data.mean, data.std)
    state = start_training(network, settings, make_generator(seed, "training"))
    for _ in range(settings.epochs):
        if plain:
            with plain_steps(state):
                train_epoch(state, data.train, settings, config.threat)
        else:
            train_epoch(state, data.train, settings, config.threat)
    scored = scored_network(state, data.train, settings)
    generator = make_generator(seed, "evaluation")
    found = evaluate(scored, data.validation, config.threat, config.evaluation, generator, split_name="validation")
    return {name: float(getattr(found, name)) for name in SCORES}


def compare(config: RunConfig, seeds: int) -> dict[str, Any]:
    """Scores of both sides, and the difference (engine - plain) with its standard error over the seeds' pairs."""
    data = load_search_data(config.data)
    runs = {
        side: [train_and_score(config, data, seed, side == "plain") for seed in range(seeds)]
        for side in ("engine", "plain")
    }
    values = {side: {name: [run[name] for run in found] for name in SCORES} for side, found in runs.items()}
    differences = {
        name: [a - b for a, b in zip(values["engine"][name], values["plain"][name], strict=True)] for name in SCORES
    }
    return {
        "params": count_costs(spec_of(config, GENOTYPE), Deployment()).params,
        "images": len(data.validation),
        "seeds": seeds,
        **{side: {name: _summary(found) for name, found in scores.items()} for side, scores in values.items()},
        "engine_minus_plain": {
            name: {"mean": statistics.mean(found), "standard_error": _deviation(found, len(found))}
            for name, found in differences.items()
        },
    }


def _summary(found: list[float]) -> dict[str, Any]:
    return {"values": found, "mean": statistics.mean(found), "standard_deviation": _deviation(found)}


def _deviation(found: list[float], count: int = 1) -> float | None:
    return statistics.stdev(found) / count**0.5 if len(found) > 1 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    claim_threads(arguments.threads)
    print(json.dumps(compare(digits_config(), arguments.seeds), indent=1))


if __name__ == "__main__":
    main()
