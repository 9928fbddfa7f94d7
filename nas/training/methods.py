"""Training methods: what a step minimises. One class each; `nas.training.settings.METHODS` names them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.attacks.threat import ThreatModel
from nas.base.errors import Diverged
from nas.networks.norms import spectral_penalty
from nas.training.inner import maximise_cross_entropy, maximise_kl
from nas.training.losses import trades_loss
from nas.training.settings import METHODS, Training

if TYPE_CHECKING:
    from nas.training.loop import TrainingState


@dataclass(frozen=True)
class Batch:
    """Images of one step."""

    x: Tensor
    """Augmented pixels (N, C, H, W)."""
    y: Tensor
    """Labels (N,)."""
    indices: Tensor
    """Which training images they are (N,)."""


class Method(Protocol):
    """A training method, made of the settings of one training."""

    @property
    def can_capture(self) -> bool:
        """Whether a CUDA graph can hold a step: it never waits for the device, and tensors change in place."""

    @property
    def memory(self) -> dict[str, Tensor]:
        """Tensors that it keeps between steps, by name, live: saved and restored with the training."""

    def loss(self, state: TrainingState, batch: Batch, threat: ThreatModel) -> tuple[Tensor, Tensor]:
        """Loss of `batch`, a scalar with a graph to the parameters, and the logits that the logged accuracy is of."""


def method_of(settings: Training) -> Method:
    """The method that `settings` ask for, with the Lipschitz penalty where they ask for it."""
    module, _, name = METHODS[settings.method].partition(":")
    method: Method = getattr(import_module(module), name)(settings)
    return Penalised(method, settings.lipschitz_penalty) if settings.lipschitz_penalty else method


class Stateless:
    """Base of methods that keep nothing between steps and never wait for the device."""

    can_capture = True

    def __init__(self, settings: Training) -> None:
        self.settings = settings

    @property
    def memory(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}


class Trades(Stateless):
    """TRADES (Zhang 2019): cross-entropy of clean images + β · KL of clean and adversarial predictions."""

    def loss(self, state: TrainingState, batch: Batch, threat: ThreatModel) -> tuple[Tensor, Tensor]:
        """Two forward passes in training mode, clean then adversarial.

        Batch-norm's running statistics so see clean and adversarial images 1 : 1 (the public TRADES code
        runs the clean images twice, 2 : 1).
        """
        x_adv = maximise_kl(state.view, batch.x, threat, self.settings.attack, state.generator)
        logits, logits_adv = state.forward(batch.x, x_adv)
        return trades_loss(logits, logits_adv, batch.y, self.settings.beta), logits


class Madry(Stateless):
    """PGD adversarial training (Madry 2018): cross-entropy of adversarial images only."""

    def loss(self, state: TrainingState, batch: Batch, threat: ThreatModel) -> tuple[Tensor, Tensor]:
        """The logits are those of the adversarial images."""
        x_adv = maximise_cross_entropy(state.view, batch.x, batch.y, threat, self.settings.attack, state.generator)
        (logits,) = state.forward(x_adv)
        return F.cross_entropy(logits, batch.y), logits


class Natural(Stateless):
    """Cross-entropy of clean images."""

    def loss(self, state: TrainingState, batch: Batch, threat: ThreatModel) -> tuple[Tensor, Tensor]:
        """No attack is made."""
        (logits,) = state.forward(batch.x)
        return F.cross_entropy(logits, batch.y), logits


class Penalised:
    """A method with λ · ln L added to its loss, L the product of layer norms (nas/networks/norms.py)."""

    can_capture = False
    """The library that computes the singular values waits for the device."""

    def __init__(self, method: Method, weight: float) -> None:
        self._method, self._weight = method, weight

    @property
    def memory(self) -> dict[str, Tensor]:
        """That of the method."""
        return self._method.memory

    def loss(self, state: TrainingState, batch: Batch, threat: ThreatModel) -> tuple[Tensor, Tensor]:
        """Raises Diverged where a layer's weights are not finite."""
        loss, logits = self._method.loss(state, batch, threat)
        try:
            return loss + self._weight * spectral_penalty(state.network), logits
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise Diverged("weights are not finite and have no norms; lower training.learning_rate") from error
