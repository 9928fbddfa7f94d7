"""Search spaces: what a network can be. Knows torch, never `nas`.

`SPACES` lists every space with its settings class and its constructor. Modules (torch) are imported only
by `search_spaces.network` and `search_spaces.blocks`, so describing and counting networks stays instant.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from search_spaces.mlperf_tiny import DsCnn, ResnetTiny, ds_cnn, resnet_tiny
from search_spaces.mobilenet_tiny import MobileNetTiny, mobilenet_tiny
from search_spaces.row_choices import BitChoices, SparsityChoices, with_bits, with_sparsity
from search_spaces.space import Choice, Genotype, SearchSpace
from search_spaces.spec import BlockSpec, ConvSpec, NetworkSpec
from search_spaces.tiny_blocks import TinyBlocks, tiny_blocks


class SpaceEntry(NamedTuple):
    """Settings class and `constructor(settings, input_shape, num_classes)` of a space."""

    settings: type
    constructor: Callable[[Any, tuple[int, int, int], int], SearchSpace]


SPACES: dict[str, SpaceEntry] = {
    "mobilenet_tiny": SpaceEntry(MobileNetTiny, mobilenet_tiny),
    "tiny_blocks": SpaceEntry(TinyBlocks, tiny_blocks),
    "resnet_tiny": SpaceEntry(ResnetTiny, resnet_tiny),
    "ds_cnn": SpaceEntry(DsCnn, ds_cnn),
}

__all__ = [
    "SPACES",
    "BitChoices",
    "BlockSpec",
    "Choice",
    "ConvSpec",
    "Genotype",
    "NetworkSpec",
    "SearchSpace",
    "SpaceEntry",
    "SparsityChoices",
    "with_bits",
    "with_sparsity",
]
