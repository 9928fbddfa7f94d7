"""Costs by hand, and against torch."""

from dataclasses import replace
from random import Random

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nas.base.records import Costs
from nas.budgets import Deployment, count_costs
from nas.budgets.costs import walk
from nas.budgets.largest import largest_part
from search_spaces import BlockSpec, NetworkSpec
from search_spaces.mobilenet_tiny import PRESETS, MobileNetTiny, mobilenet_tiny, preset
from search_spaces.network import Network

# Layer by layer (output channels x height x width):
#   stem     3x3/2, 1 -> 2   18 weights   out 2x2x2 =  8   macs 18 * 4 =  72   working set 16 + 8          = 24
#   expand   1x1,   2 -> 4    8 weights   out 4x2x2 = 16   macs  8 * 4 =  32   working set  8 + 16         = 24
#   depth    3x3,   4 -> 4   36 weights   out 4x2x2 = 16   macs 36 * 4 = 144   working set 16 + 16 + 8     = 40
#   project  1x1,   4 -> 2    8 weights   out 2x2x2 =  8   macs  8 * 4 =  32   working set 16 +  8 + 8     = 32
#   depth    3x3/2, 2 -> 2   18 weights   out 2x1x1 =  2   macs 18 * 1 =  18   working set  8 +  2         = 10
#   project  1x1,   2 -> 4    8 weights   out 4x1x1 =  4   macs  8 * 1 =   8   working set  2 +  4         =  6
#   head     1x1,   4 -> 8   32 weights   out 8x1x1 =  8   macs 32 * 1 =  32   working set  4 +  8         = 12
#   linear          8 -> 3   24 weights   out 3            macs          24   working set  8 +  3         = 11
#   152 weights; 26 batch-norm channels (2 parameters each); 3 biases; 29 output channels
HAND = NetworkSpec(
    (1, 4, 4),
    3,
    (
        BlockSpec("conv", 0, 1, 2, 2, 3, 2),
        BlockSpec("inverted_residual", 1, 2, 4, 2, 3, 1),
        BlockSpec("inverted_residual", 2, 2, 2, 4, 3, 2),
        BlockSpec("conv", 3, 4, 8, 8, 1, 1),
    ),
)


def test_a_small_network_counted_by_hand() -> None:
    assert count_costs(HAND, Deployment()) == Costs(
        params=207,  # 152 + 2 * 26 + 3
        macs=362,  # 72 + 32 + 144 + 32 + 18 + 8 + 32 + 24
        weight_bytes=724,  # 4 * 152 + 4 * 29
        peak_activation_bytes=160,  # 4 * 40
    )


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (8, 384),  # 152 + 8 * 29: a scale and a bias per channel
        (4, 308),  # 76 + 232
        (3, 290),  # 7 + 3 + 14 + 3 + 7 + 3 + 12 + 9 = 58 bytes, each layer rounded up, + 232
        (31, 822),  # 70 + 31 + 140 + 31 + 70 + 31 + 124 + 93 = 590, + 232
    ],
)
def test_weight_bytes_of_low_precision_by_hand(bits: int, expected: int) -> None:
    assert count_costs(HAND, Deployment(weight_bits=bits)).weight_bytes == expected


@pytest.mark.parametrize(("bits", "expected"), [(8, 40), (4, 20), (3, 19), (1, 17)])
def test_activation_bytes_of_low_precision_by_hand(bits: int, expected: int) -> None:
    # Below 5 bits the stem has the peak, as the 16 pixels of the image have 8: 128 + 8 * bits.
    assert count_costs(HAND, Deployment(activation_bits=bits)).peak_activation_bytes == expected


def test_number_formats_change_bytes_only() -> None:
    full, quantized = (count_costs(HAND, Deployment(weight_bits=b, activation_bits=b)) for b in (32, 8))
    assert (full.params, full.macs) == (quantized.params, quantized.macs)


def test_the_input_of_an_open_residual_is_held_until_it_is_added() -> None:
    # The projection of this block has 8 in, 8 out and the 8 that are added: 24 values, 96 bytes.
    unexpanded = NetworkSpec((2, 2, 2), 2, (BlockSpec("inverted_residual", 1, 2, 2, 2, 3, 1),))
    assert count_costs(unexpanded, Deployment()).peak_activation_bytes == 96
    # With stride 2 nothing is held: depthwise 8 + 2.
    strided = NetworkSpec((2, 2, 2), 2, (BlockSpec("inverted_residual", 1, 2, 2, 2, 3, 2),))
    assert count_costs(strided, Deployment()).peak_activation_bytes == 40


