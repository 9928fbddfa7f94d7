"""Square attack (Andriushchenko 2020): random search over squares. It sees logits only, so no gradient can mislead it.

Letters: N images, C channels, H × W pixels.
"""

from collections.abc import Callable
from functools import cache
from math import sqrt

import torch
from torch import Tensor, nn

from nas.attacks.balls import NormName
from nas.attacks.losses import margin, misclassified
from nas.attacks.result import AttackProgress, AttackResult, chunked_logits
from nas.attacks.settings import Square
from nas.attacks.threat import Threat
from nas.networks.view import View, view_of


def run(
    settings: Square,
    network: nn.Module | View,
    x: Tensor,
    labels: Tensor,
    threat: Threat,
    generator: torch.Generator,
) -> AttackResult:
    """The first query of each image that fooled the network, or the point of largest margin.

    All images of a batch try the same square in a query, as in the authors' code, and chance is drawn for all
    of them, so that no image depends on whether others stand.
    """
    view = view_of(network)
    progress = AttackProgress(view, x, labels)
    for _ in range(settings.restarts):
        _search(settings, view, x, labels, threat, generator, progress)
    return progress.result()


def _search(
    settings: Square,
    view: View,
    x: Tensor,
    labels: Tensor,
    threat: Threat,
    generator: torch.Generator,
    progress: AttackProgress,
) -> None:
    """One restart; writes what it finds into `progress`."""
    first, proposal = MOVES[threat.norm]
    start = first(x, threat, generator)
    rows = progress.standing()
    x, labels, best = x[rows], labels[rows], start[rows]
    highest = torch.full(rows.shape, -torch.inf, device=x.device)
    for query in range(settings.queries + 1):
        if not len(rows):
            return
        if query == 0:
            point = best
        else:
            point = proposal(x, best, threat, _size(settings, x, query - 1), generator, rows, len(start))
        logits = chunked_logits(view, point)
        loss, fell = margin(logits, labels), misclassified(logits, labels)
        better = loss > highest
        best = torch.where(better[:, None, None, None], point, best)
        highest = torch.where(better, loss, highest)
        if fell.any():
            progress.add_(rows[fell], point[fell], loss[fell], fell[fell])
            rows, x, labels, best, highest = (tensor[~fell] for tensor in (rows, x, labels, best, highest))
    progress.add_(rows, best, highest)


def _size(settings: Square, x: Tensor, query: int) -> float:
    """Side of a square of the present share of the pixels, unrounded."""
    halvings = sum(query > end for end in HALVED_AFTER)
    return sqrt(settings.p_init / 2**halvings * x.shape[2] * x.shape[3])


HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries after which the squares' share of the pixels halves: the paper's, for 10,000 queries or fewer."""


def _chance(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` uniform numbers in [0, 1). One draw for a whole query: in the order of the authors' code."""
    return torch.rand(count, device=x.device, generator=generator)


def _signs(chance: Tensor) -> Tensor:
    return (2 * chance - 1).sign()


def _corner(chance: Tensor, height: int, width: int, side: int) -> tuple[int, int]:
    """Top left pixel of a square. The last row and column are left out, as in the authors' code."""
    room = torch.tensor([height - side, width - side], device=chance.device)
    top, left = (chance * room).long().tolist()
    return top, left


def _stripes(x: Tensor, threat: Threat, generator: torch.Generator) -> Tensor:
    """First points for linf: vertical stripes of ±ε, one pixel wide, for each channel."""
    count, channels, _, width = x.shape
    signs = _signs(_chance(x, count * channels * width, generator)).view(count, channels, 1, width)
    return (x + threat.epsilon * signs.to(x.dtype)).clamp(threat.low, threat.high)


def _new_square(
    x: Tensor, best: Tensor, threat: Threat, size: float, generator: torch.Generator, rows: Tensor, count: int
) -> Tensor:
    """Proposal for linf: one square, the same for all images, set to −ε or ε in every channel."""
    _, channels, height, width = x.shape
    epsilon = threat.epsilon
    side = min(max(round(size), 1), height, width)
    chance = _chance(x, 2 + channels, generator)
    top, left = _corner(chance[:2], height, width, side)
    change = torch.zeros_like(x[0])
    change[:, top : top + side, left : left + side] = 2 * epsilon * _signs(chance[2:])[:, None, None].to(x.dtype)
    return torch.minimum(torch.maximum(best + change, x - epsilon), x + epsilon).clamp(threat.low, threat.high)


