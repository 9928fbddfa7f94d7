"""Bits and sparsity as choices of a space: the contract of spaces, names, ties, keys."""

import dataclasses

import pytest

from nas.testing.spaces import SpaceContract
from search_spaces import BitChoices, BlockSpec, NetworkSpec, SparsityChoices, with_bits, with_sparsity
from search_spaces.mobilenet_tiny import mobilenet_tiny
from search_spaces.spec import BlockSpec as Block
from search_spaces.tiny_blocks import tiny_blocks
from tests.builders import TINY_BLOCKS, TINY_SETTINGS, tiny_space

BITS = BitChoices(weights=(2, 4, 8), activations=(4, 8))


class TestMobileNetTinyWithBits(SpaceContract):
    registered = "mobilenet_tiny"
    make = staticmethod(lambda shape, classes: with_bits(mobilenet_tiny(TINY_SETTINGS, shape, classes), BITS))


class TestTinyBlocksWithTiedBits(SpaceContract):
    registered = "tiny_blocks"
    make = staticmethod(
        lambda shape, classes: with_bits(
            tiny_blocks(TINY_BLOCKS, shape, classes), dataclasses.replace(BITS, tie="weights")
        )
    )


def test_every_row_has_bits_of_its_own_from_the_stem_to_the_head() -> None:
    space = with_bits(tiny_space(), BITS)
    own = tiny_space().choices
    rows = range(5)  # the stem, three rows, the head
    names = [f"weight_bits_{row}" for row in rows] + [f"activation_bits_{row}" for row in rows]
    assert space.choices[: len(own)] == own
    assert [choice.name for choice in space.choices[len(own) :]] == names
    values = {**space.smallest().values, "weight_bits_2": 8, "activation_bits_4": 8}
    blocks = space.spec(space.genotype(values)).blocks
    assert [block.weight_bits for block in blocks] == [2, 2, 8, 2, 2]
    assert [block.activation_bits for block in blocks] == [4, 4, 4, 4, 8]
    assert space.size == tiny_space().size * 3**5 * 2**5


@pytest.mark.parametrize(
    ("tie", "names"),
    [
        ("both", ["weight_bits", "activation_bits"]),
        ("weights", ["weight_bits", *(f"activation_bits_{row}" for row in range(5))]),
        ("activations", [*(f"weight_bits_{row}" for row in range(5)), "activation_bits"]),
    ],
)
def test_tied_bits_are_one_choice(tie: str, names: list[str]) -> None:
    space = with_bits(tiny_space(), dataclasses.replace(BITS, tie=tie))  # type: ignore[arg-type]
    assert [choice.name for choice in space.choices[len(tiny_space().choices) :]] == names
    assert len({block.weight_bits for block in space.spec(space.largest()).blocks}) == 1


def test_bits_of_one_kind_alone_leave_the_other_to_the_run() -> None:
    space = with_bits(tiny_space(), BitChoices(activations=(2, 4)))
    assert {block.weight_bits for block in space.spec(space.largest()).blocks} == {0}
    assert with_bits(tiny_space(), BitChoices()).choices == tiny_space().choices


def test_bits_that_are_not_chosen_do_not_enter_the_key() -> None:
    spec = tiny_space().spec(tiny_space().largest())
    assert spec.key == dataclasses.replace(
        spec, blocks=tuple(dataclasses.replace(block, weight_bits=0, activation_bits=0) for block in spec.blocks)
    ).key  # fmt: skip
    eight = dataclasses.replace(spec, blocks=tuple(dataclasses.replace(block, weight_bits=8) for block in spec.blocks))
    assert eight.key != spec.key
    assert NetworkSpec.from_dict(dataclasses.asdict(eight)) == eight


@pytest.mark.parametrize("wrong", [{"weights": (4, 2)}, {"weights": (0,)}, {"activations": (1, 8)}, {"weights": (16,)}])
def test_options_that_no_grid_has_are_refused(wrong: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="to 8, or 32, that ascend"):
        BitChoices(**wrong)


def test_a_block_has_from_1_to_32_bits_or_none_of_its_own() -> None:
    assert Block is BlockSpec
    for bits in (-1, 33):
        with pytest.raises(ValueError, match="bits of a block are 1 to 32"):
            BlockSpec("conv", 0, 1, 4, 4, 3, 1, weight_bits=bits)


def test_sparsity_is_a_choice_of_every_row_or_of_all() -> None:
    space = with_sparsity(tiny_space(), SparsityChoices(options=(0, 50, 90)))
    names = [choice.name for choice in space.choices[len(tiny_space().choices) :]]
    assert names == [f"sparsity_{row}" for row in range(5)]
    values = {**space.smallest().values, "sparsity_1": 50, "sparsity_4": 90}
    assert [block.sparsity for block in space.spec(space.genotype(values)).blocks] == [0, 50, 0, 0, 90]
    tied = with_sparsity(with_bits(tiny_space(), BITS), SparsityChoices(options=(0, 50), tie=True))
    assert tied.choices[-1].name == "sparsity"
    assert {(block.sparsity, block.weight_bits) for block in tied.spec(tied.largest()).blocks} == {(50, 8)}
    assert with_sparsity(tiny_space(), SparsityChoices()).choices == tiny_space().choices
    spec = tiny_space().spec(tiny_space().largest())
    assert {block.sparsity for block in spec.blocks} == {-1}
    assert NetworkSpec.from_dict(dataclasses.asdict(tied.spec(tied.largest()))) == tied.spec(tied.largest())


@pytest.mark.parametrize("wrong", [(50, 0), (0, 100), (-1,), (5, 5)])
def test_sparsities_that_are_no_percentages_are_refused(wrong: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="percentages from 0 to 99 that ascend"):
        SparsityChoices(options=wrong)
