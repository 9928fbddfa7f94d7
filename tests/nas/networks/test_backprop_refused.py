"""Networks that are not what their spec says: the pass by hand leaves them to autograd."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nas.networks.backprop import forward_of
from search_spaces import BlockSpec
from search_spaces.blocks import BLOCKS as BLOCK_KINDS
from search_spaces.network import Network
from tests.builders import BLOCKS, Broken, network_of
from tests.nas.networks.by_hand import assert_same, batches_for, plain, walked


class _Doubled(nn.Module):
    """Known layers, put together in a way of its own."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.block(x)  # type: ignore[no-any-return]


class _HalfConv(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 2


class _Squared(Network):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).square()


def gelu(network: Network) -> None:
    network.features[0][2] = nn.GELU()


def biased(network: Network) -> None:
    network.features[0][0].bias = nn.Parameter(torch.ones(4, dtype=torch.float64))


def padded_by_name(network: Network) -> None:
    network.features[0][0].padding = "same"


def group_norm(network: Network) -> None:
    network.features[0][1] = nn.GroupNorm(2, 4, dtype=torch.float64)


def momenta(network: Network) -> None:
    network.features[0][1].momentum = 0.3


def cumulative(network: Network) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None


def foreign_block(network: Network) -> None:
    network.features[0] = _Doubled(network.features[0])


def foreign_convolution(network: Network) -> None:
    conv = network.features[0][0]
    network.features[0][0] = _HalfConv(3, 4, 3, padding=1, bias=False, device="meta")
    network.features[0][0].weight = conv.weight


def activated_projection(network: Network) -> None:
    network.features[1].projection.append(nn.ReLU6())


def longer_projection(network: Network) -> None:
    network.features[1].projection.extend(copy.deepcopy(network.features[1].conv[1:]))


def activated_branch(network: Network) -> None:
    network.features[1].conv.append(nn.ReLU6())


def without_projection(network: Network) -> None:
    network.features[1].conv[0][0].stride = (1, 1)
    network.features[1].projection = None


def linear_sum(network: Network) -> None:
    network.features[1].relu = nn.Identity()


def nested(network: Network) -> None:
    network.features[1].conv[0] = BLOCK_KINDS["resnet"](BlockSpec("resnet", 1, 4, 4, 4, 3, 2)).double()


@pytest.mark.parametrize(
    "change", [activated_projection, longer_projection, activated_branch, without_projection, linear_sum, nested]
)
def test_a_projection_that_is_not_as_in_the_spec_is_called_as_it_is(change: Callable[[Network], None]) -> None:
    network = network_of([BlockSpec("resnet", 1, 4, 4, 4, 3, 2)]).double()
    assert walked(network)
    with torch.random.fork_rng():
        change(network)
    assert not walked(network)
    assert_same(network)


def foreign_network(network: Network) -> None:
    network.__class__ = _Squared


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize(
    "change",
    [
        gelu,
        biased,
        padded_by_name,
        group_norm,
        momenta,
        cumulative,
        foreign_block,
        foreign_convolution,
        foreign_network,
    ],
)
def test_what_cannot_be_walked_is_called_as_it_is(change: Callable[[Network], None], size: int) -> None:
    network = network_of(BLOCKS["inverted, residual"], size).double()
    change(network)
    assert not walked(network)
    assert_same(network)


def test_a_module_that_is_no_network_is_called_as_it_is() -> None:
    network = network_of(BLOCKS["inverted, residual"]).double()
    batches = batches_for(network, 2)
    other = copy.deepcopy(network)
    for found, expected in zip(
        forward_of(Broken(network, lambda z: 2 * z))(*batches), plain(other)(*batches), strict=True
    ):
        torch.testing.assert_close(found, 2 * expected)