def _tiles(x: Tensor, threat: Threat, generator: torch.Generator) -> Tensor:
    """First points for l2: the image in tiles of about a fifth of its height, each with a bump of random sign."""
    count, channels, height, width = x.shape
    side = max(height // 5, 1)
    delta, first = torch.zeros_like(x), (height - 5 * side) // 2
    for row in range(height // side):
        for column in range(width // side):
            top, left = max(first, 0) + row * side, max(first, 0) + column * side
            chance = _chance(x, 1 + count * channels, generator)
            tile = delta[..., top : top + side, left : left + side]  # cut off where it leaves the image
            bump = _oriented_bump(side, chance[0], x)[: tile.shape[2], : tile.shape[3]]
            tile += bump * _signs(chance[1:]).view(count, channels, 1, 1).to(x.dtype)
    return _on_sphere(x, delta, threat)


def _new_bump(
    x: Tensor, best: Tensor, threat: Threat, size: float, generator: torch.Generator, rows: Tensor, count: int
) -> Tensor:
    """Proposal for l2: the perturbation of one window is wiped out, and what it had of ε² goes to another.

    Chance is drawn for all `count` images, of which `x` are those with the indices `rows`.
    """
    _, channels, height, width = x.shape
    side = max(round(size), 3)
    side = min(side + (side % 2 == 0), height, width)
    chance = _chance(x, 5 + count * channels, generator)
    signs = _signs(chance[5:]).view(count, channels, 1, 1)[rows].to(x.dtype)
    top, left = _corner(chance[:2], height, width, side)
    given, taken = torch.zeros_like(x[0, 0]), torch.zeros_like(x[0, 0])
    given[top : top + side, left : left + side] = 1
    delta = best - x
    window = delta[..., top : top + side, left : left + side]
    top_2, left_2 = _corner(chance[2:4], height, width, side)
    taken[top_2 : top_2 + side, left_2 : left_2 + side] = 1
    unspent = (threat.epsilon**2 - _norm(delta, (1, 2, 3)) ** 2).clamp_min(0) / channels
    budget = (unspent + _norm(delta * torch.maximum(given, taken), (2, 3)) ** 2).sqrt()
    bump = _oriented_bump(side, chance[4], x) * signs + window / (_norm(window, (2, 3)) + 1e-12)
    bump = bump / (_norm(bump, (2, 3)) + 1e-12) * budget
    delta = delta * (1 - taken)
    delta[..., top : top + side, left : left + side] = bump
    return _on_sphere(x, delta, threat)


def _on_sphere(x: Tensor, delta: Tensor, threat: Threat) -> Tensor:
    """The points x + ε δ / ‖δ‖, clipped to the domain."""
    return (x + delta / (_norm(delta, (1, 2, 3)) + 1e-12) * threat.epsilon).clamp(threat.low, threat.high)


MOVES: dict[NormName, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "linf": (_stripes, _new_square),
    "l2": (_tiles, _new_bump),
}
"""First points of (x, threat, generator), and proposals of (x, best, threat, size, generator, rows, count), by norm."""


def _norm(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x, dim=dims, keepdim=True)
    return norm


def _oriented_bump(side: int, chance: Tensor, x: Tensor) -> Tensor:
    """The pair of bumps, one above the other or side by side. Shape (side, side)."""
    bump = _pair_of_bumps(side).to(x)
    return torch.where(chance > 0.5, bump.T, bump)


@cache
def _pair_of_bumps(side: int) -> Tensor:
    """A positive bump in the upper half, a negative one in the lower; norm 1."""
    pair = torch.cat([_bump(side // 2, side), -_bump(side - side // 2, side)])
    return pair / _norm(pair, (0, 1))


def _bump(height: int, width: int) -> Tensor:
    """Σ_k 1/(k+1)² over the squares around the centre that hold the pixel; norm 1."""
    down, across = (torch.arange(length) - length // 2 for length in (height, width))
    ring = torch.maximum(down.abs()[:, None], across.abs()[None, :])
    steps = torch.arange(max(height // 2, width // 2) + 1)
    bump = (1 / (steps + 1.0) ** 2).flip(0).cumsum(0).flip(0)[ring]
    return bump / _norm(bump, (0, 1))
