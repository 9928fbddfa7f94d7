"""Where the inner maximisation starts, and what it keeps from step to step. Letters: N images of K classes.

What is kept lies in the memory of the training, by name: tensors that are saved and restored with it, and that change
in place, so that a CUDA graph can hold the step.
"""

from dataclasses import replace

import torch
from torch import Tensor

from nas.attacks.balls import BALLS, L2, LInf
from nas.attacks.threat import Threat
from nas.training.batch import Batch
from nas.training.settings import InnerAttack

Memory = dict[str, Tensor]
"""What a training keeps between steps beside weights and momentum, by name."""
CARRIED, UNIVERSAL = "perturbations", "universal"
CHUNK = 4096
"""Images whose perturbations are drawn at a time."""


def begin_epoch_(
    memory: Memory, settings: InnerAttack, threat: Threat, generator: torch.Generator, epoch: int,
    images: Tensor, classes: int,
) -> None:  # fmt: skip
    """Makes what the start of `settings` keeps; draws carried perturbations anew where it is time.

    `epoch` counts from 0, `images` (M, C, H, W) are all training images. Perturbations are kept in units of
    epsilon / 127: int8 for linf, float16 for other norms, whose coordinates are small beside epsilon.
    """
    if settings.start == "universal" and UNIVERSAL not in memory:
        memory[UNIVERSAL] = torch.zeros((classes, *images.shape[1:]), device=images.device)
    if settings.start != "carried" or (CARRIED in memory and epoch % settings.reset_epochs):
        return
    if CARRIED not in memory:
        kind = torch.int8 if threat.norm == "linf" else torch.float16
        memory[CARRIED] = torch.empty(images.shape, dtype=kind, device=images.device)
    unit = BALLS[threat.norm](1.0, -torch.inf, torch.inf)
    for part in torch.split(memory[CARRIED], CHUNK):
        part.copy_(_stored(unit.start(torch.zeros(part.shape, device=part.device), generator), part.dtype))


def start_of(memory: Memory, settings: InnerAttack, threat: Threat, batch: Batch, generator: torch.Generator) -> Tensor:
    """First iterates (N, C, H, W) of the attack on `batch`, in the domain and, but for `noise`, in the ball."""
    x = batch.x
    if settings.start == "normal":
        return threat.project(x + 0.001 * torch.empty_like(x).normal_(generator=generator), x)
    if settings.start == "uniform":
        return threat.start(x, generator)
    if settings.start == "noise":
        return replace(_ball(threat), epsilon=2 * threat.epsilon).start(x, generator)
    if settings.start == "universal":
        return threat.project(x + threat.epsilon * memory[UNIVERSAL][batch.y], x)
    kept = memory[CARRIED][batch.indices].float()
    moved = batch.crop_flip.apply(kept) if settings.follow else kept
    return threat.project(x + threat.epsilon / 127 * moved, x)


def keep_(memory: Memory, settings: InnerAttack, threat: Threat, batch: Batch, start: Tensor, x_adv: Tensor) -> None:
    """Keeps what the attack on `batch` ended at, where its start is one that is kept; `memory` changes in place.

    A universal perturbation makes a step in the direction that the images of its class moved together.
    """
    if settings.start == "carried":
        units = (x_adv - batch.x) / threat.epsilon
        kept = memory[CARRIED]
        if settings.follow:
            units = batch.crop_flip.undo(units, kept[batch.indices].float() / 127)
        kept[batch.indices] = _stored(units, kept.dtype)
    elif settings.start == "universal":
        kept = memory[UNIVERSAL]
        classes = torch.arange(len(kept), device=kept.device)
        together = (classes[:, None] == batch.y).to(x_adv.dtype) @ (x_adv - start).flatten(1)  # the same order always
        step = settings.length(threat.epsilon) / threat.epsilon * threat.direction(together.view_as(kept))
        unit = BALLS[threat.norm](1.0, -torch.inf, torch.inf)
        kept.copy_(unit.project(kept + step, torch.zeros_like(kept)))


def ball_of_iterates(settings: InnerAttack, threat: Threat) -> Threat:
    """Ball that iterates are projected to: that of `threat`, or with the start `noise` one without a radius."""
    return replace(_ball(threat), epsilon=torch.inf) if settings.start == "noise" else threat


def _ball(threat: Threat) -> LInf | L2:
    return BALLS[threat.norm](threat.epsilon, threat.low, threat.high)


def _stored(units: Tensor, kind: torch.dtype) -> Tensor:
    """Perturbations in units of epsilon as they are kept."""
    steps = 127 * units
    return steps.round_().clamp_(-127, 127).to(kind) if kind == torch.int8 else steps.to(kind)
