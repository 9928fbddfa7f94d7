"""The tensors that all networks of a space share (nas/networks/shared.py), as one module that can be trained."""

import copy
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from nas.base.errors import CheckpointError
from nas.base.metadata import read_metadata
from nas.data.split import Split
from nas.networks.shared import drawn, first_of, network_of_parts, owners, shell
from nas.networks.stored import fill_, read_weights, save_weights, tensors_of
from nas.training.averaging import reestimate_batch_norm_
from nas.training.loop import batch_norm_batches
from nas.training.settings import Training
from search_spaces import NetworkSpec, SearchSpace
from search_spaces.network import Network


class Supernet(nn.Module):
    """The shared tensors, as parameters; `subnet` gives networks that are made of views of them."""

    def __init__(
        self, space: SearchSpace, width: float, generator: torch.Generator, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        """Drawn from `generator` as in an untrained network of the largest size; `mean` and `std` per channel."""
        super().__init__()
        self.space, self.width = space, width
        self._mean, self._std = tuple(mean), tuple(std)
        for name, shape in _shapes(space, width).items():
            self.register_parameter(name, nn.Parameter(drawn(name, shape, generator)))

    def subnet(self, spec: NetworkSpec) -> Network:
        """Network of `spec` made of the shared tensors, as `nas.networks.shared.network_of_parts` says."""
        return network_of_parts(spec, dict(self.named_parameters()), self._mean, self._std)

    def gradients(self, network: Network) -> list[Tensor]:
        """Views of the shared gradients, in the order of the parameters of `network`; they must exist."""
        parts = {}
        for name, module, attribute in owners(network):
            parameter, gradient = getattr(module, attribute), self.get_parameter(name).grad
            assert gradient is not None, "the supernet has no gradients yet"
            parts[parameter] = first_of(gradient, parameter.shape)
        return [parts[parameter] for parameter in network.parameters()]

    @property
    def largest(self) -> NetworkSpec:
        """The network of every choice's last option, widened by `width`: the teacher of all others."""
        return widened(self.space.spec(self.space.largest()), self.width)


def copied(supernet: Supernet, network: Network) -> None:
    """Fills the parameters of `network` with its parts of the shared ones; statistics stay as they are."""
    own = {name: getattr(module, attribute) for name, module, attribute in owners(network)}
    theirs = {name: getattr(module, attribute) for name, module, attribute in owners(supernet.subnet(network.spec))}
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(theirs[name])


def begin_with(supernet: Supernet, network: Network, data: Split, settings: Training) -> None:
    """Fills `network` with its part of the shared weights, for a training on `data` by `settings`.

    Batch-norm gets the statistics of images of `data`, of a batch at least: the first attack sees them, and at 0 and 1
    it would attack another network. `network` and `data` are on one device.
    """
    copied(supernet, network)
    images = max(settings.batch_norm_images, settings.batch_size)
    reestimate_batch_norm_(network, batch_norm_batches(data, settings.model_copy(update={"batch_norm_images": images})))


def inherited(supernet: Supernet, spec: NetworkSpec, data: Split, settings: Training) -> Network:
    """Network of `spec` with its part of the shared weights, in eval mode; a copy on the supernet's device.

    Batch-norm is re-estimated on the images of `data`, as `settings` asks for trained networks.
    """
    network = copy.deepcopy(supernet.subnet(spec))
    reestimate_batch_norm_(network, batch_norm_batches(data, settings))
    return network.requires_grad_(False).eval()


def widened(spec: NetworkSpec, width: float) -> NetworkSpec:
    """`spec` with `width` times as many channels, rounded up, everywhere but in the images."""

    def wide(channels: int) -> int:
        return math.ceil(channels * width - 1e-9)

    blocks = [
        replace(
            block,
            in_channels=wide(block.in_channels) if index else block.in_channels,
            hidden_channels=wide(block.hidden_channels),
            out_channels=wide(block.out_channels),
        )
        for index, block in enumerate(spec.blocks)
    ]
    return replace(spec, blocks=tuple(blocks))


def _shapes(space: SearchSpace, width: float) -> dict[str, tuple[int, ...]]:
    """Shape of every shared tensor: the largest of any network that differs from the largest one in one choice."""
    largest, found = space.largest(), dict[str, tuple[int, ...]]()
    for choice in space.choices:
        for option in choice.options:
            spec = space.spec(space.genotype({**largest.values, choice.name: option}))
            for name, module, attribute in owners(shell(widened(spec, width))):
                shape = tuple(getattr(module, attribute).shape)
                found[name] = tuple(map(max, shape, found.get(name, shape)))
    return found


@dataclass(frozen=True)
class Names:
    """What identifies a supernet."""

    built: str
    """Its space, width, data and threat."""
    trained: str
    """Those, and how it was trained."""


def save_supernet(path: Path, supernet: Supernet, names: Names) -> None:
    """Writes the shared tensors to `path` with its `names`, atomically."""
    save_weights(path, supernet, asdict(names))


def load_supernet(path: Path, supernet: Supernet, name: str, which: Literal["built", "trained"]) -> None:
    """Fills `supernet` with the tensors of `path`.

    Raises CheckpointError where the file is missing, damaged, or of another `name`.
    """
    tensors = read_weights(path)
    own = tensors_of(supernet)
    same_shapes = {n: t.shape for n, t in tensors.items()} == {n: t.shape for n, t in own.items()}
    if read_metadata(path).get(which) != name or not same_shapes:
        differing = "space, data, threat or width" + (" or the way it was trained" if which == "trained" else "")
        raise CheckpointError(
            f"{path} is of another supernet ({differing} differ); use --run NAME for a new run, or name another run in "
            "supernet.taken_from"
        )
    fill_(supernet, tensors, path)
