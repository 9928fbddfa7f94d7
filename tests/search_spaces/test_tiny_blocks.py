"""The space of tiny blocks: sizes, skipped layers, and what it refuses."""

from random import Random

import pytest

from nas.budgets import Deployment, count_costs
from search_spaces import BlockSpec
from search_spaces.tiny_blocks import BlockRow, TinyBlocks, tiny_blocks
from tests.builders import TINY_BLOCKS, tiny_blocks_space


def test_from_ten_thousand_parameters_to_two_million() -> None:
    """TAM-NAS 2021: 10 K to 2 M on 32×32 images."""
    space = tiny_blocks(TinyBlocks(), (3, 32, 32), 10)
    smallest, largest = (count_costs(space.spec(g), Deployment()).params for g in (space.smallest(), space.largest()))
    assert smallest <= 10_000
    assert 1_500_000 <= largest <= 2_000_000
    rng = Random(0)
    assert all(
        smallest <= count_costs(space.spec(space.sample(rng)), Deployment()).params <= largest for _ in range(99)
    )


def test_kinds_become_blocks() -> None:
    space = tiny_blocks_space()
    kinds = {"block_1": "inverted_5", "block_2": "separable", "block_3": "residual"}
    spec = space.spec(space.genotype({**kinds, "width_1": 1.0, "width_2": 0.5, "width_3": 1.0}))
    assert spec.blocks[1:4] == (
        BlockSpec("inverted_residual", 1, 4, 8, 4, 5, 1),
        BlockSpec("separable", 2, 4, 4, 4, 3, 2),
        BlockSpec("residual", 3, 4, 8, 8, 3, 1),
    )


def test_a_skipped_layer_is_not_there_and_its_width_is_nothing() -> None:
    space = tiny_blocks_space()
    kinds = {"block_1": "skip", "block_2": "inverted_3", "block_3": "skip"}
    narrow, wide = (
        space.genotype({**kinds, "width_1": width, "width_2": 1.0, "width_3": width}) for width in (0.5, 1.0)
    )
    assert narrow.key == wide.key
    assert [block.row for block in space.spec(wide).blocks] == [0, 2, 4]


def test_a_layer_of_stride_2_cannot_be_skipped() -> None:
    options = {choice.name: choice.options for choice in tiny_blocks_space().choices}
    assert "skip" in options["block_1"]
    assert "skip" not in options["block_2"]


def test_kinds_have_no_order_and_widths_have() -> None:
    ordered = {choice.name.partition("_")[0]: choice.is_ordered for choice in tiny_blocks_space().choices}
    assert ordered == {"block": False, "width": True}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": ()}, "layers"),
        ({"layers": (BlockRow(8), BlockRow(4))}, "do not fall"),
        ({"kinds": ("skip",)}, "kinds"),
        ({"kinds": ("residual", "residual")}, "kinds"),
        ({"width_multipliers": (1.0, 0.5)}, "width_multipliers"),
        ({"expand_ratio": 0.5}, "expand_ratio"),
        ({"stem_channels": 0}, "stem_channels"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TinyBlocks(**changes)  # type: ignore[arg-type]


def test_a_layer_needs_channels_and_a_stride() -> None:
    for wrong in ({"channels": 0}, {"channels": 4, "stride": 3}):
        with pytest.raises(ValueError, match="a layer needs"):
            BlockRow(**wrong)
    assert TINY_BLOCKS.layers[1].stride == 2
