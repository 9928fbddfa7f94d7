"""Weights and activations of few bits, in every pass of the training and in scoring (quantization-aware training)."""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from nas.networks.grids import FLOAT_BITS, WeightGrid
from nas.networks.quantized import (
    QuantBatchNorm2d,
    QuantConv2d,
    QuantLinear,
    QuantReLU6,
    QuantShortcut,
    RunningRange,
    Switch,
)
from nas.networks.treatments.treatment import Treatment
from search_spaces.blocks import Shortcut
from search_spaces.network import Network


class Quantizer(Treatment):
    """Replaces what a network computes by what an integer network computes; see nas/networks/quantized.py.

    `begun` () says whether a training has come so far that it rounds, `spread` () how wide the noise of stochastic
    weights still is: as wide as the share of the training that is left, so that it ends with the weights that are
    scored.
    """

    begun: Tensor
    spread: Tensor

    def __init__(self, weights: WeightGrid, activations: int, stochastic: bool, start: float, momentum: float) -> None:
        super().__init__()
        self.weights, self.activations, self.stochastic = weights, activations, stochastic
        self.start, self.momentum = start, momentum
        self.register_buffer("begun", torch.tensor(start == 0))
        self.register_buffer("spread", torch.ones(()))

    @property
    def can_capture(self) -> bool:
        """Not where a later step is another one: `start` 1 begins to round in the last."""
        return self.start == 0

    @property
    def turns_at(self) -> float:
        """Where it begins to round."""
        return self.start

    def prepare_(self, network: Network, generator: torch.Generator) -> None:
        """Makes rounding modules of the network's own; a block's own bits, where it has some, come first."""
        switch = Switch(self)
        for index, (block, module) in enumerate(zip(network.spec.blocks, network.features, strict=True)):
            weights, activations = block.weight_bits or self.weights, block.activation_bits or self.activations
            for number, conv in enumerate(_of_type(module, nn.Conv2d)):
                if weights == FLOAT_BITS:
                    continue
                takes_image = index == 0 and (number == 0 or (number == 1 and block.has_projection))
                noise = self.stochastic and weights == "ternary"
                QuantConv2d.of(
                    conv, weights, network.normalization.std.clone() if takes_image and conv.groups == 1 else None,
                    torch.rand(conv.weight.shape, generator=generator) if noise else None, switch,
                )  # fmt: skip
            if activations != FLOAT_BITS:
                _round_outputs(module, activations, switch)
        last = network.spec.blocks[-1]
        weights, activations = last.weight_bits or self.weights, last.activation_bits or self.activations
        if (weights, activations) != (FLOAT_BITS, FLOAT_BITS):
            signed = not isinstance(list(network.features[-1].modules())[-1], nn.ReLU6)
            QuantLinear.of(network.classifier, weights, activations, signed, switch)

    def after_step_(self, network: Network, progress: Tensor) -> None:
        """Moves the running ranges and the noise of stochastic weights, and begins to round when it is time."""
        self.begun.copy_(progress >= self.start)
        self.spread.copy_(1 - progress)
        for module in network.modules():
            if isinstance(module, RunningRange):
                module.move_(self.momentum)
            elif isinstance(module, QuantConv2d) and module.noise is not None:
                module.noise.add_(GOLDEN).frac_()

    def finish_(self, network: Network) -> None:
        """What is scored is rounded, however short its training was, and by its weights, not by drawn ones."""
        self.begun.fill_(True)
        self.spread.zero_()

    def switch_off_(self) -> None:
        """Lets the network compute in float from now on, with the weights and statistics that it has."""
        self.start = 1.0
        self.begun.fill_(False)


def float_twin(network: nn.Module) -> nn.Module | None:
    """Copy of `network` with rounding switched off; None where this treatment rounds nothing in it.

    Weights and batch-norm's statistics are the same, those of the quantized network, so nothing is trained or estimated
    anew. It is the float parent that attacks are transferred from.
    """
    if not any(isinstance(module, Quantizer) for module in network.modules()):
        return None
    twin = copy.deepcopy(network)
    for module in twin.modules():
        if isinstance(module, Quantizer):
            module.switch_off_()
    return twin


GOLDEN = 0.6180339887
"""What the noise of every weight grows by, modulo 1, from one step to the next: begun at random, it falls into each
part of [0, 1) as often as the part is long, and more evenly than independent draws (a Kronecker sequence)."""


M = TypeVar("M", bound=nn.Module)


def _of_type(module: nn.Module, kind: type[M]) -> list[M]:
    return [part for part in module.modules() if isinstance(part, kind)]


def _round_outputs(module: nn.Module, bits: int, switch: Switch) -> None:
    """Makes all that the block `module` stores rounded: ReLU6 where there is one, else batch-norm, and sums."""
    for relu6 in _of_type(module, nn.ReLU6):
        QuantReLU6.of(relu6, bits, switch)
    for chain in _of_type(module, nn.Sequential):
        ends = list(chain.children())
        if ends and isinstance(ends[-1], nn.BatchNorm2d):
            QuantBatchNorm2d.of(ends[-1], bits, switch)
    for block in _of_type(module, Shortcut):
        if block.adds_input:
            QuantShortcut.of(block, bits, switch)
