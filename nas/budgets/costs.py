"""Costs from the integers of a NetworkSpec, in well under a millisecond.

Execution model of the peak activation: layers run one after the other at batch 1, batch-norm and
activation fused into their convolution, no tiling and no in-place convolution. While a layer runs, its
whole input, its whole output and the input of an open residual block (once, where it is the layer's own
input too) are in memory. The addition of a residual writes into the last convolution's output.
The projection of a shortcut runs first; its output is held, in place of the block's input, until it is added.
"""

from collections.abc import Iterator
from math import ceil, prod

from pydantic import Field

from nas.base.records import Costs
from nas.base.settings import Settings
from search_spaces import ConvSpec, NetworkSpec


class Deployment(Settings):
    """Number formats on the device, for weight and activation bytes."""

    weight_bits: int = Field(32, ge=1, le=32)
    """Bits of one weight. Below 32, each output channel also stores a 4-byte scale."""
    activation_bits: int = Field(32, ge=1, le=32)
    """Bits of one activation value."""


def count_costs(spec: NetworkSpec, deployment: Deployment) -> Costs:
    """Costs of the network of `spec`.

    `weight_bytes` counts the network with batch-norm folded: Σ ceil(bits · weights / 8) over layers, a
    4-byte bias per output channel and, below 32 bits, a 4-byte scale per output channel.
    """
    features = spec.blocks[-1].out_channels
    classifier = features * spec.num_classes
    per_channel = 4 if deployment.weight_bits == 32 else 8
    params = classifier + spec.num_classes
    macs = classifier
    weight_bytes = size_in_bytes(classifier, deployment.weight_bits) + per_channel * spec.num_classes
    peak = outputs = 0
    for conv, inputs, outputs, held in walk(spec):
        params += conv.num_weights + 2 * conv.out_channels
        macs += conv.num_weights // conv.out_channels * outputs
        weight_bytes += size_in_bytes(conv.num_weights, deployment.weight_bits) + per_channel * conv.out_channels
        peak = max(peak, inputs + outputs + held)
    peak = max(peak, outputs + features, features + spec.num_classes)  # pooling, then the classifier
    return Costs(params, macs, weight_bytes, size_in_bytes(peak, deployment.activation_bits))


def walk(spec: NetworkSpec) -> Iterator[tuple[ConvSpec, int, int, int]]:
    """Every convolution with its input, output and held residual sizes, in values."""
    size = spec.input_shape[1:]
    for block in spec.blocks:
        held = block.in_channels * prod(size) if block.has_residual else 0
        for index, (conv, before, after) in enumerate(block.layers(size)):
            outputs = conv.out_channels * prod(after)
            yield conv, conv.in_channels * prod(before), outputs, held if index else 0
            size, held = after, outputs if block.has_projection and index == 0 else held


def size_in_bytes(values: int, bits: int) -> int:
    """Bytes of as many values of `bits` each, packed."""
    return ceil(values * bits / 8)
