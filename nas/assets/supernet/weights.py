"""Weights that all networks of a space share: of every tensor, a network has the first channels.

A tensor is named by what it does: the row of its block, the block's place in the row, kind and kernel, the number of
its layer from the block's end (an expansion may be missing at its start), and its role. Equal names in two networks
of a space mean one shared tensor, as large as the largest network needs it.
"""

import copy
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
from torch import Tensor, nn

from nas.base.errors import CheckpointError
from nas.base.files import write_atomic
from nas.data.split import Split
from nas.training.averaging import reestimate_batch_norm_
from nas.training.loop import batch_norm_batches
from nas.training.settings import Training
from nas.training.stored import read_weights
from search_spaces import NetworkSpec, SearchSpace
from search_spaces.network import Network, Normalization
from search_spaces.spec import size_text

Owner = tuple[str, nn.Module, str]
"""Name of a shared tensor, and where a network holds its part: a module and the name of its parameter."""


def owners(network: Network) -> Iterator[Owner]:
    """Every parameter of `network`, with the name of the shared tensor that it is a part of."""
    places: Counter[int] = Counter()
    for block, module in zip(network.spec.blocks, network.features, strict=True):
        place = f"row{block.row}_{places[block.row]}_{block.kind}{size_text(block.kernel_size)}"
        places[block.row] += 1
        convs = [part for part in module.modules() if isinstance(part, nn.Conv2d)]
        norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
        for index, (conv, norm) in enumerate(zip(convs, norms, strict=True)):
            layer = f"{place}_{len(convs) - index}"
            yield f"{layer}_kernel", conv, "weight"
            yield f"{layer}_scale", norm, "weight"
            yield f"{layer}_shift", norm, "bias"
    yield "classifier_weight", network.classifier, "weight"
    yield "classifier_bias", network.classifier, "bias"


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
            self.register_parameter(name, nn.Parameter(_drawn(name, shape, generator)))

    def subnet(self, spec: NetworkSpec) -> Network:
        """Network of `spec` whose parameters are views of the shared ones: who changes the ones changes the others.

        In training mode, on the supernet's device, with batch-norm statistics of its own (0 and 1). Raises ValueError
        where `spec` needs a tensor that the supernet lacks, or a larger one.
        """
        network, device = _shell(spec), self.get_parameter("classifier_bias").device
        network.normalization = Normalization(self._mean, self._std).to(device)
        shared = dict(self.named_parameters())
        for name, module, attribute in owners(network):
            wanted = getattr(module, attribute).shape
            whole = shared.get(name)
            if whole is None or any(a > b for a, b in zip(wanted, whole.shape, strict=True)):
                has = "none" if whole is None else str(tuple(whole.shape))
                raise ValueError(f"the supernet has no {name} of {tuple(wanted)} to share (it has {has})")
            setattr(module, attribute, nn.Parameter(_first(whole.detach(), wanted)))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                _fresh(module, device)
        return network

    def gradients(self, network: Network) -> list[Tensor]:
        """Views of the shared gradients, in the order of the parameters of `network`; they must exist."""
        parts = {}
        for name, module, attribute in owners(network):
            parameter, gradient = getattr(module, attribute), self.get_parameter(name).grad
            assert gradient is not None, "the supernet has no gradients yet"
            parts[parameter] = _first(gradient, parameter.shape)
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


def _first(whole: Tensor, sizes: Sequence[int]) -> Tensor:
    return whole[tuple(slice(size) for size in sizes)]


def _shapes(space: SearchSpace, width: float) -> dict[str, tuple[int, ...]]:
    """Shape of every shared tensor: the largest of any network that differs from the largest one in one choice."""
    largest, found = space.largest(), dict[str, tuple[int, ...]]()
    for choice in space.choices:
        for option in choice.options:
            spec = space.spec(space.genotype({**largest.values, choice.name: option}))
            for name, module, attribute in owners(_shell(widened(spec, width))):
                shape = tuple(getattr(module, attribute).shape)
                found[name] = tuple(map(max, shape, found.get(name, shape)))
    return found


def _shell(spec: NetworkSpec) -> Network:
    """Network of `spec` without memory."""
    channels = spec.input_shape[0]
    with torch.device("meta"):
        return Network(spec, [0.0] * channels, [1.0] * channels)


def _fresh(norm: nn.BatchNorm2d, device: torch.device) -> None:
    norm.running_mean = torch.zeros(norm.num_features, device=device)
    norm.running_var = torch.ones(norm.num_features, device=device)
    norm.num_batches_tracked = torch.zeros((), dtype=torch.long, device=device)


def _drawn(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """As `build_network` draws it."""
    if name.endswith("_kernel"):
        kernel = torch.empty(shape).contiguous(memory_format=torch.channels_last)
        return nn.init.kaiming_normal_(kernel, mode="fan_out", generator=generator)
    if name == "classifier_weight":
        return torch.empty(shape).normal_(0, 0.01, generator=generator)
    return torch.ones(shape) if name.endswith("_scale") else torch.zeros(shape)


@dataclass(frozen=True)
class Names:
    """What identifies a supernet."""

    built: str
    """Its space, width, data and threat."""
    trained: str
    """Those, and how it was trained."""


def save_supernet(path: Path, supernet: Supernet, names: Names) -> None:
    """Writes the shared tensors to `path` with its `names`, atomically."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in supernet.state_dict().items()}
    write_atomic(path, safetensors.torch.save(tensors, asdict(names)))


def load_supernet(path: Path, supernet: Supernet, name: str, which: Literal["built", "trained"]) -> None:
    """Fills `supernet` with the tensors of `path`.

    Raises CheckpointError where the file is missing, damaged, or of another `name`.
    """
    tensors = read_weights(path)
    with safetensors.safe_open(path, "pt") as file:
        found = (file.metadata() or {}).get(which)
    own = supernet.state_dict()
    if found != name or {n: t.shape for n, t in tensors.items()} != {n: t.shape for n, t in own.items()}:
        differing = "space, data, threat or width" + (" or the way it was trained" if which == "trained" else "")
        raise CheckpointError(
            f"{path} is of another supernet ({differing} differ); use --run NAME for a new run, or name another run in "
            "supernet.taken_from"
        )
    for name, tensor in tensors.items():
        own[name].copy_(tensor)
