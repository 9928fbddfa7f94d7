"""AutoAttack (Croce & Hein 2020), standard version: the authors' four attacks in turn, from `pyautoattack`.

Only their attack classes are used. Their driver runs checks that keep counters for the life of the process, and
seeds the global generators before every attack; here nothing outlives a run.
"""

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas.attacks.gradient import is_stuck
from nas.attacks.losses import cross_entropy_slope, margin, misclassified
from nas.attacks.result import AttackProgress, AttackResult, chunked_logits
from nas.attacks.settings import AutoAttack, Square
from nas.attacks.threat import Threat
from nas.base.errors import UsageError
from nas.base.packages import check_installed
from nas.networks.view import View, view_of

Perturb = Callable[[Tensor, Tensor], Tensor]
"""Images and labels to adversarial images."""


def run(
    settings: AutoAttack,
    network: nn.Module | View,
    x: Tensor,
    labels: Tensor,
    threat: Threat,
    generator: torch.Generator,
) -> AttackResult:
    """The first of the four attacks' points that fooled the network, or the image itself.

    `generator` gives the seed; the global random states are as before after the run. Noise is drawn for the
    standing images only, as in the authors' code, so it depends on which images share the batch. `stuck` is
    judged by the gradient of the cross-entropy at the image. For l2 and the few image sizes that their Square
    cannot tile (below 5, 14, 24 pixels, …), ours takes its place. Raises UsageError where `pyautoattack` is missing,
    the network has fewer than 4 classes or the threat has other bounds than [0, 1].
    """
    if (threat.low, threat.high) != (0, 1):
        raise UsageError(
            f"AutoAttack's reference code knows points in [0, 1] only, the threat has [{threat.low:g}, "
            f"{threat.high:g}]; use the attacks apgd (loss: cross_entropy and loss: margin) and square instead"
        )
    view = view_of(network)
    seed = int(torch.randint(2**31 - 1, (1,), device=generator.device, generator=generator))
    progress = AttackProgress(view, x, labels)
    attacks = _attacks(settings, view, progress.clean_logits.shape[1], threat, x.device, seed)
    if threat.norm == "l2" and not _their_tiles_fit(*x.shape[2:]):  # their linf Square lays no tiles
        square = Square(queries=settings.queries)
        attacks[-1] = lambda x, labels: square.run(view, x, labels, threat, generator).adversarial
    if len(rows := progress.standing()):
        progress.add_(*_blocked(view, x, labels, rows))
    for perturb in attacks:
        rows = progress.standing()
        if not len(rows):
            break
        with _global_random_states_kept(x.device):
            points = perturb(x[rows].float(), labels[rows]).detach().to(x.dtype)
        valid = points.isfinite().flatten(1).all(1)  # FAB goes to NaN where the gradient is zero
        points = threat.project(torch.where(valid[:, None, None, None], points, x[rows]), x[rows])
        logits = chunked_logits(view, points)
        fell = misclassified(logits, labels[rows])
        progress.add_(rows[fell], points[fell], margin(logits, labels[rows])[fell], fell[fell])
    return progress.result()


def _attacks(
    settings: AutoAttack, view: View, num_classes: int, threat: Threat, device: torch.device, seed: int
) -> list[Perturb]:
    """The four attacks of the standard version with its parameters."""
    if num_classes < 4:
        raise UsageError(
            f"AutoAttack's targeted losses compare 4 classes, the network has {num_classes}; "
            f"use the attacks apgd (loss: cross_entropy and loss: margin) and square instead"
        )
    check_installed(settings.name)
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
    from pyautoattack.fab_pt import FABAttack_PT
    from pyautoattack.square import SquareAttack

    def logits(x: Tensor) -> Tensor:
        found: Tensor = _Logits.apply(x, view)
        return found.float()  # their code is written for float32

    targets = min(9, num_classes - 1)
    shared = {
        "norm": {"linf": "Linf", "l2": "L2"}[threat.norm], "eps": threat.epsilon, "n_restarts": 1,
        "device": device, "seed": seed, "verbose": False,
    }  # fmt: skip
    silent = logging.Logger("pyautoattack", logging.CRITICAL + 1)  # it warns of zero gradients: see `stuck`
    return [
        APGDAttack(logits, n_iter=settings.steps, rho=0.75, loss="ce", logger=silent, **shared).perturb,
        APGDAttack_targeted(
            logits, n_iter=settings.steps, rho=0.75, n_target_classes=targets, logger=silent, **shared
        ).perturb,
        FABAttack_PT(logits, n_iter=settings.steps, n_target_classes=targets, targeted=True, **shared).perturb,
        SquareAttack(logits, n_queries=settings.queries, p_init=0.8, resc_schedule=False, **shared).perturb,
    ]


class _Logits(torch.autograd.Function):
    """Logits of a view for code that calls autograd; the backward pass looks at the pixels anew."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, view: View) -> Tensor:
        ctx.save_for_backward(x)
        ctx.view = view
        return chunked_logits(view, x)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return ctx.view.gradient(x, lambda logits: slope)[1], None


def _blocked(view: View, x: Tensor, labels: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, None, Tensor]:
    """What AttackProgress adds for images `rows`: themselves, and whether their gradient leads nowhere."""
    x, labels = x[rows], labels[rows]
    logits, gradient = view.gradient(x, lambda logits: cross_entropy_slope(logits, labels))
    return rows, x, margin(logits, labels), None, is_stuck(gradient, misclassified(logits, labels))


def _their_tiles_fit(height: int, width: int) -> bool:
    """Whether the authors' l2 Square can lay its first tiles, height // 5 wide, on such an image."""
    side = height // 5
    first = (height - 5 * side) // 2
    return side == 1 or (side > 1 and all(first + length // side * side <= length for length in (height, width)))


@contextmanager
def _global_random_states_kept(device: torch.device) -> Iterator[None]:
    """The states of Python's, NumPy's and torch's global generators come back after.

    Those of GPUs only where CUDA is in use; it is not started for this.
    """
    cuda = device.type == "cuda" or torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    states = torch.cuda.get_rng_state_all() if cuda else []
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        if cuda:
            torch.cuda.set_rng_state_all(states)
