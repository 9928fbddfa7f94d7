"""Networks whose parameters are parts of shared tensors: of every tensor, a network has the first channels.

A tensor is named by what it does: the row of its block, the block's place in the row, kind and kernel, the number of
its layer from the block's end (an expansion may be missing at its start), and its role. Equal names in two networks
of a space mean one shared tensor, as large as the largest network needs it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from search_spaces import NetworkSpec
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


def network_of_parts(
    spec: NetworkSpec, shared: Mapping[str, Tensor], mean: Sequence[float], std: Sequence[float]
) -> Network:
    """Network of `spec` whose parameters are views of the tensors in `shared`: who changes the ones changes the others.

    In training mode, on their device, with batch-norm statistics of its own (0 and 1). Raises ValueError where `spec`
    needs a tensor that is not there, or a larger one.
    """
    network, device = shell(spec), shared["classifier_bias"].device
    network.normalization = Normalization(mean, std).to(device)
    for name, module, attribute in owners(network):
        wanted = getattr(module, attribute).shape
        whole = shared.get(name)
        if whole is None or any(a > b for a, b in zip(wanted, whole.shape, strict=True)):
            has = "none" if whole is None else str(tuple(whole.shape))
            raise ValueError(f"the supernet has no {name} of {tuple(wanted)} to share (it has {has})")
        setattr(module, attribute, nn.Parameter(first_of(whole.detach(), wanted)))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            _fresh(module, device)
    return network


def first_of(whole: Tensor, sizes: Sequence[int]) -> Tensor:
    """The first `sizes` of every axis of `whole`, a view."""
    return whole[tuple(slice(size) for size in sizes)]


def shell(spec: NetworkSpec) -> Network:
    """Network of `spec` without memory."""
    channels = spec.input_shape[0]
    with torch.device("meta"):
        return Network(spec, [0.0] * channels, [1.0] * channels)


def _fresh(norm: nn.BatchNorm2d, device: torch.device) -> None:
    norm.running_mean = torch.zeros(norm.num_features, device=device)
    norm.running_var = torch.ones(norm.num_features, device=device)
    norm.num_batches_tracked = torch.zeros((), dtype=torch.long, device=device)


def drawn(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """As `build_network` draws it."""
    if name.endswith("_kernel"):
        kernel = torch.empty(shape).contiguous(memory_format=torch.channels_last)
        return nn.init.kaiming_normal_(kernel, mode="fan_out", generator=generator)
    if name == "classifier_weight":
        return torch.empty(shape).normal_(0, 0.01, generator=generator)
    return torch.ones(shape) if name.endswith("_scale") else torch.zeros(shape)
