"""Adversarial training, seen whole: a state, one epoch, and the network that is scored.

Every random choice (order, augmentation, start of the attack) is drawn from the state's generator, so
a state that is restored between epochs continues bit for bit on the CPU.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.attacks import View, view_of
from nas.data import Split, augment
from nas.errors import Diverged
from nas.threat import ThreatModel
from nas.training.averaging import Tensors, reestimate_batch_norm_, update_average_
from nas.training.backprop import Forward, forward_of
from nas.training.inner import maximise_cross_entropy, maximise_kl
from nas.training.losses import trades_loss
from nas.training.schedule import learning_rate
from nas.training.settings import Training
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
    decayed = [p for p in network.parameters() if p.dim() > 1]
    others = [p for p in network.parameters() if p.dim() <= 1]
    optimizer = torch.optim.SGD(
        [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.momentum > 0,
        fused=True,
    )
    average = copy.deepcopy(network).requires_grad_(False) if settings.ema_decay else None
    return TrainingState(network, view_of(network), forward_of(network), average, optimizer, generator)


def train_epoch(state: TrainingState, data: Split, settings: Training, threat: ThreatModel) -> EpochLog:
    """One pass over `data`; `state` moves on by one epoch.

    Raises Diverged when the mean loss is not finite. The device is waited for once, at the end.
    """
    device = data.images.device
    order = torch.randperm(len(data), device=device, generator=state.generator)
    batches = [b for b in torch.split(order, settings.batch_size) if len(b) > 1]
    total_loss = torch.zeros((), device=device)
    correct = torch.zeros((), device=device)
    rate = 0.0
    live = Tensors.of(state.network)
    average = None if state.average is None else Tensors.of(state.average)
    state.network.train()
    for index, batch in enumerate(batches):
        x = to_pixels(augment(data.images[batch], settings.augmentation, state.generator))
        y = data.labels[batch]
        position = state.epoch + (index + 1) / len(batches)
        rate = learning_rate(
            settings.learning_rate, settings.schedule, position, settings.epochs, settings.warmup_epochs
        )
        loss, logits = METHODS[settings.method](state, x, y, settings, threat)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        state.optimizer.step()
        state.view.refold_()
        if average is not None:
            update_average_(average, live, settings.ema_decay, state.step)
        state.step += 1
        total_loss += loss.detach()
        correct += (logits.argmax(1) == y).sum()
    state.epoch += 1
    mean_loss = total_loss.item() / len(batches)
    if not torch.isfinite(torch.tensor(mean_loss)):
        raise Diverged(f"the loss of epoch {state.epoch} is {mean_loss}; lower training.learning_rate or training.beta")
    seen = sum(len(b) for b in batches)
    return EpochLog(state.epoch, mean_loss, correct.item() / seen, rate)


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
    batches = data[: settings.batch_norm_images].batches(settings.batch_size)
    if len(batches) > 1 and len(batches[-1]) < settings.batch_size / 2:
        batches.pop()  # every batch weighs the same: a few images must not count like many
    reestimate_batch_norm_(network, [to_pixels(b.images) for b in batches if len(b) > 1])
    return network.requires_grad_(False).eval()


def to_pixels(images: Tensor) -> Tensor:
    """uint8 images as float32 pixels in [0, 1]."""
    return images.float() / 255
