"""Adversarial training, seen whole: a state, one epoch, and the network that is scored.

Every random choice (order, augmentation, start of the attack) is drawn from the state's generator, so
a state that is restored between epochs continues bit for bit on the CPU.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.attacks.threat import ThreatModel
from nas.base.errors import Diverged
from nas.data.split import Split
from nas.networks.backprop import Forward, forward_of
from nas.networks.norms import spectral_penalty
from nas.networks.view import View, view_of
from nas.training.averaging import Tensors, keep_of, reestimate_batch_norm_, update_average_
from nas.training.graphs import Replayed, recorder
from nas.training.inner import maximise_cross_entropy, maximise_kl
from nas.training.losses import trades_loss
from nas.training.optimizer import make_optimizer, set_learning_rate_
from nas.training.settings import Training
from nas.training.steps import epoch_batches, step_sizes
from search_spaces.network import Network


@dataclass
class TrainingState:
    """Everything that changes during training."""

    network: Network
    view: View
    """The network as the inner maximisation sees it, refolded after every optimiser step."""
    forward: Forward
    """The network in training mode: batches to logits, for the loss."""
    average: Network | None
    """Exponential moving average of the weights, where `ema_decay` asks for one."""
    optimizer: torch.optim.SGD
    generator: torch.Generator
    epoch: int = 0
    """Finished epochs."""
    step: int = 0
    """Finished optimiser steps."""
    steps: "_Steps | None" = None
    """What takes the steps; made in the first epoch."""

    def refresh_(self) -> None:
        """Shows the attack the present weights."""
        self.view.refold_()


@dataclass(frozen=True)
class EpochLog:
    """Means over one epoch of training."""

    epoch: int
    loss: float
    train_accuracy: float
    """On the images of the loss (augmented; adversarial ones for `madry`), weights changing, training mode."""
    learning_rate: float
    """At the end of the epoch."""


def start_training(network: Network, settings: Training, generator: torch.Generator) -> TrainingState:
    """State before the first epoch; `network` and `generator` are on the training device."""
    optimizer = make_optimizer(network, settings, generator.device)
    average = copy.deepcopy(network).requires_grad_(False) if settings.ema_decay else None
    view = view_of(network, settings.attack.dtype)
    return TrainingState(network, view, forward_of(network), average, optimizer, generator)


def train_epoch(state: TrainingState, data: Split, settings: Training, threat: ThreatModel) -> EpochLog:
    """One pass over `data` (all steps of `step_sizes`); `state` moves on by one epoch.

    Raises Diverged when the mean loss, or a penalised layer, is not finite. Without a Lipschitz penalty, the device
    is waited for once, at the end.
    """
    batches = epoch_batches(len(data), settings.batch_size, state.generator)
    if state.steps is None or not state.steps.fit(data, settings, threat):
        state.steps = _Steps(state, data, settings, threat)
    sums = state.steps.sums.zero_()
    state.network.train()
    rate = 0.0
    for index, batch in enumerate(batches):
        rate = set_learning_rate_(state.optimizer, settings, state.epoch + (index + 1) / len(batches))
        state.steps.take(batch)
        state.step += 1
    state.epoch += 1
    loss, correct = sums.tolist()
    mean_loss = loss / len(batches)
    if not math.isfinite(mean_loss):
        raise Diverged(f"the loss of epoch {state.epoch} is {mean_loss}; lower training.learning_rate or training.beta")
    seen = sum(len(b) for b in batches)
    return EpochLog(state.epoch, mean_loss, correct / seen, rate)


class _Steps:
    """Takes the steps of one training. What changes from step to step lies in tensors: a GPU replays the step."""

    def __init__(self, state: "TrainingState", data: Split, settings: Training, threat: ThreatModel) -> None:
        device = data.images.device
        self._data = data
        self.sums = torch.zeros(2, device=device, dtype=torch.float64)
        """Losses of the steps, correctly classified images."""
        self._state, self._settings, self._threat = state, settings, threat
        self._live = Tensors.of(state.network)
        self._average = None if state.average is None else Tensors.of(state.average)
        self._moved = torch.ones((), device=device)
        """Share of the live weights in the next average."""
        # A graph cannot hold the penalty's singular values: their library waits for the device.
        replays = device.type == "cuda" and settings.cuda_graphs and not settings.lipschitz_penalty
        self._step = Replayed(self._work, recorder(state.generator)) if replays else self._work

    def fit(self, data: Split, settings: Training, threat: ThreatModel) -> bool:
        """Whether they were made for these."""
        return self._data is data and (self._settings, self._threat) == (settings, threat)

    def take(self, batch: Tensor) -> None:
        """One step on the images of `batch` (N,): attack, loss, optimiser, average."""
        self._moved.fill_(1 - keep_of(self._settings.ema_decay, self._state.step))
        self._step(batch)

    def _work(self, batch: Tensor) -> None:
        state, settings = self._state, self._settings
        domain = self._data.domain
        x = domain.to_input(domain.augment(self._data.images[batch], settings.augmentation, state.generator))
        y = self._data.labels[batch]
        loss, logits = METHODS[settings.method](state, x, y, settings, self._threat)
        if settings.lipschitz_penalty:
            loss = loss + settings.lipschitz_penalty * _lipschitz_penalty(state.network)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        state.optimizer.step()
        state.view.refold_()
        if self._average is not None:
            update_average_(self._average, self._live, self._moved)
        self.sums += torch.stack([loss.detach().double(), (logits.argmax(1) == y).sum()])


def _lipschitz_penalty(network: Network) -> Tensor:
    try:
        return spectral_penalty(network)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise Diverged("weights are not finite and have no norms; lower training.learning_rate") from error


Step = Callable[[TrainingState, Tensor, Tensor, Training, ThreatModel], tuple[Tensor, Tensor]]


def _trades(
    state: TrainingState, x: Tensor, y: Tensor, settings: Training, threat: ThreatModel
) -> tuple[Tensor, Tensor]:
    """Two forward passes in training mode, clean then adversarial.

    Batch-norm's running statistics so see clean and adversarial images 1 : 1 (the public TRADES code
    runs the clean images twice, 2 : 1).
    """
    x_adv = maximise_kl(state.view, x, threat, settings.attack, state.generator)
    logits, logits_adv = state.forward(x, x_adv)
    return trades_loss(logits, logits_adv, y, settings.beta), logits


def _madry(
    state: TrainingState, x: Tensor, y: Tensor, settings: Training, threat: ThreatModel
) -> tuple[Tensor, Tensor]:
    """Cross-entropy on adversarial images only; the accuracy logged is theirs."""
    x_adv = maximise_cross_entropy(state.view, x, y, threat, settings.attack, state.generator)
    (logits,) = state.forward(x_adv)
    return F.cross_entropy(logits, y), logits


def _natural(
    state: TrainingState, x: Tensor, y: Tensor, settings: Training, threat: ThreatModel
) -> tuple[Tensor, Tensor]:
    (logits,) = state.forward(x)
    return F.cross_entropy(logits, y), logits


METHODS: dict[str, Step] = {"trades": _trades, "madry": _madry, "natural": _natural}


def scored_network(state: TrainingState, data: Split, settings: Training) -> Network:
    """Copy of the averaged (or last) weights in eval mode, batch-norm re-estimated on clean images of `data`.

    The first `batch_norm_images` images of `data` are used, without augmentation; `state` is not changed.
    """
    network = copy.deepcopy(state.network if state.average is None else state.average)
    reestimate_batch_norm_(network, batch_norm_batches(data, settings))
    return network.requires_grad_(False).eval()


def batch_norm_batches(data: Split, settings: Training) -> list[Tensor]:
    """Inputs of the clean images that batch-norm is re-estimated on; every batch weighs the same."""
    sizes = step_sizes(min(len(data), settings.batch_norm_images), settings.batch_size)
    return [data.domain.to_input(images) for images in torch.split(data.images[: sum(sizes)], sizes)] if sizes else []
