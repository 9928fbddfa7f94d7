"""Costs of a network block by block: what tables list and pages draw."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from nas.budgets.costs import Deployment, size_in_bytes, walk
from search_spaces import NetworkSpec
from search_spaces.spec import Pair, size_text


@dataclass(frozen=True)
class BlockCosts:
    """One block, or the classifier behind the last one (`linear`, with its pooling)."""

    kind: str
    in_channels: int
    hidden_channels: int
    """0 of a classifier."""
    out_channels: int
    size: Pair
    """Height and width of the output."""
    params: int
    macs: int
    activation_bytes: int
    """Largest working set while one of its layers runs; the largest of all blocks is the network's peak."""
    kernel: str = ""
    stride: str = ""
    shortcut: str = ""
    """`yes` where the input is added to the output, `projection` where a projection of it is."""
    row: str = ""


def block_costs(spec: NetworkSpec, deployment: Deployment) -> tuple[BlockCosts, ...]:
    """Every block of the network of `spec`, then its classifier: sums and the peak are those of `count_costs`."""
    return tuple(_blocks(spec, deployment))


def _blocks(spec: NetworkSpec, deployment: Deployment) -> Iterator[BlockCosts]:
    layers, size, outputs = walk(spec), spec.input_shape[1:], 0
    for block in spec.blocks:
        params = macs = peak = 0
        for conv, inputs, outputs, held in islice(layers, len(block.convolutions)):
            params += conv.num_weights + 2 * conv.out_channels
            macs += conv.num_weights // conv.out_channels * outputs
            peak = max(peak, inputs + outputs + held)
        for _, _, after in block.layers(size):
            size = after
        yield BlockCosts(
            block.kind, block.in_channels, block.hidden_channels, block.out_channels, size, params, macs,
            size_in_bytes(peak, deployment.activation_bits), size_text(block.kernel_size), size_text(block.stride),
            "projection" if block.has_projection else "yes" if block.has_residual else "", str(block.row),
        )  # fmt: skip
    features, classes = spec.blocks[-1].out_channels, spec.num_classes
    peak = max(outputs + features, features + classes)
    weights = features * classes
    memory = size_in_bytes(peak, deployment.activation_bits)
    yield BlockCosts("linear", features, 0, classes, (1, 1), weights + classes, weights, memory)
