"""Auto-PGD (Croce & Hein 2020, algorithm 1): momentum, and steps that halve themselves where progress stalls.

Letters: N images, C channels, H × W pixels, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial

import torch
from torch import Tensor, nn

from nas.attacks.chunks import in_chunks
from nas.attacks.gradient import is_stuck
from nas.attacks.losses import LOSSES, Loss, misclassified, targeted_dlr
from nas.attacks.result import AttackProgress, AttackResult
from nas.attacks.settings import Apgd
from nas.attacks.threat import Threat
from nas.networks.view import View, view_of


def run(
    settings: Apgd,
    network: nn.Module | View,
    x: Tensor,
    labels: Tensor,
    threat: Threat,
    generator: torch.Generator,
) -> AttackResult:
    """What several rounds of Auto-PGD found; a round is a restart, or a restart towards one target.

    Noise is drawn for all images in every round, so that no image depends on whether others stand. Raises
    UsageError where the network has too few classes for the loss.
    """
    view = view_of(network)
    progress = AttackProgress(view, x, labels)
    ranked = progress.clean_logits.argsort(1, descending=True)
    targets = min(settings.targets, ranked.shape[1] - 1) if settings.loss == "targeted_dlr" else 1
    climb = partial(auto_pgd, view, partial(_loss, settings), threat, steps=settings.steps, rho=settings.rho)
    for rank in range(1, targets + 1):
        for _ in range(settings.restarts):
            start = threat.border(x, generator)
            rows = progress.standing()
            if not len(rows):
                return progress.result()
            chosen = (tensor[rows] for tensor in (x, labels, ranked[:, rank], start))
            progress.add_(rows, *in_chunks(view, climb, *chosen))
    return progress.result()


def _loss(settings: Apgd, targets: Tensor) -> Loss:
    return targeted_dlr(targets) if settings.loss == "targeted_dlr" else LOSSES[settings.loss]


MOMENTUM = 0.75
FIRST_CHECK, EARLIER, SHORTEST = 0.22, 0.03, 0.06
"""Shares of the steps: until the first check, by how much each interval is shorter than the last, and the shortest."""


@dataclass
class _Course:
    """Where the images that still stand have come to; every tensor has one entry for each of them."""

    row: Tensor
    x: Tensor
    labels: Tensor
    targets: Tensor
    point: Tensor
    previous: Tensor
    gradient: Tensor
    best: Tensor
    best_gradient: Tensor
    best_loss: Tensor
    loss: Tensor
    rises: Tensor
    """Steps since the last check that raised the loss."""
    step_size: Tensor
    halved: Tensor
    """Whether the last check halved the step."""
    checked_loss: Tensor
    """Best loss at the last check."""

    def keep_(self, mask: Tensor) -> None:
        """Drops all images outside `mask`."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name)[mask])


def auto_pgd(
    view: View,
    loss_of: Callable[[Tensor], Loss],
    threat: Threat,
    x: Tensor,
    labels: Tensor,
    targets: Tensor,
    start: Tensor,
    *,
    steps: int,
    rho: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One run of Auto-PGD from `start` (N, C, H, W): points, their loss, fooled and stuck, each (N,).

    A point is the first iterate that fools the network, with an infinite loss, or else the one of highest loss.
    `loss_of` gives the loss for the `targets` (n,) of some images.
    """
    points, fooled = start.clone(), torch.zeros_like(labels, dtype=torch.bool)
    stuck = torch.zeros_like(fooled)

    def look(row: Tensor, point: Tensor, labels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss and gradient at `point`, and which images still stand there."""
        loss = loss_of(targets)
        logits, gradient = view.gradient(point, lambda logits: loss.slope(logits, labels))
        wrong = misclassified(logits, labels)
        points[row[wrong]], fooled[row[wrong]] = point[wrong], True
        stuck[row] |= is_stuck(gradient, wrong)
        return loss.value(logits, labels), gradient, ~wrong

    row = torch.arange(len(x), device=x.device)
    loss, gradient, stands = look(row, start, labels, targets)
    highest = torch.full_like(loss, torch.inf)
    step_size = x.new_full((len(x), *(1,) * (x.ndim - 1)), 2 * threat.epsilon)
    # The first step's loss is compared with 0, as in the authors' code; the paper would compare it with the start's.
    zeros = torch.zeros_like(loss)
    course = _Course(
        row, x, labels, targets, start, start, gradient, start, gradient, loss, zeros, zeros, step_size,
        torch.ones_like(fooled), loss,
    )  # fmt: skip
    course.keep_(stands)
    interval, until_check = (max(int(FIRST_CHECK * steps), 1),) * 2
    for step in range(steps):
        if not len(course.row):
            break
        _move_(course, threat, MOMENTUM if step else 1.0)
        loss, course.gradient, stands = look(course.row, course.point, course.labels, course.targets)
        course.rises = course.rises + (loss > course.loss)
        course.loss = loss
        _remember_(course)
        if not stands.all():
            course.keep_(stands)
        until_check -= 1
        if not until_check:
            _check_(course, rho * interval)
            interval = max(interval - max(int(EARLIER * steps), 1), max(int(SHORTEST * steps), 1))
            until_check = interval
    points[course.row], highest[course.row] = course.best, course.best_loss
    return points, highest, fooled, stuck


def _move_(course: _Course, threat: Threat, share: float) -> None:
    """One projected step; `share` of it follows the gradient, the rest the move before."""
    stepped = threat.project(course.point + course.step_size * threat.direction(course.gradient), course.x)
    moved = course.point + (stepped - course.point) * share + (course.point - course.previous) * (1 - share)
    course.previous, course.point = course.point, threat.project(moved, course.x)


def _remember_(course: _Course) -> None:
    """Takes over the present points where their loss is the highest so far."""
    better = course.loss > course.best_loss
    course.best = _where(better, course.point, course.best)
    course.best_gradient = _where(better, course.gradient, course.best_gradient)
    course.best_loss = torch.where(better, course.loss, course.best_loss)


def _check_(course: _Course, enough: float) -> None:
    """Halves the step and goes back to the best point where too few steps rose, or where none beat the last check's.

    The second reason counts only where the check before did not halve.
    """
    stalled = ~course.halved & (course.checked_loss >= course.best_loss)
    halve = (course.rises <= enough) | stalled
    course.halved, course.checked_loss, course.rises = halve, course.best_loss, torch.zeros_like(course.rises)
    course.step_size = _where(halve, course.step_size / 2, course.step_size)
    course.point = _where(halve, course.best, course.point)
    course.gradient = _where(halve, course.best_gradient, course.gradient)


def _where(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(mask.view(-1, *(1,) * (yes.ndim - 1)), yes, no)
