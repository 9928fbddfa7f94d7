"""The integers of a network, by hand."""

import json
from dataclasses import asdict, replace

import pytest

from search_spaces import BlockSpec, ConvSpec, NetworkSpec
from search_spaces.spec import Size, make_divisible

CONV = BlockSpec("conv", 0, 3, 8, 8, 3, 2)
EXPANDED = BlockSpec("inverted_residual", 1, 8, 16, 8, 3, 1)
SPEC = NetworkSpec((3, 32, 32), 10, (CONV, EXPANDED))


@pytest.mark.parametrize(
    ("channels", "divisor", "expected"),
    [
        (32, 8, 32),
        (1, 8, 8),  # never below the divisor
        (11.2, 8, 16),  # 0.35 * 32: rounds to 8, which is less than 90 % of 11.2
        (8.4, 8, 8),  # 0.35 * 24: 8 is 95 % of it
        (12, 8, 16),  # a tie rounds up
        (22.4, 8, 24),
        (56, 8, 56),
        (112, 8, 112),
        (20.8, 8, 24),  # 0.65 * 32: rounds to 24 by itself
        (35, 8, 32),  # 32 is 91 % of 35
        (35.9, 8, 40),  # 32 is 89 % of 35.9
        (5, 2, 6),
        (5, 1, 5),
    ],
)
def test_channels_round_as_in_the_mobilenet_family(channels: float, divisor: int, expected: int) -> None:
    assert make_divisible(channels, divisor) == expected


@pytest.mark.parametrize("divisor", [1, 2, 4, 8])
def test_rounded_channels_are_multiples_and_lose_at_most_a_tenth(divisor: int) -> None:
    for tenths in range(1, 3000, 7):
        rounded = make_divisible(tenths / 10, divisor)
        assert rounded % divisor == 0
        assert rounded >= max(divisor, 0.9 * tenths / 10)
        assert rounded < tenths / 10 + 1.5 * divisor


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [(32, 3, 1, 32), (32, 3, 2, 16), (33, 3, 2, 17), (5, 1, 1, 5), (5, 1, 2, 3), (1, 3, 2, 1), (8, 5, 2, 4)],
)
def test_output_sizes_by_hand(size: int, kernel: int, stride: int, expected: int) -> None:
    assert ConvSpec(1, 1, kernel, stride).output_size((size, size)) == (expected, expected)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        ((49, 10), (10, 4), 2, (24, 5)),  # padding 4 and 1: (57 - 10) // 2 + 1, (12 - 4) // 2 + 1
        ((49, 10), (3, 1), 1, (49, 10)),
        ((49, 10), 3, (2, 1), (25, 10)),
        ((7, 8), (1, 5), (3, 2), (3, 4)),
        ((4, 4), 2, 1, (3, 3)),
    ],
)
def test_output_sizes_along_each_axis_by_hand(
    size: tuple[int, int], kernel: Size, stride: Size, expected: tuple[int, int]
) -> None:
    assert ConvSpec(1, 1, kernel, stride).output_size(size) == expected


def test_a_rectangular_kernel_has_two_sides_and_pads_each() -> None:
    conv = ConvSpec(12, 24, (10, 4), 1, groups=4)
    assert conv.weight_shape == (24, 3, 10, 4)
    assert conv.num_weights == 24 * 3 * 40
    assert conv.padding == (4, 1)


def test_a_pair_of_equal_sizes_is_one_integer() -> None:
    square = replace(EXPANDED, kernel_size=(3, 3), stride=[1, 1])
    assert square == EXPANDED
    assert (square.kernel_size, square.stride) == (3, 1)
    assert replace(SPEC, blocks=(CONV, square)).key == SPEC.key
    assert replace(EXPANDED, kernel_size=[3, 1]).kernel_size == (3, 1)


def test_every_convolution_follows_the_kernel_and_the_stride_of_its_block() -> None:
    tall = {kind: BlockSpec(kind, 1, 4, 8, 4, (5, 3), (1, 2)) for kind in ("conv", "separable", "residual")}
    assert tall["conv"].convolutions == (ConvSpec(4, 4, (5, 3), (1, 2)),)
    assert tall["separable"].convolutions == (ConvSpec(4, 4, (5, 3), (1, 2), groups=4), ConvSpec(4, 4, 1, 1))
    assert tall["residual"].convolutions == (ConvSpec(4, 8, (5, 3), (1, 2)), ConvSpec(8, 4, (5, 3), 1))
    assert list(tall["residual"].layers((7, 8))) == [
        (ConvSpec(4, 8, (5, 3), (1, 2)), (7, 8), (7, 4)), (ConvSpec(8, 4, (5, 3), 1), (7, 4), (7, 4)),
    ]  # fmt: skip
    assert not any(block.has_residual for block in tall.values())


@pytest.mark.parametrize("size", [(3, 1), [5, 3]])
def test_rectangular_kernels_and_strides_survive_json_and_change_the_key(size: Size) -> None:
    specs = [replace(SPEC, blocks=(replace(CONV, **{field: size}), EXPANDED)) for field in ("kernel_size", "stride")]
    for spec in specs:
        assert NetworkSpec.from_dict(json.loads(json.dumps(asdict(spec)))) == spec
        assert NetworkSpec.from_dict(json.loads(json.dumps(asdict(spec)))).key == spec.key
    turned = replace(SPEC, blocks=(replace(CONV, kernel_size=tuple(size)[::-1]), EXPANDED))
    assert len({spec.key for spec in (SPEC, turned, *specs)}) == 4


