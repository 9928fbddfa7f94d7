"""Modules from integers: layout, weights, normalisation."""

from math import sqrt

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from search_spaces import BlockSpec, NetworkSpec
from search_spaces.blocks import BLOCKS
from search_spaces.network import Normalization, build_network
from search_spaces.spec import CONVOLUTIONS, Size, pair
from tests.builders import generator, tiny_network, tiny_space


def test_every_block_kind_can_be_counted_and_built() -> None:
    assert set(BLOCKS) == set(CONVOLUTIONS)


@pytest.mark.parametrize(("in_channels", "hidden"), [(8, 8), (8, 24), (24, 56), (7, 30), (56, 1624), (3, 16)])
def test_the_convolutions_of_a_module_are_those_of_its_spec(in_channels: int, hidden: int) -> None:
    block = BlockSpec("inverted_residual", 1, in_channels, hidden, 12, 3, 2)
    with torch.device("meta"):
        module = BLOCKS["inverted_residual"](block)
    built = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    assert [tuple(m.weight.shape) for m in built] == [conv.weight_shape for conv in block.convolutions]
    assert [m.stride for m in built] == [pair(conv.stride) for conv in block.convolutions]
    assert all(m.bias is None for m in built)


@pytest.mark.parametrize("stride", [1, 2, (2, 1)])
@pytest.mark.parametrize("out", [8, 12])
@pytest.mark.parametrize(
    ("kind", "kernel", "hidden"),
    [("inverted_residual", 5, 16), ("inverted_residual", 5, 8), ("separable", 3, 8), ("residual", 3, 10),
     ("inverted_residual", (3, 1), 16), ("separable", (1, 5), 8), ("residual", (5, 3), 10)],
)  # fmt: skip
def test_a_block_is_its_convolutions_one_after_the_other(
    kind: str, kernel: Size, hidden: int, out: int, stride: Size
) -> None:
    block = BlockSpec(kind, 1, 8, hidden, out, kernel, stride)
    with torch.device("meta"):
        module = BLOCKS[kind](block).eval()
    module.to_empty(device="cpu")
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.reset_parameters()
    convs = [part for part in module.modules() if isinstance(part, nn.Conv2d)]
    assert [tuple(conv.weight.shape) for conv in convs] == [conv.weight_shape for conv in block.convolutions]
    x = torch.rand(2, 8, 7, 6, generator=generator())
    h = x
    for index, (conv, spec) in enumerate(zip(convs, block.convolutions, strict=True)):
        with torch.no_grad():
            conv.weight.normal_(generator=generator(index))
        padding = [(side - 1) // 2 for side in pair(spec.kernel_size)]
        h = F.conv2d(h, conv.weight, None, spec.stride, padding, 1, spec.groups) / sqrt(1 + 1e-5)
        is_last = index == len(convs) - 1
        h = h if is_last and kind != "separable" else h.clamp(0, 6)
    assert block.has_residual is (kind != "separable" and stride == 1 and out == 8)
    assert torch.allclose(module(x), h + x if block.has_residual else h, atol=1e-4)


@pytest.mark.parametrize(("out", "stride"), [(8, 1), (8, 2), (12, 1), (12, (2, 1))])
def test_a_block_of_resnet_is_the_basic_block_of_torchvision_with_relu6(out: int, stride: Size) -> None:
    from torchvision.models.resnet import BasicBlock

    with torch.random.fork_rng():
        ours = BLOCKS["resnet"](BlockSpec("resnet", 1, 8, out, out, 3, stride)).eval()
        projection = nn.Sequential(nn.Conv2d(8, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        theirs = BasicBlock(8, out, stride, projection if (out, stride) != (8, 1) else None).eval()
    theirs.relu = nn.ReLU6()
    names = {"conv.0.0": "conv1", "conv.0.1": "bn1", "conv.1": "conv2", "conv.2": "bn2", "projection": "downsample"}
    state = {}
    for name, tensor in ours.state_dict().items():
        part = next(part for part in names if name.startswith(f"{part}."))
        state[name.replace(part, names[part], 1)] = tensor
    theirs.load_state_dict(state)
    x = 3 * torch.randn(4, 8, 6, 5, generator=generator())
    assert torch.equal(ours(x), theirs(x))


def test_normalisation_by_hand() -> None:
    x = torch.tensor([[[[0.5]], [[1.0]]]])
    assert Normalization([0.5, 0.0], [0.25, 0.5])(x).flatten().tolist() == [0.0, 2.0]


@pytest.mark.parametrize(("mean", "std"), [([0.5], [0.0]), ([0.5], [-1.0]), ([0.5, 0.5], [1.0])])
def test_normalisation_refuses_impossible_statistics(mean: list[float], std: list[float]) -> None:
    with pytest.raises(ValueError, match="std"):
        Normalization(mean, std)


def test_the_statistics_travel_with_the_weights() -> None:
    space = tiny_space()
    network = build_network(space.spec(space.smallest()), generator(), [0.3], [0.2])
    state = network.state_dict()
    assert state["normalization.mean"].item() == pytest.approx(0.3)
    assert state["normalization.std"].item() == pytest.approx(0.2)
    assert not any("normalization" in name for name, _ in network.named_parameters())


def test_the_network_normalises_its_own_input() -> None:
    space = tiny_space()
    spec = space.spec(space.largest())
    plain = build_network(spec, generator()).eval()
    normalising = build_network(spec, generator(), [0.3], [0.2]).eval()
    x = torch.rand(3, 1, 8, 8, generator=generator(1))
    torch.testing.assert_close(normalising(x), plain((x - 0.3) / 0.2))


def test_one_generator_state_gives_one_network_and_another_gives_another() -> None:
    space = tiny_space()
    spec = space.spec(space.largest())
    first, again, other = (build_network(spec, generator(seed)).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["features.0.0.weight"], other["features.0.0.weight"])


def test_weights_have_the_spread_of_mobilenet_v2() -> None:
    block = BlockSpec("conv", 0, 64, 128, 128, 3, 1)
    network = build_network(NetworkSpec((64, 4, 4), 100, (block,)), generator())
    kernel, classifier = network.features[0][0].weight, network.classifier
    # Kaiming-normal, fan-out: std = sqrt(2 / (128 * 3 * 3)); 73,728 and 12,800 draws
    assert kernel.std().item() == pytest.approx(sqrt(2 / (128 * 9)), rel=0.02)
    assert classifier.weight.std().item() == pytest.approx(0.01, rel=0.03)
    assert not classifier.bias.any()


def test_batch_norm_starts_as_the_identity() -> None:
    norms = [m for m in tiny_network().modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    for norm in norms:
        assert torch.equal(norm.weight, torch.ones_like(norm.weight))
        assert not norm.bias.any()
        assert not norm.running_mean.any()
        assert torch.equal(norm.running_var, torch.ones_like(norm.running_var))
        assert norm.num_batches_tracked == 0


def test_a_new_network_is_on_the_cpu_and_in_training_mode() -> None:
    network = tiny_network()
    assert all(module.training for module in network.modules())
    assert {tensor.device.type for tensor in network.state_dict().values()} == {"cpu"}
    assert all(p.requires_grad for p in network.parameters())


def test_the_forward_pass_is_convolve_pool_classify() -> None:
    spec = NetworkSpec((1, 4, 4), 3, (BlockSpec("conv", 0, 1, 2, 2, 3, 1),))
    network = build_network(spec, generator()).eval()
    x = torch.rand(2, 1, 4, 4, generator=generator(1))
    maps = F.conv2d(x, network.features[0][0].weight, padding=1) / sqrt(1 + 1e-5)  # batch-norm of mean 0, var 1
    pooled = maps.clamp(0, 6).mean(dim=(2, 3))
    expected = pooled @ network.classifier.weight.T + network.classifier.bias
    torch.testing.assert_close(network(x), expected)


@pytest.mark.parametrize(("hidden", "out", "stride"), [(8, 8, 1), (48, 8, 1), (48, 16, 2)])
def test_an_inverted_residual_is_that_of_torchvision(hidden: int, out: int, stride: int) -> None:
    from torchvision.models.mobilenetv2 import InvertedResidual

    with torch.random.fork_rng():
        ours = BLOCKS["inverted_residual"](BlockSpec("inverted_residual", 1, 8, hidden, out, 3, stride))
        theirs = InvertedResidual(8, out, stride, hidden / 8)
    theirs.load_state_dict(ours.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = torch.rand(4, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ours.eval()(x), theirs.eval()(x))
