"""Adversarial training, seen whole: a state, one epoch, and the network that is scored.

Every random choice (order, augmentation, start of the attack) is drawn from the state's generator, so
a state that is restored between epochs continues bit for bit on the CPU.
"""

import copy
import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from nas.attacks.threat import ThreatModel
from nas.base.errors import Diverged
from nas.data.split import Split
from nas.networks.backprop import Forward, forward_of
from nas.networks.treatments.treatment import after_step_, can_capture, finish_, turns_at
from nas.networks.view import View, view_of
from nas.training.alarm import Gap, attack_of, measure_gap, watch
from nas.training.averaging import Tensors, keep_of, reestimate_batch_norm_, update_average_
from nas.training.batch import draw_batch
from nas.training.graphs import Replayed, recorder
from nas.training.methods import Method, Teacher, method_of
from nas.training.optimizer import make_optimizer, set_learning_rate_
from nas.training.settings import InnerAttack, Training
from nas.training.starts import Memory, begin_epoch_
from nas.training.steps import epoch_batches, step_sizes
from search_spaces.network import Network


@dataclass
class TrainingState:
    """Everything that changes during training."""

    network: Network
    view: View
    """The network as the inner maximisation sees it, refolded before every step and after an epoch."""
    forward: Forward
    """The network in training mode: batches to logits, for the loss."""
    average: Network | None
    """Exponential moving average of the weights, where `ema_decay` asks for one."""
    optimizer: torch.optim.SGD
    generator: torch.Generator
    settings: Training
    method: Method
    """What a step minimises."""
    teacher: Teacher | None = None
    """What it learns from in place of the labels alone."""
    memory: Memory = field(default_factory=dict)
    """Tensors that the method keeps between steps, by name, live."""
    epoch: int = 0
    """Finished epochs."""
    step: int = 0
    """Finished optimiser steps."""
    doublings: int = 0
    """How often the alarm has doubled the steps of the attack."""
    most_withstanding: int = 0
    """Most images that the alarm saw withstand its reference after an epoch."""
    steps: "_Steps | None" = None
    """What takes the steps; made in the first epoch."""

    def refresh_(self) -> None:
        """Shows the attack the present weights, and gives it the steps that the alarm has raised it to."""
        self.view.refold_()
        if self.doublings and (own := method_of(self.settings).attack) is not None:
            attack = attack_of(own, self.doublings)
            self.method = method_of(self.settings.model_copy(update={"attack": attack}), self.teacher)
        self.steps = None


@dataclass(frozen=True)
class EpochLog:
    """Means over one epoch of training."""

    epoch: int
    loss: float
    train_accuracy: float
    """On the images of the loss (augmented; adversarial ones for `madry`), weights changing, training mode."""
    learning_rate: float
    """At the end of the epoch."""
    attack_steps: int = 0
    """Steps of the inner maximisation; 0 without one."""
    gap: float | None = None
    """Share of the held-out images that withstand the attack of the training but not PGD-10; None: not looked at."""
    undone: tuple[float, ...] = ()
    """Gaps of attempts at this epoch that the alarm undid, each with half the steps of the next."""


def start_training(
    network: Network, settings: Training, generator: torch.Generator, teacher: Teacher | None = None
) -> TrainingState:
    """State before the first epoch; the networks and `generator` are on the training device.

    With a `teacher`, which is not changed, `network` learns from its targets in place of the labels.
    """
    after_step_(network, torch.zeros((), device=generator.device))  # its weights may come from an untreated network
    optimizer = make_optimizer(network, settings, generator.device)
    average = copy.deepcopy(network).requires_grad_(False) if settings.ema_decay else None
    view = view_of(network, settings.attack.dtype)
    method = method_of(settings, teacher)
    return TrainingState(network, view, forward_of(network), average, optimizer, generator, settings, method, teacher)