# A block of ResNet with a projection (output channels x height x width):
#   project  1x1/2, 2 -> 4    8 weights   out 4x2x3 = 24   macs  8 * 6 =  48   working set 48 + 24           =  72
#   first    3x3/2, 2 -> 4   72 weights   out 4x2x3 = 24   macs 72 * 6 = 432   working set 48 + 24 + 24 held =  96
#   second   3x3,   4 -> 4  144 weights   out 4x2x3 = 24   macs 144 * 6 = 864  working set 24 + 24 + 24 held =  72
#   linear          4 -> 2    8 weights                    macs          8
#   232 weights; 12 batch-norm channels (2 parameters each); 2 biases
def test_a_block_with_a_projection_counted_by_hand() -> None:
    spec = NetworkSpec((2, 4, 6), 2, (BlockSpec("resnet", 1, 2, 4, 4, 3, 2),))
    assert count_costs(spec, Deployment()) == Costs(
        params=232 + 2 * 12 + 2,
        macs=48 + 432 + 864 + 8,
        weight_bytes=4 * 232 + 4 * (12 + 2),
        peak_activation_bytes=4 * 96,
    )
    # The last convolution is the peak where the branch is wide at its end: 24 in, 24 out, and the 24 of the projection.
    late = NetworkSpec((1, 2, 6), 2, (BlockSpec("resnet", 1, 1, 2, 2, 3, 1),))
    assert count_costs(late, Deployment()).peak_activation_bytes == 4 * 3 * 24


def test_pooling_and_classifier_can_be_the_peak() -> None:
    pooling = NetworkSpec((1, 2, 2), 2, (BlockSpec("conv", 0, 1, 8, 8, 1, 1),))
    assert count_costs(pooling, Deployment()).peak_activation_bytes == 4 * (32 + 8)
    classifier = NetworkSpec((1, 1, 1), 50, (BlockSpec("conv", 0, 1, 2, 2, 1, 1),))
    assert count_costs(classifier, Deployment()).peak_activation_bytes == 4 * (2 + 50)


def test_images_that_are_not_square_are_counted_per_side() -> None:
    # 3x3/2 on 5x8 gives 3x4: 9 weights * 12 positions, and 1 * 2 in the classifier
    spec = NetworkSpec((1, 5, 8), 2, (BlockSpec("conv", 0, 1, 1, 1, 3, 2),))
    assert count_costs(spec, Deployment()).macs == 9 * 12 + 2


# A spectrogram: 49 steps of 10 coefficients (output channels x height x width):
#   stem     10x4/2,  1 -> 8   320 weights   out 8x24x5 =  960   macs 320 * 120 = 38,400   working set 490 + 960 = 1,450
#   depth    3x1,     8 -> 8    24 weights   out 8x24x5 =  960   macs  24 * 120 =  2,880   working set 1,920
#   point    1x1,     8 -> 8    64 weights   out 8x24x5 =  960   macs  64 * 120 =  7,680   working set 1,920 + 960
#   expand   1x1,     8 -> 16  128 weights   out 16x24x5 = 1,920 macs 128 * 120 = 15,360   working set 2,880
#   depth    5x3/2x1, 16 -> 16 240 weights   out 16x12x5 =   960 macs 240 *  60 = 14,400   working set 2,880
#   project  1x1,     16 -> 8  128 weights   out 8x12x5 =   480  macs 128 *  60 =  7,680   working set 1,440
#   linear            8 -> 3    24 weights                        macs           24
#   928 weights; 64 batch-norm channels (2 parameters each); 3 biases
SPECTROGRAM = NetworkSpec(
    (1, 49, 10),
    3,
    (
        BlockSpec("conv", 0, 1, 8, 8, (10, 4), 2),
        BlockSpec("inverted_residual", 1, 8, 8, 8, (3, 1), 1),
        BlockSpec("inverted_residual", 2, 8, 16, 8, (5, 3), (2, 1)),
    ),
)


def test_rectangular_kernels_and_strides_counted_by_hand() -> None:
    assert count_costs(SPECTROGRAM, Deployment()) == Costs(
        params=928 + 2 * 64 + 3,
        macs=38_400 + 2_880 + 7_680 + 15_360 + 14_400 + 7_680 + 24,
        weight_bytes=4 * 928 + 4 * (64 + 3),
        peak_activation_bytes=4 * 2_880,
    )


RECTANGLES = NetworkSpec(
    (3, 12, 19),
    5,
    tuple(
        BlockSpec(kind, row, 3 if row == 0 else 4, 6, 4, kernel, stride)
        for row, (kind, kernel, stride) in enumerate(
            [("conv", (1, 3), (1, 2)), ("separable", (5, 3), 1), ("residual", (3, 1), 1), ("residual", (2, 4), (2, 1)),
             ("resnet", (3, 1), (1, 2)), ("resnet", (1, 3), 1), ("inverted_residual", (1, 5), 1),
             ("inverted_residual", (3, 2), (1, 3))]
        )
    ),
)  # fmt: skip
"""Every kind of block, kernel and stride unlike along the axes."""


def specs() -> dict[str, NetworkSpec]:
    space = mobilenet_tiny(MobileNetTiny(expand_ratios=(1, 1.5, 3, 6)), (3, 33, 30), 7)
    rng = Random(0)
    random = {f"random {index}": space.spec(space.sample(rng)) for index in range(3)}
    ends = {"smallest": space.spec(space.smallest()), "largest": space.spec(space.largest())}
    return {
        "hand": HAND,
        "spectrogram": SPECTROGRAM,
        "rectangles": RECTANGLES,
        **ends,
        **random,
        **{name: preset(name) for name in PRESETS},
    }


