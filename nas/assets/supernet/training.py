"""Adversarial training of a supernet: in every step several subnets, from the largest to the smallest.

The sandwich rule (Yu 2019, "Universally slimmable networks"): each step trains the largest network, the smallest and
some random ones, and the weights that they share get the mean of their gradients. The others learn from the largest's
clean predictions of the same step (in-place distillation), here also in the robust term, as in RSLAD (Zi 2021).
Kinds of block differ from the largest network's in ever more layers (after once-for-all's progressive shrinking, Cai
2020): drawn freely from the first step, they never come to agree on what a layer tells the next.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.assets.supernet.settings import SupernetTraining
from nas.assets.supernet.weights import Supernet, widened
from nas.attacks.losses import kl_divergence
from nas.attacks.threat import ThreatModel
from nas.base.errors import Diverged
from nas.base.seeding import derive_seed
from nas.data.split import Split
from nas.networks.backprop import Forward, forward_of
from nas.networks.view import View, view_of
from nas.training.alarm import Gap, attack_of, measure_gap, watch
from nas.training.averaging import Tensors, keep_of, update_average_
from nas.training.batch import Batch, draw_batch
from nas.training.inner import maximise
from nas.training.losses import trades_loss
from nas.training.optimizer import make_optimizer, set_learning_rate_
from nas.training.settings import InnerAttack
from nas.training.starts import Memory, begin_epoch_
from nas.training.steps import epoch_batches
from search_spaces import NetworkSpec, SearchSpace
from search_spaces.network import Network

KEPT = 64
"""Subnets whose modules are kept from step to step."""


@dataclass
class SupernetState:
    """Everything that changes during the training of a supernet."""

    network: Supernet
    average: Supernet | None
    """Exponential moving average of the shared weights, where `ema_decay` asks for one."""
    optimizer: torch.optim.SGD
    generator: torch.Generator
    """Order, augmentation and starts of the attacks."""
    seed: int
    """Which subnets a step draws follows from it and the number of the step."""
    members: "dict[str, _Member]"
    """Subnets of late steps, by the key of their architecture."""
    memory: Memory = field(default_factory=dict)
    """What the starts of the attacks keep between steps, shared by all subnets."""
    epoch: int = 0
    step: int = 0
    doublings: int = 0
    """How often the alarm has doubled the steps of the attacks."""
    most_withstanding: int = 0
    """Most images that the alarm saw withstand its reference after an epoch."""

    def refresh_(self) -> None:
        """Nothing: every step looks at the weights anew."""


@dataclass(frozen=True)
class SupernetLog:
    """Means over one epoch of training."""

    epoch: int
    loss_largest: float
    loss_smallest: float
    loss_random: float | None
    """None without random subnets."""
    learning_rate: float
    attack_steps: int = 0
    """Steps of the inner maximisation."""
    gap: float | None = None
    """Share of the held-out images that withstand the attack of the training but not PGD-10, of the largest or the
    smallest network, whichever is more; None: not looked at."""
    undone: tuple[float, ...] = ()
    """Gaps of attempts at this epoch that the alarm undid, each with half the steps of the next."""


@dataclass(frozen=True)
class _Member:
    """A subnet, ready to be trained."""

    network: Network
    forward: Forward
    view: View
    parameters: list[Tensor]
    gradients: list[Tensor]
    """Parts of the shared gradients, one for each parameter."""

    @classmethod
    def of(cls, supernet: Supernet, spec: NetworkSpec, settings: SupernetTraining) -> "_Member":
        network = supernet.subnet(spec)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0  # its statistics are those of the latest batch: weights change, and others' use
        view = view_of(network, settings.attack.dtype)
        return cls(network, forward_of(network), view, list(network.parameters()), supernet.gradients(network))


def start_supernet(
    supernet: Supernet, settings: SupernetTraining, generator: torch.Generator, seed: int
) -> SupernetState:
    """State before the first epoch; `supernet` and `generator` are on the training device."""
    for parameter in supernet.parameters():
        parameter.grad = torch.zeros_like(parameter)  # members add to views of it
    optimizer = make_optimizer(supernet, settings, generator.device)
    average = copy.deepcopy(supernet).requires_grad_(False) if settings.ema_decay else None
    return SupernetState(supernet, average, optimizer, generator, seed, {})


def train_supernet_epoch(
    state: SupernetState, data: Split, settings: SupernetTraining, threat: ThreatModel, watched: Split | None = None
) -> SupernetLog:
    """One pass over `data`; `state` moves on by one epoch. Raises Diverged when a mean loss is not finite.

    With held-out images `watched`, the alarm looks at the largest and the smallest network, as in `train_epoch`.
    """

    def gap(attack: InnerAttack, images: Split) -> Gap:
        space = state.network.space
        ends = widened(space.spec(space.largest()), state.network.width), space.spec(space.smallest())
        members = [_member(state, spec, settings) for spec in ends]
        for member in members:
            member.view.refold_()
        found = (measure_gap(one.view, images, attack, threat, state.memory, state.epoch) for one in members)
        return replace(max(found, key=lambda gap: (gap.is_open(), gap.share)), images=0)

    log, share, undone = watch(
        state, lambda: _pass(state, data, settings, threat), lambda: _attack(state, settings), gap,
        watched if settings.alarm else None, settings.epochs,
    )  # fmt: skip
    return replace(log, attack_steps=_attack(state, settings).steps, gap=share, undone=undone)


def _attack(state: SupernetState, settings: SupernetTraining) -> InnerAttack:
    """That of TRADES, with the steps that the alarm has raised it to."""
    return attack_of(settings.attack.filled("normal", "kl"), state.doublings)


def _pass(state: SupernetState, data: Split, settings: SupernetTraining, threat: ThreatModel) -> SupernetLog:
    batches = epoch_batches(len(data), settings.batch_size, state.generator)
    attack, classes = _attack(state, settings), state.network.space.num_classes
    begin_epoch_(state.memory, attack, threat, state.generator, state.epoch, data.images, classes)
    sums, rate = torch.zeros(3, device=data.images.device, dtype=torch.float64), 0.0
    for index, batch in enumerate(batches):
        passed = state.epoch + (index + 1) / len(batches)
        rate = set_learning_rate_(state.optimizer, settings, passed)
        drawn = draw_batch(data, batch, settings.augmentation, state.generator)
        freedom = min(1.0, passed / (settings.progressive * settings.epochs)) if settings.progressive else 1.0
        space, width = state.network.space, state.network.width
        specs = list(sandwich(space, width, settings.subnets, freedom, state.seed, state.step))
        sums += _step(state, specs, drawn, settings, threat)
        state.step += 1
    state.epoch += 1
    largest, smallest, rest = (sums / len(batches)).tolist()
    if not math.isfinite(largest + smallest + rest):
        raise Diverged(
            f"the supernet's loss of epoch {state.epoch} is not finite; lower supernet.learning_rate or supernet.beta"
        )
    return SupernetLog(state.epoch, largest, smallest, rest / settings.subnets if settings.subnets else None, rate)


def _step(
    state: SupernetState, specs: list[NetworkSpec], batch: Batch, settings: SupernetTraining, threat: ThreatModel
) -> Tensor:
    """One step of the optimiser on the images of `batch`; losses: the largest, the smallest, the sum of the others."""
    state.optimizer.zero_grad(set_to_none=False)
    losses, taught, x_adv, x, y = [], None, None, batch.x, batch.y
    attack = _attack(state, settings)
    for spec in specs:
        member = _member(state, spec, settings)
        if x_adv is None or settings.attacked == "subnet":
            with torch.no_grad():
                member.forward(x)  # leaves the statistics of these images, which the attack needs
            member.view.refold_()
            x_adv = maximise(member.view, batch, threat, attack, state.generator, state.memory)
        logits, logits_adv = member.forward(x, x_adv)
        loss = (
            trades_loss(logits, logits_adv, y, settings.beta)
            if taught is None
            else distilled_loss(logits, logits_adv, taught, settings.beta)
        )
        if settings.distillation and taught is None:
            taught = logits.detach()
        found = torch.autograd.grad(loss / len(specs), member.parameters)
        torch._foreach_add_(member.gradients, found)
        losses.append(loss.detach().double())
    state.optimizer.step()
    if state.average is not None:
        moved = torch.full((), 1 - keep_of(settings.ema_decay, state.step), device=x.device)
        update_average_(Tensors.of(state.average), Tensors.of(state.network), moved)
    rest = torch.stack(losses[2:]).sum() if losses[2:] else torch.zeros_like(losses[0])
    return torch.stack([losses[0], losses[1], rest])


def distilled_loss(logits: Tensor, logits_adv: Tensor, taught: Tensor, beta: float) -> Tensor:
    """KL(t ‖ f(x)) + β · KL(t ‖ f(x̂)), means over images, t the largest network's predictions of x; a scalar.

    RSLAD (Zi 2021, eq. 6) with TRADES's β in place of its weights 1/6 and 5/6.
    """
    taught = F.log_softmax(taught, 1)
    natural = kl_divergence(taught, F.log_softmax(logits, 1)).mean()
    return natural + beta * kl_divergence(taught, F.log_softmax(logits_adv, 1)).mean()


def sandwich(
    space: SearchSpace, width: float, random: int, freedom: float, seed: int, step: int
) -> Iterator[NetworkSpec]:
    """The largest network widened by `width`, the smallest, and `random` ones that `seed` and `step` decide.

    In a choice without an order all others keep the largest's option or, with probability `freedom`, draw one.
    """
    rng, largest = Random(derive_seed(seed, "subnets", step)), space.largest()
    yield widened(space.spec(largest), width)
    for ordered in (space.smallest(), *(space.sample(rng) for _ in range(random))):
        drawn = {
            c.name: rng.choice(c.options) if rng.random() < freedom else largest.values[c.name]
            for c in space.choices
            if not c.is_ordered
        }
        yield space.spec(space.genotype({**ordered.values, **drawn}))


def _member(state: SupernetState, spec: NetworkSpec, settings: SupernetTraining) -> _Member:
    found = state.members.pop(spec.key, None) or _Member.of(state.network, spec, settings)
    state.members[spec.key] = found  # the latest stand last
    while len(state.members) > KEPT:
        state.members.pop(next(iter(state.members)))
    return found
