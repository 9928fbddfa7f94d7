"""Eq. 6 taken at its word: the adversary ascends the ratio ‖f(x) − f(x')‖ / ‖x − x'‖ itself."""

import torch
from torch import Tensor

from nas.attacks.chunks import in_chunks
from nas.attacks.threat import ThreatModel
from nas.evaluation.lipschitz import slopes
from nas.networks.view import View


def steepest_slopes(
    view: View,
    x: Tensor,
    x_adv: Tensor,
    threat: ThreatModel,
    steps: int,
    restarts: int,
    generator: torch.Generator,
) -> Tensor:
    """Largest l2 ratio found for each image (Mousavi 2023, eq. 6, before the mean), shape (N,): a lower bound.

    Projected ascent of log ‖f(x) − f(x')‖₂ − log ‖x − x'‖₂ inside the ball of `threat`, with steps that shrink from
    ε/4 to ε/40, first from `x_adv` (the attack that was made already, so the result is never below its ratio), then
    from `restarts` random points. The best of all iterates counts.
    """
    best = torch.zeros(len(x), device=x.device)
    starts = [x_adv, *(threat.start(x, generator) for _ in range(restarts))]
    for start in starts:
        (found,) = in_chunks(view, lambda x, start: (_ascend(view, x, start, threat, steps),), x, start)
        best = torch.maximum(best, found)
    return best


def _ascend(view: View, x: Tensor, start: Tensor, threat: ThreatModel, steps: int) -> Tensor:
    clean = view.logits(x)
    best = torch.zeros(len(x), device=x.device)
    x_adv = start
    for step in range(steps):
        logits, rise = view.gradient(x_adv, lambda logits: _unit(logits - clean))
        best = torch.maximum(best, slopes(clean, logits, x, x_adv, 2, 2))
        moved = torch.linalg.vector_norm(logits - clean, dim=1).clamp_min(_TINY)[:, None, None, None]
        delta = x_adv - x
        squared = delta.square().sum(dim=(1, 2, 3), keepdim=True).clamp_min(_TINY)
        size = threat.epsilon / 4 * (1 - 0.9 * step / max(steps - 1, 1))
        x_adv = threat.project(x_adv + size * threat.direction(rise / moved - delta / squared), x)
    return torch.maximum(best, slopes(clean, view.logits(x_adv), x, x_adv, 2, 2))


_TINY = 1e-20


def _unit(rows: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows / norms.clamp_min(_TINY)
