"""Training methods: what a step minimises. One class each; `nas.training.settings.METHODS` names them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.attacks.balls import BALLS
from nas.attacks.chunks import in_chunks
from nas.attacks.threat import BOUNDS, ThreatModel
from nas.base.errors import Diverged
from nas.networks.jacobian import block_penalty, output_penalty
from nas.networks.norms import spectral_penalty
from nas.networks.through import Through
from nas.networks.view import View
from nas.training.batch import Batch
from nas.training.inner import ascended, maximise
from nas.training.losses import divergence
from nas.training.settings import METHODS, InnerAttack, Jacobian, OnManifoldTraining, Training

if TYPE_CHECKING:
    from nas.training.loop import TrainingState


class Method(Protocol):
    """A training method, made of the settings of one training. What it keeps between steps is in `state.memory`."""

    @property
    def can_capture(self) -> bool:
        """Whether a CUDA graph can hold a step: it never waits for the device, and tensors change in place."""

    @property
    def attack(self) -> InnerAttack | None:
        """Its inner maximisation, start and loss filled in; None where it makes no attack."""

    def loss(self, state: TrainingState, batch: Batch, threat: ThreatModel) -> tuple[Tensor, Tensor]:
        """Loss of `batch`, a scalar with a graph to the parameters, and the logits that the logged accuracy is of."""


@dataclass(frozen=True)
class Teacher:
    """A robust network that a training learns from."""

    view: View
    """As attacks see it: in eval mode, not changed."""
    weight: float = 1.0
    """Share of its predictions in the targets, above 0; the labels have the rest."""

    @torch.no_grad()
    def targets(self, batch: Batch) -> Tensor:
        """Logarithms of the target probabilities (1 − w) · label + w · softmax of the teacher, (N, K) for K classes."""
        told = self.view.logits(batch.x).softmax(1)
        labels = F.one_hot(batch.y, told.shape[1]).to(told.dtype)
        return torch.lerp(labels, told, self.weight).clamp_min(torch.finfo(told.dtype).tiny).log()


def method_of(settings: Training, teacher: Teacher | None = None) -> Method:
    """The method that `settings` ask for, with the penalties that they ask for.

    With a `teacher` its targets take the place of the labels.
    """
    module, _, name = METHODS[settings.method].partition(":")
    method: Method = getattr(import_module(module), name)(settings)
    natural: Method = Natural(settings)
    if teacher is not None:
        method, natural = (Distilled(one, settings.beta, teacher) for one in (method, natural))
    if settings.on_manifold.weight:
        method = MixedOnManifold(method, settings.on_manifold, settings.label_smoothing)
    if settings.natural_epochs:
        method = Delayed(method, natural, settings.natural_epochs)
    if settings.lipschitz_penalty:
        method = Penalised(method, LipschitzTerm(settings.lipschitz_penalty))
    if settings.jacobian.weight:
        method = Penalised(method, JacobianTerm(settings.jacobian))
    return method


class BaseMethod:
    """Base of methods that make no attack and never wait for the device."""

    can_capture = True

    def __init__(self, settings: Training) -> None:
        self.settings = settings

    @property
    def attack(self) -> InnerAttack | None:
        """None."""
        return None

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of the smoothed labels, a scalar."""
        return F.cross_entropy(logits, labels, label_smoothing=self.settings.label_smoothing)


class Trades(BaseMethod):
    """TRADES (Zhang 2019): cross-entropy of clean images + β · KL of clean and adversarial predictions."""

    @property
    def attack(self) -> InnerAttack:
        """Ascends KL from a small normal start."""
        return self.settings.attack.filled("normal", "kl")

    def loss(self, state: TrainingState, batch: Batch, threat: ThreatModel) -> tuple[Tensor, Tensor]:
        """Two forward passes in training mode, clean then adversarial.

        Batch-norm's running statistics so see clean and adversarial images 1 : 1 (the public TRADES code
        runs the clean images twice, 2 : 1).
        """
        x_adv = maximise(state.view, batch, threat, self.attack, state.generator, state.memory)
        logits, logits_adv = state.forward(batch.x, x_adv)
        loss = self.cross_entropy(logits, batch.y) + self.settings.beta * divergence(logits, logits_adv)
        if self.settings.consistency:
            loss = loss + self.settings.consistency * F.mse_loss(logits_adv, logits)
        return loss, logits


