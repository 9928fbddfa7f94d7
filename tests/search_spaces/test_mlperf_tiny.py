"""MLPerf Tiny's reference networks, layer by layer as published, and the knobs of their spaces."""

from dataclasses import replace

import pytest

from nas.budgets import Deployment, count_costs
from search_spaces import BlockSpec
from search_spaces.mlperf_tiny import (
    REFERENCES,
    DsCnn,
    ResnetTiny,
    Stack,
    ds_cnn,
    reference,
    reference_values,
    resnet_tiny,
)
from search_spaces.spec import ConvSpec, NetworkSpec

Published = list[tuple[int, int, object, object, int, tuple[int, int]]]
RESNET8: Published = [  # (inputs, outputs, kernel, stride, groups, output size) of every convolution in the code
    (3, 16, 3, 1, 1, (32, 32)),
    (16, 16, 3, 1, 1, (32, 32)), (16, 16, 3, 1, 1, (32, 32)),
    (16, 32, 1, 2, 1, (16, 16)), (16, 32, 3, 2, 1, (16, 16)), (32, 32, 3, 1, 1, (16, 16)),
    (32, 64, 1, 2, 1, (8, 8)), (32, 64, 3, 2, 1, (8, 8)), (64, 64, 3, 1, 1, (8, 8)),
]  # fmt: skip
DS_CNN: Published = [
    (1, 64, (10, 4), 2, 1, (25, 5)),
    *[(64, 64, 3, 1, 64, (25, 5)), (64, 64, 1, 1, 1, (25, 5))] * 4,
]
LAYERS = {"resnet8": RESNET8, "ds_cnn": DS_CNN}
KERAS_PARAMETERS = {"resnet8": 78_666, "ds_cnn": 24_908}
"""As Keras counts them: biases, and all four numbers of a batch-norm."""
NORMALISED = {"resnet8": [0, 1, 2, 4, 5, 7, 8], "ds_cnn": range(9)}
"""Convolutions with batch-norm behind them: all but the projections."""
MACS = {"resnet8": 12_501_632, "ds_cnn": 2_656_768}
"""12.5 and 2.7 million in the benchmark's paper."""


def layers_of_spec(spec: NetworkSpec) -> list[tuple[ConvSpec, tuple[int, int]]]:
    found, size = [], spec.input_shape[1:]
    for block in spec.blocks:
        for conv, _, after in block.layers(size):
            found.append((conv, after))
        size = after
    return found


@pytest.mark.parametrize("name", REFERENCES)
def test_the_reference_has_the_layers_of_the_public_code(name: str) -> None:
    rows = {25: 24} if name == "ds_cnn" else {}  # of 25 rows, the code pools the first 24
    published = [(*layer[:5], (rows.get(layer[5][0], layer[5][0]), layer[5][1])) for layer in LAYERS[name]]
    found = [
        (conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.groups, size)
        for conv, size in layers_of_spec(reference(name))
    ]
    assert found == published


@pytest.mark.parametrize("name", REFERENCES)
def test_counts_are_the_published_ones_up_to_the_stated_deviations(name: str) -> None:
    spec, published = reference(name), [layer[:5] for layer in LAYERS[name]]
    convs = [ConvSpec(*layer) for layer in published]  # type: ignore[arg-type]
    weights, biases = sum(conv.num_weights for conv in convs), sum(conv.out_channels for conv in convs)
    classifier = (spec.blocks[-1].out_channels + 1) * spec.num_classes
    normalised = sum(convs[index].out_channels for index in NORMALISED[name])
    assert weights + biases + 4 * normalised + classifier == KERAS_PARAMETERS[name], "the table above is the network's"
    costs = count_costs(spec, Deployment())
    assert costs.params == weights + 2 * biases + classifier, "scale and shift of a batch-norm in place of the bias"
    # Folded for a device, a kernel and a bias for each convolution are left of both.
    assert costs.params - biases == KERAS_PARAMETERS[name] - 4 * normalised
    pixels = [height * width for *_, (height, width) in LAYERS[name]]
    macs = [conv.num_weights * count for conv, count in zip(convs, pixels, strict=True)]
    assert sum(macs) + classifier - spec.num_classes == MACS[name]
    fewer = sum(macs) // 25 if name == "ds_cnn" else 0
    assert costs.macs == MACS[name] - fewer


