"""A proved upper bound of a trained network's global Lipschitz constant.

The third of three constants, never to be mixed up: the closed form speaks of the architecture, the empirical one is
a lower bound, this one holds for every pair of images. Products of layer norms are far above the truth on deep
networks: the bound ranks and regularises, and gives no useful radius by itself.
"""

import copy
import sys
from dataclasses import dataclass
from math import isfinite, log10, prod

import torch
from torch import nn

from nas.networks.layer import is_walked
from nas.networks.norms import Factor, factors_of
from nas.networks.stored import not_finite

SLACK = 1e-6
"""Relative; added to every layer's norm. Singular values in float64 are known to about 1e-13."""


@dataclass(frozen=True)
class CertifiedFactor:
    """One factor of the bound: a block, or what comes before and after the blocks."""

    name: str
    value: float
    residual: bool
    """Whether the value is 1 + the product of the norms, not the product alone."""
    norms: tuple[tuple[str, float], ...]
    """Kind of every linear map in it, and an upper bound of its l2 operator norm. Where the first one is a projection,
    its norm is added to the product of the others."""


@dataclass(frozen=True)
class CertifiedBound:
    """The bound and what it is made of."""

    log10: float
    """log10 of L, where ‖f(x) − f(x')‖₂ <= L ‖x − x'‖₂ for all pixels x, x' and the logits f."""
    factors: tuple[CertifiedFactor, ...]
    """In the order of the network; L is their product."""

    @property
    def dominant(self) -> CertifiedFactor:
        """The largest factor."""
        return max(self.factors, key=lambda factor: factor.value)


@torch.no_grad()
def certified_lipschitz(network: nn.Module) -> CertifiedBound:
    """Bound of `network` in eval mode, whatever its mode, with the weights and statistics it has.

    It is proved for the function that the float32 weights define in exact arithmetic: computed in float64 on the CPU
    from a copy, with relative `SLACK` for rounding. Raises ValueError for a network whose layers are not known, or
    whose weights are not finite.
    """
    if not is_walked(network):
        raise ValueError("no certificate: the network is not made of convolution, batch-norm and ReLU6 alone")
    exact = copy.deepcopy(network).to("cpu", torch.float64)
    if not_finite(exact):
        raise ValueError("no certificate: weights or batch-norm statistics are not finite")
    factors = tuple(_certified(factor) for factor in factors_of(exact))
    # A dead layer makes the network constant. Any bound above 0 is true as well, and its logarithm finite.
    total = sum(log10(max(factor.value, sys.float_info.min)) for factor in factors)
    if not isfinite(total):
        raise ValueError("no certificate: the weights are so large that the bound overflows")
    return CertifiedBound(total, factors)


def _certified(factor: Factor) -> CertifiedFactor:
    norms = tuple((linear.kind, linear.norm.item() * (1 + SLACK)) for linear in factor.maps)
    product = prod(norm for _, norm in norms)
    if factor.projection is not None:
        added = factor.projection.norm.item() * (1 + SLACK)
        return CertifiedFactor(factor.name, added + product, False, ((factor.projection.kind, added), *norms))
    return CertifiedFactor(factor.name, 1 + product if factor.residual else product, factor.residual, norms)