class Madry(BaseMethod):
    """PGD adversarial training (Madry 2018): cross-entropy of adversarial images only."""

    @property
    def attack(self) -> InnerAttack:
        """Ascends the cross-entropy from a uniform start."""
        return self.settings.attack.filled("uniform", "cross_entropy")

    def loss(self, state: TrainingState, batch: Batch, threat: ThreatModel) -> tuple[Tensor, Tensor]:
        """The logits are those of the adversarial images; the consistency term needs those of the clean ones, too."""
        x_adv = maximise(state.view, batch, threat, self.attack, state.generator, state.memory)
        if not self.settings.consistency:
            (logits,) = state.forward(x_adv)
            return self.cross_entropy(logits, batch.y), logits
        clean, logits = state.forward(batch.x, x_adv)
        return self.cross_entropy(logits, batch.y) + self.settings.consistency * F.mse_loss(logits, clean), logits


class Natural(BaseMethod):
    """Cross-entropy of clean images."""

    def loss(self, state: TrainingState, batch: Batch, threat: ThreatModel) -> tuple[Tensor, Tensor]:
        """No attack is made."""
        (logits,) = state.forward(batch.x)
        return self.cross_entropy(logits, batch.y), logits


class Distilled:
    """Learning from what a robust teacher T says of the clean images (Zi 2021, RSLAD), attacked as by a method.

    Loss (mean KL(q ‖ f(x)) + β · mean KL(q ‖ f(x̂))) / (1 + β) of the targets q = (1 − w) · label + w · T(x). With w = 1
    it is RSLAD's with α = β / (1 + β); its own is 5/6. x̂ comes from the method's inner maximisation, where RSLAD
    ascends the divergence from T(x).
    """

    def __init__(self, method: Method, beta: float, teacher: Teacher) -> None:
        self._method, self._beta, self._teacher = method, beta, teacher

    @property
    def can_capture(self) -> bool:
        """As the method."""
        return self._method.can_capture

    @property
    def attack(self) -> InnerAttack | None:
        """That of the method."""
        return self._method.attack

    def loss(self, state: TrainingState, batch: Batch, threat: ThreatModel) -> tuple[Tensor, Tensor]:
        """Without an attack the first term alone."""
        taught = self._teacher.targets(batch)
        if self.attack is None:
            (logits,) = state.forward(batch.x)
            return divergence(taught, logits), logits
        x_adv = maximise(state.view, batch, threat, self.attack, state.generator, state.memory)
        logits, logits_adv = state.forward(batch.x, x_adv)
        both = divergence(taught, logits) + self._beta * divergence(taught, logits_adv)
        return both / (1 + self._beta), logits


