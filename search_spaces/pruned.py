"""What remains of a network whose channels are pruned: the integers of the smaller network."""

from dataclasses import replace
from math import floor

from search_spaces.spec import BlockSpec, NetworkSpec


def has_hidden(block: BlockSpec) -> bool:
    """Whether nothing outside `block` sees the channels between its convolutions."""
    if block.kind == "inverted_residual":
        return block.hidden_channels != block.in_channels  # without an expansion they are those of the input
    return block.kind in ("residual", "resnet")


def is_free_head(spec: NetworkSpec) -> bool:
    """Whether the last block is one convolution: the classifier alone sees its output."""
    return spec.blocks[-1].kind == "conv"


def kept(count: int, share: float) -> int:
    """Of `count` channels, those that stay when the `share` is pruned: rounded up, and one at least."""
    return max(count - floor(share * count), 1)


def pruned_block(block: BlockSpec, share: float) -> BlockSpec:
    """`block` without the `share` of its hidden channels, or its own sparsity instead.

    One channel more stays where it would have as many hidden as input channels, which says that nothing is expanded.
    """
    share = share if block.sparsity < 0 else block.sparsity / 100
    if not has_hidden(block):
        return block
    hidden = kept(block.hidden_channels, share)
    return replace(block, hidden_channels=hidden + (block.kind == "inverted_residual" and hidden == block.in_channels))


def pruned_spec(spec: NetworkSpec, share: float) -> NetworkSpec:
    """Network of `spec` without the `share` of the hidden channels of every block, and of the head's."""
    blocks = [pruned_block(block, share) for block in spec.blocks]
    if is_free_head(spec):
        own = share if blocks[-1].sparsity < 0 else blocks[-1].sparsity / 100
        blocks[-1] = replace(blocks[-1], out_channels=kept(blocks[-1].out_channels, own))
    return replace(spec, blocks=tuple(blocks))
