"""MobileNet-tiny: the paper's networks, and the knobs of the space."""

from dataclasses import replace

import pytest

from nas.budgets import Deployment, count_costs
from search_spaces.mobilenet_tiny import PRESETS, MobileNetTiny, Row, mobilenet_tiny, preset
from search_spaces.spec import NetworkSpec
from tests.builders import TINY_SETTINGS

# Mousavi 2023, tables 1 and 2: parameters and MACs in millions.
PAPER = {
    "mousavi_w0.35_e6": (0.404, 15.98),
    "mousavi_w0.65_e6": (1.088, 45.08),
    "mousavi_w1.0_e6": (2.278, 90.68),
    "mousavi_w0.35_e10": (0.523, 23.73),
    "mousavi_w0.35_e20": (0.8218, 43.206),
    "mousavi_w0.35_e29": (1.086, 58.63),
}


def test_every_preset_is_one_of_the_papers_networks() -> None:
    assert set(PRESETS) == set(PAPER)


@pytest.mark.parametrize("name", PAPER)
def test_presets_are_within_four_percent_of_the_papers_counts(name: str) -> None:
    params, macs = PAPER[name]
    costs = count_costs(preset(name), Deployment())
    assert costs.params / 1e6 == pytest.approx(params, rel=0.04)
    assert costs.macs / 1e6 == pytest.approx(macs, rel=0.04)


def test_the_full_width_network_is_mobilenet_v2_row_by_row() -> None:
    spec = preset("mousavi_w1.0_e6")
    # (t, c, n, s) of MobileNetV2, with stride 1 in the stem and the second row: 32x32 images
    table = [(1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    expected, channels = [], 32
    for row, (ratio, out, layers, stride) in enumerate(table, 1):
        for layer in range(layers):
            expected.append((row, channels, channels * ratio, out, stride if layer == 0 else 1))
            channels = out
    bottlenecks = spec.blocks[1:-1]
    assert [(b.row, b.in_channels, b.hidden_channels, b.out_channels, b.stride) for b in bottlenecks] == expected
    stem, head = spec.blocks[0], spec.blocks[-1]
    assert (stem.kind, stem.out_channels, stem.kernel_size, stem.stride) == ("conv", 32, 3, 1)
    assert (head.kind, head.in_channels, head.out_channels, head.kernel_size) == ("conv", 320, 1280, 1)


def test_a_narrow_network_keeps_the_width_of_its_head() -> None:
    assert preset("mousavi_w0.35_e6").blocks[-1].out_channels == 1280


def test_a_multiplier_above_one_widens_the_head() -> None:
    settings = replace(TINY_SETTINGS, width_multipliers=(2.0,))
    spec = space_spec(settings)
    assert spec.blocks[-1].out_channels == 16
    assert space_spec(TINY_SETTINGS).blocks[-1].out_channels == 8


def test_unknown_presets_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"mousavi_w0\.35_e29"):
        preset("mobilenet_v3")


@pytest.mark.parametrize(
    ("tie", "names"),
    [
        ("none", ["width_1", "width_2", "width_3", "expand_2", "expand_3"]),
        ("width", ["width", "expand_2", "expand_3"]),
        ("expand", ["width_1", "width_2", "width_3", "expand"]),
        ("both", ["width", "expand"]),
    ],
)
def test_tied_choices_serve_all_rows_and_fixed_ratios_are_no_choice(tie: str, names: list[str]) -> None:
    space = mobilenet_tiny(replace(TINY_SETTINGS, tie=tie), (1, 8, 8), 10)
    assert [choice.name for choice in space.choices] == names


@pytest.mark.parametrize(
    ("tie", "head"), [("none", "width_head"), ("expand", "width_head"), ("width", "width"), ("both", "width")]
)
def test_a_scaled_head_takes_a_multiplier_of_its_own_or_the_tied_one(tie: str, head: str) -> None:
    settings = replace(TINY_SETTINGS, tie=tie, scale_head=True, width_multipliers=(0.5, 1.0, 2.0))
    space = mobilenet_tiny(settings, (1, 8, 8), 10)
    assert head in {choice.name for choice in space.choices}
    middle = {choice.name: choice.options[1] for choice in space.choices}
    for multiplier, channels in ((0.5, 4), (1.0, 8), (2.0, 16)):  # of 8 head channels
        assert space.spec(space.genotype({**middle, head: multiplier})).blocks[-1].out_channels == channels
    fixed = mobilenet_tiny(replace(settings, scale_head=False), (1, 8, 8), 10)
    assert [fixed.spec(one()).blocks[-1].out_channels for one in (fixed.smallest, fixed.largest)] == [8, 16]


def test_tied_and_untied_spaces_build_the_same_extremes() -> None:
    for which in ("smallest", "largest"):
        keys = set()
        for tie in ("none", "width", "expand", "both"):
            space = mobilenet_tiny(replace(TINY_SETTINGS, tie=tie), (1, 8, 8), 10)
            keys.add(getattr(space, which)().key)
        assert len(keys) == 1


def test_each_choice_changes_its_own_row() -> None:
    space = mobilenet_tiny(TINY_SETTINGS, (1, 8, 8), 10)
    small = dict(space.smallest().values)
    base = space.spec(space.smallest())
    for choice in space.choices:
        spec = space.spec(space.genotype({**small, choice.name: choice.options[-1]}))
        changed = {a.row for a, b in zip(spec.blocks, base.blocks, strict=True) if a != b}
        row = int(choice.name[-1])
        assert row in changed
        # a width also reaches the input of the next row (and its hidden channels); row 1 also sets the stem
        allowed = {row} if choice.name.startswith("expand") else {row, row + 1, *([0] if row == 1 else [])}
        assert changed <= allowed


def test_two_genotypes_that_round_to_the_same_channels_share_their_key() -> None:
    settings = replace(TINY_SETTINGS, tie="both", width_multipliers=(0.5, 0.51), expand_ratios=(1,))
    space = mobilenet_tiny(settings, (1, 8, 8), 10)
    assert space.smallest() != space.largest()
    assert space.smallest().key == space.largest().key


def test_fractional_ratios_are_rounded_to_whole_channels() -> None:
    settings = replace(TINY_SETTINGS, tie="both", width_multipliers=(1.0,), expand_ratios=(1.6,))
    assert [b.hidden_channels for b in space_spec(settings).blocks[2:4]] == [6, 6]  # 4 * 1.6 = 6.4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks": ()}, "at least one row"),
        ({"stem_channels": 0}, "stem_channels"),
        ({"stem_stride": 3}, "stem_stride"),
        ({"divisor": 0}, "divisor"),
        ({"width_multipliers": ()}, "width_multipliers"),
        ({"width_multipliers": (0.0, 1.0)}, "width_multipliers"),
        ({"width_multipliers": (1.0, 0.5)}, "ascend"),
        ({"expand_ratios": (0.5, 1)}, "expand_ratios"),
        ({"expand_ratios": (1, 1)}, "ascend"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(MobileNetTiny(), **change)


@pytest.mark.parametrize("row", [{"channels": 0}, {"layers": 0}, {"stride": 3}, {"expand_ratio": 0.5}])
def test_impossible_rows_are_refused(row: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"row needs|expand_ratio"):
        Row(**{"channels": 8, **row})  # type: ignore[arg-type]


def space_spec(settings: MobileNetTiny) -> NetworkSpec:
    space = mobilenet_tiny(settings, (1, 8, 8), 10)
    return space.spec(space.largest())