def train_epoch(
    state: TrainingState, data: Split, settings: Training, threat: ThreatModel, watched: Split | None = None
) -> EpochLog:
    """One pass over `data` (all steps of `step_sizes`); `state` moves on by one epoch.

    With held-out images `watched` and few attack steps, a pass that ends in catastrophic overfitting is undone and made
    again with twice the steps (nas/training/alarm.py). Raises Diverged when the mean loss, or a penalised layer, is not
    finite. Without a Lipschitz penalty, the device is waited for at the end of the epoch only.
    """

    def gap(attack: InnerAttack, images: Split) -> Gap:
        return measure_gap(state.view, images, attack, threat, state.memory, state.epoch)

    is_natural = state.epoch < settings.natural_epochs

    def present() -> InnerAttack | None:
        return None if is_natural else state.method.attack

    log, share, undone = watch(
        state, lambda: _pass(state, data, settings, threat), present, gap,
        watched if settings.alarm else None, settings.epochs, turns_at(state.network),
    )  # fmt: skip
    steps = 0 if (attack := present()) is None else attack.steps
    return replace(log, attack_steps=steps, gap=share, undone=undone)


def _pass(state: TrainingState, data: Split, settings: Training, threat: ThreatModel) -> EpochLog:
    """One pass over `data`, with the steps that the alarm has raised the attack to."""
    batches = epoch_batches(len(data), settings.batch_size, state.generator)
    if (attack := state.method.attack) is not None:
        classes = state.network.spec.num_classes
        begin_epoch_(state.memory, attack, threat, state.generator, state.epoch, data.images, classes)
    if state.steps is None or not state.steps.fit(data, settings, threat):
        state.steps = _Steps(state, data, settings, threat)
    sums = state.steps.sums.zero_()
    state.network.train()
    rate = 0.0
    for index, batch in enumerate(batches):
        passed = state.epoch + (index + 1) / len(batches)
        rate = set_learning_rate_(state.optimizer, settings, passed)
        state.steps.take(batch, passed / settings.epochs)
        state.step += 1
    state.view.refold_()
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
        self._progress = torch.zeros((), device=device)
        """Share of the training that is done after the step."""
        capturable = state.method.can_capture and can_capture(state.network)
        replays = device.type == "cuda" and settings.cuda_graphs and capturable
        self._step = Replayed(self._work, recorder(state.generator)) if replays else self._work

    def fit(self, data: Split, settings: Training, threat: ThreatModel) -> bool:
        """Whether they were made for these."""
        return self._data is data and (self._settings, self._threat) == (settings, threat)

    def take(self, batch: Tensor, progress: float) -> None:
        """One step on the images of `batch` (N,): attack, loss, optimiser, average, treatments."""
        self._progress.fill_(progress)
        self._moved.fill_(1 - keep_of(self._settings.ema_decay, self._state.step))
        self._step(batch)

    def _work(self, batch: Tensor) -> None:
        state, settings = self._state, self._settings
        state.view.refold_()  # within the step: a graph replays it on the tensors that the attack then reads
        drawn = draw_batch(self._data, batch, settings.augmentation, state.generator)
        loss, logits = state.method.loss(state, drawn, self._threat)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        state.optimizer.step()
        after_step_(state.network, self._progress)
        if state.average is not None and self._average is not None:
            update_average_(self._average, self._live, self._moved)
            after_step_(state.average, self._progress)
        self.sums += torch.stack([loss.detach().double(), (logits.argmax(1) == drawn.y).sum()])


def scored_network(state: TrainingState, data: Split, settings: Training) -> Network:
    """Copy of the averaged (or last) weights in eval mode, batch-norm re-estimated on clean images of `data`.

    The first `batch_norm_images` images of `data` are used, without augmentation; `state` is not changed.
    """
    network = copy.deepcopy(state.network if state.average is None else state.average)
    finish_(network)
    reestimate_batch_norm_(network, batch_norm_batches(data, settings))
    return network.requires_grad_(False).eval()


def batch_norm_batches(data: Split, settings: Training) -> list[Tensor]:
    """Inputs of the clean images that batch-norm is re-estimated on; every batch weighs the same."""
    sizes = step_sizes(min(len(data), settings.batch_norm_images), settings.batch_size)
    return [data.domain.to_input(images) for images in torch.split(data.images[: sum(sizes)], sizes)] if sizes else []