class MixedOnManifold:
    """A method with adversarial images of the manifold: (1 − w) · its loss + w · cross-entropy of g(z + δ).

    z is the code of the image, g the decoder, and δ in the l_inf ball ascends the cross-entropy from a uniform start
    (Stutz 2019). What g makes is cropped and flipped as the image is, while δ is sought, too. A third forward pass in
    training mode, of which batch-norm keeps statistics, too.
    """

    can_capture = False
    """Codes are computed in every step."""

    def __init__(self, method: Method, settings: OnManifoldTraining, label_smoothing: float) -> None:
        self._method, self._settings, self._smoothing = method, settings, label_smoothing
        low, high = BOUNDS["manifold"]
        self._ball = BALLS["linf"](settings.epsilon, low, high)

    @property
    def attack(self) -> InnerAttack | None:
        """That of the method, on the inputs."""
        return self._method.attack

    def loss(self, state: TrainingState, batch: Batch, threat: ThreatModel) -> tuple[Tensor, Tensor]:
        """The logits are those of the method."""
        loss, logits = self._method.loss(state, batch, threat)
        assert batch.data is not None, "a training step has them"
        points = batch.data[batch.indices]
        decoder = points.origins["manifold"].front_end()
        z = points.at_origin("manifold").inputs()
        start = self._ball.start(z, state.generator)

        def climbed(z: Tensor, labels: Tensor, start: Tensor, which: Tensor) -> tuple[Tensor]:
            moved = batch.crop_flip[which]
            view = Through(state.view, lambda codes: moved.apply(decoder(codes)))
            return (ascended(view, z, labels, start, self._ball, self._settings.attack),)

        which = torch.arange(len(z), device=z.device)
        (z,) = in_chunks(Through(state.view, decoder), climbed, z, batch.y, start, which)
        with torch.no_grad():
            x = batch.crop_flip.apply(decoder(z))
        (found,) = state.forward(x)
        own = F.cross_entropy(found, batch.y, label_smoothing=self._smoothing)
        return (1 - self._settings.weight) * loss + self._settings.weight * own, logits


class Delayed:
    """A method that begins after so many epochs of another, which makes no attack."""

    can_capture = False
    """A step of one epoch is not that of another."""

    def __init__(self, method: Method, first: Method, epochs: int) -> None:
        self._method, self._first, self._epochs = method, first, epochs

    @property
    def attack(self) -> InnerAttack | None:
        """That of the method, which is not made before it begins."""
        return self._method.attack

    def loss(self, state: TrainingState, batch: Batch, threat: ThreatModel) -> tuple[Tensor, Tensor]:
        """That of whichever has its turn."""
        return (self._first if state.epoch < self._epochs else self._method).loss(state, batch, threat)


class Penalty(Protocol):
    """A term of the loss beside that of the method."""

    @property
    def can_capture(self) -> bool:
        """As that of a method."""

    def __call__(self, state: TrainingState, batch: Batch) -> Tensor:
        """The term, its weight included: a scalar with a graph to the parameters of `state.network`."""


class Penalised:
    """A method with a penalty added to its loss, computed after it: its forward passes have moved the statistics."""

    def __init__(self, method: Method, penalty: Penalty) -> None:
        self._method, self._penalty = method, penalty

    @property
    def can_capture(self) -> bool:
        """Where both can."""
        return self._method.can_capture and self._penalty.can_capture

    @property
    def attack(self) -> InnerAttack | None:
        """That of the method."""
        return self._method.attack

    def loss(self, state: TrainingState, batch: Batch, threat: ThreatModel) -> tuple[Tensor, Tensor]:
        """Raises Diverged where the penalty does."""
        loss, logits = self._method.loss(state, batch, threat)
        return loss + self._penalty(state, batch), logits


@dataclass(frozen=True)
class LipschitzTerm:
    """λ · ln L, L the product of layer norms (nas/networks/norms.py)."""

    weight: float
    can_capture = False
    """The library that computes the singular values waits for the device."""

    def __call__(self, state: TrainingState, batch: Batch) -> Tensor:
        """Raises Diverged where a layer's weights are not finite."""
        try:
            return self.weight * spectral_penalty(state.network)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise Diverged("weights are not finite and have no norms; lower training.learning_rate") from error


@dataclass(frozen=True)
class JacobianTerm:
    """λ · R, R the penalty on Jacobians (nas/networks/jacobian.py) at the clean images of the batch."""

    settings: Jacobian
    can_capture = False
    """No graph of a second derivative has been recorded on a device yet."""

    def __call__(self, state: TrainingState, batch: Batch) -> Tensor:
        """Directions are drawn from the generator of the training."""
        penalty = output_penalty if self.settings.of == "outputs" else block_penalty
        return self.settings.weight * penalty(state.network, batch.x, self.settings.projections, state.generator)