@pytest.mark.parametrize("name", specs())
def test_costs_agree_with_torch(name: str) -> None:
    spec = specs()[name]
    costs = count_costs(spec, Deployment())
    with torch.device("meta"):
        network = Network(spec, [0.0] * spec.input_shape[0], [1.0] * spec.input_shape[0]).eval()
        x = torch.empty(1, *spec.input_shape)
    assert costs.params == sum(parameter.numel() for parameter in network.parameters())
    with FlopCounterMode(display=False) as counter:
        network(x)
    assert 2 * costs.macs == counter.get_total_flops()


@pytest.mark.parametrize("name", specs())
def test_the_sizes_of_every_layer_are_those_of_its_tensors(name: str) -> None:
    spec = specs()[name]
    with torch.device("meta"):
        network = Network(spec, [0.0] * spec.input_shape[0], [1.0] * spec.input_shape[0]).eval()
        seen: list[tuple[int, int]] = []
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.register_forward_hook(lambda _, x, y: seen.append((x[0].numel(), y.numel())))
        network(torch.empty(1, *spec.input_shape))
    assert [(layer.inputs, layer.outputs) for layer in walk(spec, Deployment())] == seen


@pytest.mark.parametrize("name", specs())
def test_weight_bytes_are_those_of_the_folded_network(name: str) -> None:
    spec = specs()[name]
    # Folding leaves each convolution its kernel and one bias per channel: one number per channel less.
    channels = sum(conv.out_channels for block in spec.blocks for conv in block.convolutions)
    costs = count_costs(spec, Deployment())
    assert costs.weight_bytes == 4 * (costs.params - channels)


def test_the_largest_part_is_named_with_what_shrinks_it() -> None:
    settings = MobileNetTiny(head_channels=12_800)
    spec = (space := mobilenet_tiny(settings, (3, 32, 32), 10)).spec(space.smallest())
    into = spec.blocks[-1].in_channels
    found = largest_part(spec, "params")
    assert found == (
        f"the head ({into} × 12,800) alone holds {(into + 2) * 12_800:,} parameters",
        "space.head_channels",
    )
    assert largest_part(spec, "weight_bytes") == found
    many = mobilenet_tiny(settings, (3, 32, 32), 1000).spec(space.smallest())
    words = "the classifier behind the head alone holds 12,800 × 1000 weights"
    assert largest_part(many, "params") == (words, "space.head_channels")
    found = {cost: largest_part(HAND, cost)[0] for cost in ("params", "macs", "peak_activation_bytes")}
    assert found == {
        "params": "a block of row 1 alone holds 72 parameters",
        "macs": "a block of row 1 alone holds 208 MACs",
        "peak_activation_bytes": "a block of row 1 alone holds 40 values",
    }


# The same network, its blocks with bits of their own (W/A): stem 8/4, first 2/8, second 4/-, head 1/2. Images have 8.
#   stem     18 weights at 8: 18 bytes   in 16 at 8, out  8 at 4             = 160 bits
#   expand    8 weights at 2:  2         in  8 at 4, out 16 at 8             = 160
#   depth    36 weights at 2:  9         16 + 16 at 8, 8 held at 4           = 288
#   project   8 weights at 2:  2         16 + 8 at 8, 8 held at 4            = 224
#   depth    18 weights at 4:  9         in  8 at 8, out 2 at 6              =  76
#   project   8 weights at 4:  4         2 + 4 at 6                          =  36
#   head     32 weights at 1:  4         in  4 at 6, out 8 at 2              =  40
#   linear   24 weights at 1:  3         8 averages at 2, 3 logits at 8      =  40
def mixed() -> NetworkSpec:
    bits = ((8, 4), (2, 8), (4, 0), (1, 2))
    blocks = zip(HAND.blocks, bits, strict=True)
    return replace(HAND, blocks=tuple(replace(one, weight_bits=w, activation_bits=a) for one, (w, a) in blocks))


def test_blocks_of_bits_of_their_own_by_hand() -> None:
    deployment = Deployment(weight_bits=8, activation_bits=6)
    costs = count_costs(mixed(), deployment)
    assert costs.weight_bytes == 18 + 2 + 9 + 2 + 9 + 4 + 4 + 3 + 8 * 29
    assert costs.peak_activation_bytes == 36  # 288 bits
    whole = count_costs(HAND, Deployment())
    assert (costs.params, costs.macs) == (whole.params, whole.macs)


def test_blocks_of_float_weights_have_no_scales() -> None:
    blocks = tuple(replace(block, weight_bits=32) for block in HAND.blocks)
    spec = replace(HAND, blocks=blocks)
    assert count_costs(spec, Deployment(weight_bits=8)).weight_bytes == count_costs(HAND, Deployment()).weight_bytes
