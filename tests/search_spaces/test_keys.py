"""Keys of architectures never change: run folders, seeds and published tables are named by them."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random

import pytest

from search_spaces import SPACES, BlockSpec, NetworkSpec
from search_spaces.mlperf_tiny import REFERENCES, reference
from search_spaces.mobilenet_tiny import PRESETS, MobileNetTiny, Row, mobilenet_tiny, preset
from tests.conftest import ROOT

DIGITS = MobileNetTiny(
    blocks=(Row(16, 1, 1, expand_ratio=1), Row(24, 1, 2), Row(32, 2, 1), Row(64, 1, 2)),
    stem_channels=16, head_channels=64, width_multipliers=(0.25, 0.5, 0.75, 1.0), divisor=4,
)  # fmt: skip
"""The space of configs/digits.yaml and configs/one_shot_digits.yaml."""

FROZEN = {
    "mobilenet_tiny": (
        "d3f8ce9720b6 d99037ff9e6b 50ee36bb0dba 8040c099ae13 1949f17892e6 8db08ae76b0a aa052a5d1b10 ad444b6f533c "
        "89278ea666eb 6ecd4a167cf7 cae4758b94f0 6562fee7ef0c"
    ),
    "tiny_blocks": (
        "f0c2fb9eefe1 52a5e2cdec0a f7d0078f5dd1 5e46c9a0c815 3a3b461a2533 62087f1e534d 317c84f73c5c 8fe963ab917c "
        "c35e5a741fda 6e6c7276b687 87e185450311 af42e5c5b3f8"
    ),
    "resnet_tiny": (
        "f70390810e0f 6f7a0581671a ce3f79befe21 60abd94f28cc 4a20fbe6c095 620abea4df3a fd5996dc26ff 4231092f4ed5 "
        "ee56092dd6d7 b363e41557a6 30e79dffd3a1 976f5cadfa24"
    ),
    "ds_cnn": (
        "79267b61593e 7042e0a5abb2 a35c93db1ae0 055e9e492925 6152dee0fc52 deaad3aca027 4e2bdbf7cb41 6878203c6f80 "
        "326612db6712 99b7e5aca45d 757d769b2744 eae786eb9dc3"
    ),
}
"""The smallest and the largest network of a space with its default settings, then ten drawn with seed 0."""

FROZEN_REFERENCES = {"resnet8": "fea13c002972", "ds_cnn": "11328da22d0c"}
"""The networks of MLPerf Tiny."""

FROZEN_PRESETS = {
    "mousavi_w0.35_e6": ("c294208f1e0c", "a7a517b7fb25"),
    "mousavi_w0.65_e6": ("d889a4785851", "b54f8c8a6289"),
    "mousavi_w1.0_e6": ("d99037ff9e6b", "cdedc694b92b"),
    "mousavi_w0.35_e10": ("272846225a37", "953ba926f9e1"),
    "mousavi_w0.35_e20": ("14395de10bad", "a455f4b19c70"),
    "mousavi_w0.35_e29": ("bbe7839a54f0", "6a406bf68eda"),
}
"""The paper's networks on images of 3×32×32 and of 1×8×8."""


@pytest.mark.parametrize("name", SPACES)
def test_the_networks_of_a_space_keep_their_keys(name: str) -> None:
    entry = SPACES[name]
    space, rng = entry.constructor(entry.settings(), (3, 32, 32), 10), Random(0)
    drawn = [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(10))]
    assert " ".join(genotype.key for genotype in drawn) == FROZEN[name]


@pytest.mark.parametrize("name", PRESETS)
def test_the_networks_of_the_paper_keep_their_keys(name: str) -> None:
    assert (preset(name).key, preset(name, (1, 8, 8)).key) == FROZEN_PRESETS[name]


def test_the_references_keep_their_keys() -> None:
    assert {name: reference(name).key for name in REFERENCES} == FROZEN_REFERENCES


def published() -> list[tuple[str, Mapping[str, float]]]:
    """Key and values of every network in the reference tables."""
    found = [
        (row["key"], row["genotype"])
        for row in json.loads((ROOT / "runs/reference/digits/front.json").read_text(encoding="utf-8"))
    ]
    with (ROOT / "runs/reference/one_shot_digits/front.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            values = {
                name.removeprefix("genotype."): float(value) for name, value in row.items() if "genotype." in name
            }
            found.append((row["key"], values))
    return found


def test_the_published_tables_name_the_networks_of_their_genotypes() -> None:
    space, tables = mobilenet_tiny(DIGITS, (1, 8, 8), 10), published()
    assert len(tables) > 12
    for key, values in tables:
        assert space.genotype(values).key == key


@dataclass(frozen=True)
class LaterBlock(BlockSpec):
    """A block as a later version may describe it."""

    bits: int = 32
    masked: tuple[int, ...] = ()


@dataclass(frozen=True)
class LaterNetwork(NetworkSpec):
    """A network as a later version may describe it."""

    activation: str = "relu6"


def later(spec: NetworkSpec) -> LaterNetwork:
    return LaterNetwork(spec.input_shape, spec.num_classes, tuple(LaterBlock(**vars(block)) for block in spec.blocks))


def test_a_new_field_with_a_default_renames_no_network() -> None:
    for name in PRESETS:
        assert later(preset(name)).key == preset(name).key


def test_a_new_field_away_from_its_default_makes_another_network() -> None:
    old = later(preset("mousavi_w0.35_e6"))
    first = old.blocks[0]
    changed = [
        replace(old, activation="gelu"),
        *(
            replace(old, blocks=(block, *old.blocks[1:]))
            for block in (replace(first, bits=8), replace(first, masked=(1,)))
        ),
    ]
    assert len({spec.key for spec in (old, *changed)}) == 4
