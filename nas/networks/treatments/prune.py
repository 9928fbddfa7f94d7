"""Weights, or hidden channels, that become zero in the course of the training and stay so."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import floor
from typing import Literal

import torch
from torch import Tensor, nn

from nas.networks.treatments.treatment import Treatment
from search_spaces.network import Network
from search_spaces.pruned import has_hidden, is_free_head, pruned_spec
from search_spaces.spec import BlockSpec

Unit = Literal["weights", "channels"]
Criterion = Literal["magnitude", "l1", "scores"]

UPDATES = 100
"""Masks are chosen anew after each of so many equal shares of the training, until they stay."""
SHRINKAGE = 0.1
"""Of l1: share of a layer's threshold by which the weights above it move towards zero at every choice."""


@dataclass(frozen=True)
class Pool:
    """Layers that are ranked together."""

    sparsity: float
    """Share of zeros at the end."""
    layers: tuple[nn.Conv2d | nn.Linear, ...]


@dataclass(frozen=True)
class Hidden:
    """Channels inside a block: nothing outside sees them."""

    count: int
    """Of those that stay at the end."""
    makers: tuple[tuple[nn.Conv2d, nn.BatchNorm2d], ...]
    """What makes them, each output channel one of them."""
    taker: nn.Conv2d | nn.Linear
    """The convolution or classifier that takes them, by its second dimension."""


class Pruner(Treatment):
    """Masks of a network, chosen from its own weights; see `Prune` for what is ranked and when.

    `chosen` () is the share of the training at which the masks were chosen last. An average of a network's weights is
    given the network's masks with it, so it chooses none itself.
    """

    chosen: Tensor
    can_capture = False
    """Most steps choose no masks."""

    def __init__(self, sparsity: float, of: Unit, by: Criterion, start: float, end: float, bits: int) -> None:
        super().__init__()
        self.sparsity, self.of, self.by, self.start, self.end, self.bits = sparsity, of, by, start, end, bits
        self.register_buffer("chosen", torch.full((), -1.0))

    def prepare_(self, network: Network, generator: torch.Generator) -> None:
        """Makes masks without zeros; nothing is drawn."""
        if self.of == "channels":
            for index, hidden in enumerate(self._hidden(network)):
                self.register_buffer(f"mask_{index}", torch.ones(len(hidden.makers[0][0].weight), dtype=torch.bool))
            return
        for index, weight in enumerate(self._weights(network)):
            self.register_buffer(f"mask_{index}", torch.ones(weight.shape, dtype=torch.bool))
            if self.by == "scores":
                self.register_buffer(f"dense_{index}", torch.zeros(weight.shape))
                self.register_buffer(f"score_{index}", torch.zeros(weight.shape))

    @torch.no_grad()
    def after_step_(self, network: Network, progress: Tensor) -> None:
        """Chooses the masks where it is time, and sets to zero what they hide."""
        now = float(progress)
        self._learn_(network)
        if self._is_time(now):
            self._choose_(network, now)
        self._apply_(network)

    @torch.no_grad()
    def finish_(self, network: Network) -> None:
        """Has the whole sparsity where the training ended before its time."""
        self._learn_(network)
        if float(self.chosen) < self.end:
            self._choose_(network, 1.0)
        self._apply_(network)

    def _is_time(self, now: float) -> bool:
        before = float(self.chosen)
        if now < self.start or before >= self.end:
            return False
        return before < self.start or now >= self.end or now - before >= 1 / UPDATES

    def _share(self, now: float) -> float:
        """Share of the final sparsity: cubic from `start` to `end` (Zhu & Gupta 2017); of scores, all at once."""
        if self.by == "scores" or now >= self.end:
            return 1.0
        return 1 - (1 - max(now - self.start, 0.0) / (self.end - self.start)) ** 3

    def _choose_(self, network: Network, now: float) -> None:
        share = self._share(now)
        if self.by != "scores":
            self._apply_(network)  # or what the optimiser has just made of pruned weights would be ranked
        if self.of == "channels":
            self._choose_channels_(network, share)
        else:
            self._choose_weights_(network, share)
        self.chosen.fill_(now)

    def _choose_weights_(self, network: Network, share: float) -> None:
        if self.by == "scores" and float(self.chosen) < self.start:
            for index, weight in enumerate(self._weights(network)):
                self.get_buffer(f"dense_{index}").copy_(weight)
                self.get_buffer(f"score_{index}").copy_(weight.abs() / weight.abs().max().clamp_min(1e-12))
        first = 0
        for pool in self._pools(network):
            weights = [layer.weight for layer in pool.layers]
            if self.by == "scores":
                ranked = [self.get_buffer(f"score_{first + k}") for k in range(len(weights))]
            else:
                ranked = [lamp(weight) for weight in weights]
            masks = largest(ranked, share * pool.sparsity)
            for index, (weight, mask) in enumerate(zip(weights, masks, strict=True), first):
                if self.by == "l1":
                    _shrink_(weight, mask)
                self.get_buffer(f"mask_{index}").copy_(mask)
            first += len(weights)

    def _choose_channels_(self, network: Network, share: float) -> None:
        for index, hidden in enumerate(self._hidden(network)):
            scale = hidden.makers[-1][1].weight
            ranked = scale.abs() * hidden.taker.weight.transpose(0, 1).flatten(1).norm(dim=1)
            stay = len(ranked) - floor(share * (len(ranked) - hidden.count))
            mask = torch.zeros_like(ranked, dtype=torch.bool)
            mask[ranked.argsort(descending=True, stable=True)[:stay]] = True
            if self.by == "l1":
                _shrink_(scale, mask)
            self.get_buffer(f"mask_{index}").copy_(mask)

    def _learn_(self, network: Network) -> None:
        """Moves scores as their gradient ∂L/∂s = w · ∂L/∂(w · m) says, where they are learned now; else does nothing.

        The optimiser moved the masked weights by −η · ∂L/∂(w · m), momentum included; the weights themselves stay
        (HYDRA, Sehwag 2020, where the mask is passed straight through). Deviation: HYDRA's scores begin at w / max |w|
        and rank by their size; these begin at |w| / max |w| and rank as they are, so none turns up again below 0.
        """
        if self.by != "scores" or not self.start <= float(self.chosen) < self.end:
            return
        for index, weight in enumerate(self._weights(network)):
            dense, mask = self.get_buffer(f"dense_{index}"), self.get_buffer(f"mask_{index}")
            self.get_buffer(f"score_{index}").add_((weight - dense * mask) * dense)
            weight.copy_(dense)

    def _apply_(self, network: Network) -> None:
        if self.of == "weights":
            for index, weight in enumerate(self._weights(network)):
                weight.masked_fill_(~self.get_buffer(f"mask_{index}"), 0)
            return
        for index, hidden in enumerate(self._hidden(network)):
            gone = ~self.get_buffer(f"mask_{index}")
            for conv, norm in hidden.makers:
                for made in (conv.weight, norm.weight, norm.bias):
                    made[gone] = 0
            hidden.taker.weight[:, gone] = 0

    def _pools(self, network: Network) -> Iterator[Pool]:
        """Blocks with a sparsity of their own each for itself, all others and the classifier together.

        The classifier has the sparsity of the last block where that has its own.
        """
        blocks, together = network.spec.blocks, list[nn.Conv2d | nn.Linear]()
        for index, (block, module) in enumerate(zip(blocks, network.features, strict=True)):
            layers: list[nn.Conv2d | nn.Linear] = [p for p in module.modules() if isinstance(p, nn.Conv2d)]
            if index == len(blocks) - 1:
                layers.append(network.classifier)
            if block.sparsity < 0:
                together += layers
            else:
                yield Pool(block.sparsity / 100, tuple(layers))
        if together:
            yield Pool(self.sparsity, tuple(together))

    def _weights(self, network: Network) -> list[Tensor]:
        return [layer.weight for pool in self._pools(network) for layer in pool.layers]

    def _hidden(self, network: Network) -> Iterator[Hidden]:
        """Channels between the convolutions of every block, and those of the head before the classifier."""
        left = pruned_spec(network.spec, self.sparsity).blocks
        for block, smaller, module in zip(network.spec.blocks, left, network.features, strict=True):
            if has_hidden(block):
                *inner, (taker, _) = convolutions_of(block, module)
                yield Hidden(smaller.hidden_channels, tuple(inner), taker)
        if is_free_head(network.spec):
            head = convolutions_of(network.spec.blocks[-1], network.features[-1])
            yield Hidden(left[-1].out_channels, tuple(head), network.classifier)