def test_references_are_the_members_of_width_one_whatever_else_a_space_holds() -> None:
    wide = resnet_tiny(ResnetTiny(expand_ratios=(0.5, 1.0)), (3, 32, 32), 10)
    fixed = resnet_tiny(ResnetTiny(width_multipliers=(1.0,), depths=(1,)), (3, 32, 32), 10)
    for space in (wide, fixed):
        assert space.genotype(reference_values("resnet8", space)).key == reference("resnet8").key
    assert [choice.name for choice in fixed.choices] == ["width_1", "width_2", "width_3"]
    with pytest.raises(ValueError, match="a network of the space ds_cnn, not of resnet_tiny"):
        reference_values("ds_cnn", wide)
    with pytest.raises(ValueError, match="unknown reference 'resnet9'"):
        reference("resnet9")


def test_uniform_networks_of_depth_one_scale_the_reference() -> None:
    for name, settings, make in (("resnet8", ResnetTiny(), resnet_tiny), ("ds_cnn", DsCnn(), ds_cnn)):
        shape, classes = reference(name).input_shape, reference(name).num_classes
        space = make(settings, shape, classes)  # type: ignore[operator]
        uniform = list(space.uniform())
        assert len(uniform) == len(settings.width_multipliers) * len(settings.depths)
        assert reference(name).key in {genotype.key for genotype in uniform}
        params = [count_costs(space.spec(g), Deployment()).params for g in uniform if g.values["depth_1"] == 1]
        assert params == sorted(set(params))


def test_resnet_20_has_the_parameters_of_its_family() -> None:
    """He 2016, section 4.2: 0.27 million."""
    space = resnet_tiny(ResnetTiny(), (3, 32, 32), 10)
    values = {choice.name: 3 if choice.kind == "depth" else 1.0 for choice in space.choices}
    costs = count_costs(space.spec(space.genotype(values)), Deployment())
    assert costs.params == pytest.approx(270_000, rel=0.02)


def test_choices_become_blocks() -> None:
    settings = ResnetTiny(
        stacks=(Stack(8), Stack(16, 2)),
        stem_channels=8,
        width_multipliers=(1.0, 2.0),
        depths=(1, 2),
        expand_ratios=(0.5, 1.0),
    )
    space = resnet_tiny(settings, (1, 8, 8), 10)
    values = {"width_1": 2.0, "width_2": 1.0, "depth_1": 1, "depth_2": 2, "expand_1": 0.5, "expand_2": 1.0}
    assert space.spec(space.genotype(values)).blocks == (
        BlockSpec("conv", 0, 1, 16, 16, 3, 1),
        BlockSpec("resnet", 1, 16, 8, 16, 3, 1),
        BlockSpec("resnet", 2, 16, 16, 16, 3, 2),
        BlockSpec("resnet", 2, 16, 16, 16, 3, 1),
    )
    separable = ds_cnn(
        DsCnn(stacks=(Stack(8), Stack(16, 2)), stem_channels=8, width_multipliers=(1.0, 2.0), depths=(1,)),
        (1, 49, 10),
        12,
    )
    assert separable.spec(separable.largest()).blocks == (
        BlockSpec("conv", 0, 1, 16, 16, (10, 4), 2),
        BlockSpec("separable", 1, 16, 16, 16, 3, 1),
        BlockSpec("separable", 2, 16, 16, 32, 3, 2),
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stacks": ()}, "stacks needs at least one"),
        ({"stem_channels": 0}, "stem_channels"),
        ({"width_multipliers": (1.0, 0.5)}, "width_multipliers must ascend"),
        ({"width_multipliers": (0.0, 0.5)}, "width_multipliers must be above 0"),
        ({"depths": (0, 1)}, "depths must be above 0"),
        ({"depths": ()}, "depths must be above 0"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, object], message: str) -> None:
    for settings in (ResnetTiny(), DsCnn()):
        with pytest.raises(ValueError, match=message):
            replace(settings, **changes)  # type: ignore[arg-type]


def test_what_one_of_the_two_has_is_checked_too() -> None:
    for wrong in ({"stem_stride": 3}, {"expand_ratios": (1.0, 9.0)}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            replace(ResnetTiny(), **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="stem_kernel"):
        DsCnn(stem_kernel=(0, 4))
    with pytest.raises(ValueError, match="a stack needs"):
        Stack(8, 3)
