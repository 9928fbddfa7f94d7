"""The seam of treatments: what they may do, and when."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.network import Network


class Treatment(nn.Module):
    """Something done to a network. Its state is its buffers: saved, loaded, copied and moved with the network.

    It is no part of the forward pass. What shall change that pass replaces modules of the network in `prepare_`; where
    the hand-written walks do not know them, autograd takes over.
    """

    @property
    def can_capture(self) -> bool:
        """Whether a CUDA graph may hold a training step: whether all steps do the same."""
        return True

    @property
    def turns_at(self) -> float:
        """Share of the training at which the network at once computes something else; 0 where it never does."""
        return 0.0

    def prepare_(self, network: Network, generator: torch.Generator) -> None:
        """Changes an untrained `network` on the CPU and makes the buffers; all chance is drawn from `generator`."""

    def after_step_(self, network: Network, progress: Tensor) -> None:
        """Changes `network` after a step of the optimiser, and its average after that has moved.

        `progress` () is the share of the training that is done. A CUDA graph may record it: no values are read, and
        tensors are changed in place.
        """

    def finish_(self, network: Network) -> None:
        """Changes the copy of `network` that is scored and stored, before batch-norm is estimated anew."""


def prepare_(network: Network, settings: Iterable[Any], generator: torch.Generator) -> None:
    """Treats the untrained `network` by all of `settings` (entries of TREATMENTS), in their order."""
    for one in settings:
        treatment: Treatment = one.make()
        treatment.prepare_(network, generator)
        network.treatments.append(treatment)


def after_step_(network: nn.Module, progress: Tensor) -> None:
    """Lets all treatments of `network` act; nothing for a module that is no `Network`."""
    for treatment in treatments_of(network):
        treatment.after_step_(network, progress)


def can_capture(network: nn.Module) -> bool:
    """Whether all treatments of `network` leave it to a CUDA graph."""
    return all(treatment.can_capture for treatment in treatments_of(network))


def turns_at(network: nn.Module) -> float:
    """Last share of the training at which a treatment makes `network` compute something else at once; 0: never."""
    return max((treatment.turns_at for treatment in treatments_of(network)), default=0.0)


def finish_(network: nn.Module) -> None:
    """Lets all treatments of `network` change what is scored."""
    for treatment in treatments_of(network):
        treatment.finish_(network)


def treatments_of(network: nn.Module) -> Iterable[Any]:
    """Treatments of `network`, in their order."""
    return network.treatments if isinstance(network, Network) else ()
