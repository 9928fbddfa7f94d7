"""Costs from the integers of a NetworkSpec, in well under a millisecond.

Execution model of the peak activation: layers run one after the other at batch 1, batch-norm and
activation fused into their convolution, no tiling and no in-place convolution. While a layer runs, its
whole input, its whole output and the input of an open residual block (once, where it is the layer's own
input too) are in memory. The addition of a residual writes into the last convolution's output.
The projection of a shortcut runs first; its output is held, in place of the block's input, until it is added.
Every tensor has the activation bits of the block that stores it (images, and logits, at least 8).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, prod

from pydantic import Field

from nas.base.records import Costs
from nas.base.settings import Settings
from search_spaces import BlockSpec, ConvSpec, NetworkSpec


class Deployment(Settings):
    """Number formats on the device, for weight and activation bytes: with a `quantize` treatment, its own."""

    weight_bits: int = Field(32, ge=1, le=32)
    """Bits of one weight. Below 32, each output channel also stores a 4-byte scale. A block's own bits come first."""
    activation_bits: int = Field(32, ge=1, le=32)
    """Bits of one activation value. A block's own bits come first."""

    def weights_of(self, block: BlockSpec) -> int:
        """Bits of a weight of `block`; the classifier has those of the last block."""
        return block.weight_bits or self.weight_bits

    def activations_of(self, block: BlockSpec) -> int:
        """Bits of a value that `block` stores; the averages behind the last block have those of that block."""
        return block.activation_bits or self.activation_bits

    def weight_bytes(self, block: BlockSpec, weights: int, channels: int) -> int:
        """Bytes of as many `weights` of `block`, packed, with a bias and, below 32 bits, a scale for each channel."""
        bits = self.weights_of(block)
        return size_in_bytes(weights, bits) + (4 if bits == 32 else 8) * channels


def count_costs(spec: NetworkSpec, deployment: Deployment) -> Costs:
    """Costs of the network of `spec`.

    `weight_bytes` counts the network with batch-norm folded: Σ ceil(bits · weights / 8) over layers, a
    4-byte bias per output channel and, below 32 bits, a 4-byte scale per output channel. Scales of activations, one for
    each tensor, are not counted.
    """
    last, features = spec.blocks[-1], spec.blocks[-1].out_channels
    classifier = features * spec.num_classes
    params = classifier + spec.num_classes
    macs = classifier
    weight_bytes = deployment.weight_bytes(last, classifier, spec.num_classes)
    peak = 0
    for layer in walk(spec, deployment):
        conv = layer.conv
        params += conv.num_weights + 2 * conv.out_channels
        macs += conv.num_weights // conv.out_channels * layer.outputs
        weight_bytes += deployment.weight_bytes(layer.block, conv.num_weights, conv.out_channels)
        peak = max(peak, layer.memory_bits)
    peak = max(peak, classifier_memory_bits(spec, deployment))
    return Costs(params, macs, weight_bytes, size_in_bytes(peak, 1))


@dataclass(frozen=True)
class WalkedLayer:
    """A convolution and what is in memory while it runs, in values and in bits."""

    block: BlockSpec
    conv: ConvSpec
    inputs: int
    """Values of the input."""
    outputs: int
    """Values of the output."""
    held: int
    """Values that are kept to be added, but for its input."""
    memory_bits: int
    """Bits of these three."""


def walk(spec: NetworkSpec, deployment: Deployment) -> Iterator[WalkedLayer]:
    """Every convolution of the network of `spec`, in order."""
    size, before_bits = spec.input_shape[1:], max(8, deployment.activation_bits)
    for block in spec.blocks:
        bits = deployment.activations_of(block)
        held, held_bits = block.in_channels * prod(size) if block.has_residual else 0, before_bits
        for index, (conv, before, after) in enumerate(block.layers(size)):
            inputs, outputs, kept = (
                conv.in_channels * prod(before),
                conv.out_channels * prod(after),
                held if index else 0,
            )
            takes_block_input = index == 0 or (block.has_projection and index == 1)
            input_bits = before_bits if takes_block_input else bits
            memory = inputs * input_bits + outputs * bits + kept * held_bits
            yield WalkedLayer(block, conv, inputs, outputs, kept, memory)
            size = after
            if block.has_projection and index == 0:
                held, held_bits = outputs, bits
        before_bits = bits


def classifier_memory_bits(spec: NetworkSpec, deployment: Deployment) -> int:
    """Bits in memory while the last tensor is averaged, or while its averages are classified."""
    last, size = spec.blocks[-1], spec.input_shape[1:]
    for block in spec.blocks:
        for _, _, after in block.layers(size):
            size = after
    bits, features = deployment.activations_of(last), last.out_channels
    logits = spec.num_classes * max(8, bits)
    return max(features * prod(size) * bits + features * bits, features * bits + logits)


def size_in_bytes(values: int, bits: int) -> int:
    """Bytes of as many values of `bits` each, packed."""
    return ceil(values * bits / 8)
