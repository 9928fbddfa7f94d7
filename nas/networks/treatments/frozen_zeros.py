"""Weights that are zero and stay so: the simplest pruning, of whole channels drawn before the training."""

from math import floor

import torch
from torch import Tensor, nn

from nas.networks.treatments.treatment import Treatment
from search_spaces.network import Network


class ZeroMasks(Treatment):
    """A mask (O, 1, 1, 1) for every convolution of O output channels: False where its weights are zero."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def prepare_(self, network: Network, generator: torch.Generator) -> None:
        """Draws ⌊share · O⌋ channels of every convolution and sets their weights to zero."""
        for index, conv in enumerate(_convolutions(network)):
            order = torch.randperm(conv.out_channels, generator=generator)
            mask = torch.ones(conv.out_channels, 1, 1, 1, dtype=torch.bool)
            mask[order[: floor(self.share * conv.out_channels)]] = False
            self.register_buffer(f"mask_{index}", mask)
        self._set_zeros_(network)

    def after_step_(self, network: Network, progress: Tensor) -> None:
        """Sets the weights of the drawn channels to zero again."""
        self._set_zeros_(network)

    @torch.no_grad()
    def _set_zeros_(self, network: Network) -> None:
        for index, conv in enumerate(_convolutions(network)):
            conv.weight.mul_(self.get_buffer(f"mask_{index}"))


def _convolutions(network: Network) -> list[nn.Conv2d]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]
