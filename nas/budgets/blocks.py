"""Costs of a network block by block: what tables list and pages draw."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from nas.budgets.costs import Deployment, classifier_memory_bits, size_in_bytes, walk
from search_spaces import BlockSpec, NetworkSpec
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
    weight_bytes: int = 0
    """Bytes of its weights, biases and scales."""
    bits: str = ""
    """Bits of a weight and of what it stores: 4/8."""


def block_costs(spec: NetworkSpec, deployment: Deployment) -> tuple[BlockCosts, ...]:
    """Every block of the network of `spec`, then its classifier: sums and the peak are those of `count_costs`."""
    return tuple(_blocks(spec, deployment))


def _blocks(spec: NetworkSpec, deployment: Deployment) -> Iterator[BlockCosts]:
    layers, size = walk(spec, deployment), spec.input_shape[1:]
    for block in spec.blocks:
        params = macs = weights = peak = 0
        for layer in islice(layers, len(block.convolutions)):
            conv = layer.conv
            params += conv.num_weights + 2 * conv.out_channels
            macs += conv.num_weights // conv.out_channels * layer.outputs
            weights += deployment.weight_bytes(block, conv.num_weights, conv.out_channels)
            peak = max(peak, layer.memory_bits)
        for _, _, after in block.layers(size):
            size = after
        yield BlockCosts(
            block.kind, block.in_channels, block.hidden_channels, block.out_channels, size, params, macs,
            size_in_bytes(peak, 1), size_text(block.kernel_size), size_text(block.stride),
            "projection" if block.has_projection else "yes" if block.has_residual else "", str(block.row),
            weights, _bits(deployment, block),
        )  # fmt: skip
    last, classes = spec.blocks[-1], spec.num_classes
    weights = last.out_channels * classes
    yield BlockCosts(
        "linear", last.out_channels, 0, classes, (1, 1), weights + classes, weights,
        size_in_bytes(classifier_memory_bits(spec, deployment), 1),
        weight_bytes=deployment.weight_bytes(last, weights, classes), bits=_bits(deployment, last),
    )  # fmt: skip


def _bits(deployment: Deployment, block: BlockSpec) -> str:
    return f"{deployment.weights_of(block)}/{deployment.activations_of(block)}"