def test_a_grouped_kernel_holds_in_over_groups_planes() -> None:
    conv = ConvSpec(12, 24, 3, 1, groups=4)
    assert conv.weight_shape == (24, 3, 3, 3)
    assert conv.num_weights == 24 * 3 * 3 * 3


def test_an_inverted_residual_expands_filters_and_projects() -> None:
    assert EXPANDED.convolutions == (ConvSpec(8, 16, 1, 1), ConvSpec(16, 16, 3, 1, groups=16), ConvSpec(16, 8, 1, 1))


def test_without_expansion_an_inverted_residual_has_no_first_convolution() -> None:
    block = replace(EXPANDED, hidden_channels=8, stride=2)
    assert block.convolutions == (ConvSpec(8, 8, 3, 2, groups=8), ConvSpec(8, 8, 1, 1))


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (EXPANDED, True),
        (replace(EXPANDED, stride=2), False),
        (replace(EXPANDED, out_channels=16), False),
        (BlockSpec("conv", 0, 8, 8, 8, 3, 1), False),
    ],
)
def test_only_unstrided_blocks_of_equal_channels_have_a_residual(block: BlockSpec, expected: bool) -> None:
    assert block.has_residual is expected


RESNET = BlockSpec("resnet", 1, 8, 12, 16, 3, 2)


def test_a_block_of_resnet_projects_its_input_where_the_shape_changes() -> None:
    branch = (ConvSpec(8, 12, 3, 2), ConvSpec(12, 16, 3, 1))
    assert RESNET.convolutions == (ConvSpec(8, 16, 1, 2), *branch)
    assert list(RESNET.layers((7, 8))) == [
        (ConvSpec(8, 16, 1, 2), (7, 8), (4, 4)), (branch[0], (7, 8), (4, 4)), (branch[1], (4, 4), (4, 4)),
    ]  # fmt: skip
    assert (RESNET.has_projection, RESNET.has_residual) == (True, False)
    same = replace(RESNET, out_channels=8, stride=1)
    assert (same.has_projection, same.has_residual) == (False, True)
    assert same.convolutions == (ConvSpec(8, 12, 3, 1), ConvSpec(12, 8, 3, 1))
    for change in ({"stride": 1}, {"out_channels": 8}, {"out_channels": 8, "stride": (1, 2)}):
        assert replace(RESNET, **change).has_projection
    with pytest.raises(ValueError, match="odd kernel"):
        replace(RESNET, kernel_size=(3, 2))


@pytest.mark.parametrize("field", ["in_channels", "hidden_channels", "out_channels", "kernel_size", "stride"])
def test_a_block_refuses_zero_sizes(field: str) -> None:
    with pytest.raises(ValueError, match="positive sizes"):
        replace(EXPANDED, **{field: 0})


def test_a_block_refuses_even_kernels_and_unknown_kinds() -> None:
    with pytest.raises(ValueError, match="odd kernel"):
        replace(EXPANDED, kernel_size=4)
    with pytest.raises(ValueError, match="odd kernel"):
        replace(EXPANDED, kernel_size=(3, 4))
    assert replace(EXPANDED, kernel_size=(3, 4), stride=2).kernel_size == (3, 4)
    with pytest.raises(ValueError, match="transformer"):
        replace(EXPANDED, kind="transformer")


@pytest.mark.parametrize("size", [(3,), (3, 3, 3), "33", 3.0, (3, 1.5), None])
def test_a_block_refuses_what_is_no_size(size: object) -> None:
    with pytest.raises(ValueError, match="an integer or a pair"):
        replace(EXPANDED, kernel_size=size)


def test_a_network_refuses_a_kernel_that_leaves_no_pixel() -> None:
    def spectrogram(height: int, width: int) -> NetworkSpec:
        blocks = (BlockSpec("conv", 0, 1, 4, 4, 3, (4, 1)), BlockSpec("conv", 1, 4, 4, 4, (10, 4), 1))
        return NetworkSpec((1, height, width), 2, blocks)

    assert spectrogram(8, 10)
    with pytest.raises(ValueError, match="block 1 has a kernel of 10×4, too large for 1×10 pixels"):
        spectrogram(4, 10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_shape": (3, 0, 32)}, "positive input shape"),
        ({"num_classes": 1}, "2 classes"),
        ({"blocks": ()}, "a block"),
        ({"input_shape": (1, 32, 32)}, "block 0 takes 3 channels but gets 1"),
        ({"blocks": (CONV, replace(EXPANDED, in_channels=16))}, "block 1 takes 16 channels but gets 8"),
    ],
)
def test_a_network_refuses_what_does_not_fit(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SPEC, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"num_classes": 11},
        {"input_shape": (3, 32, 33)},
        {"blocks": (CONV,)},
        {"blocks": (CONV, replace(EXPANDED, hidden_channels=24))},
        {"blocks": (CONV, replace(EXPANDED, row=2))},
    ],
)
def test_every_difference_changes_the_key(change: dict[str, object]) -> None:
    assert replace(SPEC, **change).key != SPEC.key


def test_the_key_is_twelve_hex_digits_and_stays_the_same_between_processes() -> None:
    # Pinned: run folders and retraining seeds are named by it.
    assert SPEC.key == NetworkSpec((3, 32, 32), 10, (CONV, EXPANDED)).key == "09d7836d2565"


@pytest.mark.parametrize("missing", ["input_shape", "num_classes", "blocks"])
def test_from_dict_refuses_an_incomplete_description(missing: str) -> None:
    full = {"input_shape": [3, 32, 32], "num_classes": 10, "blocks": []}
    with pytest.raises(KeyError):
        NetworkSpec.from_dict({name: value for name, value in full.items() if name != missing})
