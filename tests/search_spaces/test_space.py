"""Every registered space meets the contract; and the parts of a space by themselves."""

import dataclasses

import pytest

from nas.testing.spaces import SpaceContract
from search_spaces import SPACES, Choice
from search_spaces.mlperf_tiny import DsCnn, ResnetTiny, Stack, ds_cnn, resnet_tiny
from search_spaces.mobilenet_tiny import MobileNetTiny, mobilenet_tiny
from search_spaces.tiny_blocks import TinyBlocks, tiny_blocks
from tests.builders import TINY_BLOCKS, TINY_SETTINGS, tiny_space


class TestMobileNetTiny(SpaceContract):
    registered = "mobilenet_tiny"
    make = staticmethod(lambda shape, classes: mobilenet_tiny(TINY_SETTINGS, shape, classes))


class TestMobileNetTinyAsPublished(SpaceContract):
    registered = "mobilenet_tiny"
    make = staticmethod(
        lambda shape, classes: mobilenet_tiny(MobileNetTiny(tie="both", width_multipliers=(0.25, 0.35)), shape, classes)
    )


class TestMobileNetTinyWithItsHeadScaled(SpaceContract):
    registered = "mobilenet_tiny"
    make = staticmethod(
        lambda shape, classes: mobilenet_tiny(dataclasses.replace(TINY_SETTINGS, scale_head=True), shape, classes)
    )


class TestTinyBlocks(SpaceContract):
    registered = "tiny_blocks"
    make = staticmethod(lambda shape, classes: tiny_blocks(TINY_BLOCKS, shape, classes))


class TestTinyBlocksAsTheyAre(SpaceContract):
    registered = "tiny_blocks"
    make = staticmethod(lambda shape, classes: tiny_blocks(TinyBlocks(), shape, classes))


SMALL_RESNET = ResnetTiny(
    stacks=(Stack(8), Stack(16, 2)), width_multipliers=(1.0, 1.5), depths=(1, 2), expand_ratios=(0.5, 1.0)
)


class TestResnetTiny(SpaceContract):
    registered = "resnet_tiny"
    make = staticmethod(lambda shape, classes: resnet_tiny(SMALL_RESNET, shape, classes))


class TestDsCnn(SpaceContract):
    registered = "ds_cnn"
    make = staticmethod(
        lambda shape, classes: ds_cnn(DsCnn(stacks=(Stack(16), Stack(24, 2)), stem_channels=16), shape, classes)
    )


def test_every_registered_space_has_a_contract_case() -> None:
    covered = {case.registered for case in SpaceContract.__subclasses__()}
    assert covered >= set(SPACES), "tests add spaces of their own"


@pytest.mark.parametrize("name", SPACES)
def test_the_entry_of_a_space_builds_it_from_default_settings(name: str) -> None:
    entry = SPACES[name]
    settings = entry.settings()
    assert settings.name == name
    assert entry.constructor(settings, (3, 32, 32), 10).name == name


@pytest.mark.parametrize("options", [(), (1, 1), (2, 1, 2)])
def test_a_choice_needs_different_options(options: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="different options"):
        Choice("width", options)


def test_size_counts_genotypes_by_hand() -> None:
    # 3 widths of 2 options and, of the 3 rows, 2 that search their ratio: 2^3 * 2^2
    assert tiny_space().size == 32


def test_equal_genotypes_have_equal_hashes() -> None:
    space = tiny_space()
    assert hash(space.smallest()) == hash(space.decode(space.encode(space.smallest())))
    assert len({space.smallest(), space.smallest(), space.largest()}) == 2


def test_a_genotype_does_not_depend_on_the_order_of_its_values() -> None:
    space = tiny_space()
    values = dict(reversed(space.largest().values.items()))
    assert space.genotype(values) == space.largest()
    assert hash(space.genotype(values)) == hash(space.largest())
    assert list(space.genotype(values).values) == [choice.name for choice in space.choices]


def test_uniform_networks_have_one_option_for_each_kind_of_choice() -> None:
    found = [dict(genotype.values) for genotype in tiny_space().uniform()]
    assert found == [
        {"width_1": w, "width_2": w, "width_3": w, "expand_2": e, "expand_3": e} for w in (0.5, 1.0) for e in (1, 2)
    ]
    tied = mobilenet_tiny(dataclasses.replace(TINY_SETTINGS, tie="both"), (1, 8, 8), 10)
    assert len(list(tied.uniform())) == tied.size
    kinds = {str(genotype.values["block_2"]) for genotype in tiny_blocks(TINY_BLOCKS, (1, 8, 8), 10).uniform()}
    assert kinds == {"separable", "inverted_3", "inverted_5", "residual"}, "the layer with stride 2 cannot be skipped"