def convolutions_of(block: BlockSpec, module: nn.Module) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions of `module`, a block of the kind of `block`, with their batch-norms; without the projection."""
    convs = [part for part in module.modules() if isinstance(part, nn.Conv2d)]
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    pairs = list(zip(convs, norms, strict=True))
    return pairs[1:] if block.has_projection else pairs  # it comes first


def lamp(weight: Tensor) -> Tensor:
    """Rank of every weight of a layer: its square's share among those that are no smaller (LAMP, Lee 2021).

    Layers of different scale so compare, and the largest weight of each has rank 1.
    """
    squares = weight.detach().flatten().square()
    order = squares.argsort(stable=True)
    ordered = squares[order]
    left = ordered.flip(0).cumsum(0).flip(0)
    ranks = torch.empty_like(squares)
    ranks[order] = ordered / left.clamp_min(1e-30)
    return ranks.view_as(weight)


def largest(ranked: list[Tensor], hidden: float) -> list[Tensor]:
    """For each tensor, where it has one of the largest values of all: all but ⌊hidden · count⌋, the first of equals.

    The largest of each tensor comes first and stays in any case: no layer disappears.
    """
    flat = torch.cat([tensor.flatten().index_fill(0, tensor.argmax(), torch.inf) for tensor in ranked])
    mask = torch.zeros_like(flat, dtype=torch.bool)
    stay = max(len(flat) - floor(hidden * len(flat)), len(ranked))
    mask[flat.argsort(descending=True, stable=True)[:stay]] = True
    parts = torch.split(mask, [tensor.numel() for tensor in ranked])
    return [part.view_as(tensor) for part, tensor in zip(parts, ranked, strict=True)]


def _shrink_(weight: Tensor, mask: Tensor) -> None:
    """Moves what `mask` keeps towards zero by a share of the largest value that it hides: a proximal step of ℓ1."""
    if mask.all():
        return
    step = SHRINKAGE * weight.abs()[~mask].max()
    weight.copy_(weight.sign() * (weight.abs() - step).clamp_min(0))
