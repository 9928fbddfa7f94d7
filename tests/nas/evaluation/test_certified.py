"""The certificate holds for every pair of images that was found, and is attained where that can be worked out."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from math import log, log10, prod

import pytest
import torch
from torch import Tensor, nn

from nas.attacks.threat import ThreatModel
from nas.evaluation.certified import SLACK, CertifiedBound, certified_lipschitz
from nas.networks.norms import spectral_penalty
from nas.training.loop import scored_network, start_training, train_epoch
from search_spaces import BlockSpec, NetworkSpec
from search_spaces.blocks import BLOCKS
from search_spaces.network import Network, build_network
from tests.builders import (
    TINY_TRAINING,
    Broken,
    generator,
    spectrogram_spec,
    tiny_images,
    tiny_network,
    with_random_statistics,
)


def network_of(kind: str, seed: int = 0) -> Network:
    """Blocks of `kind` that keep the size, halve it and change the width, on 9×6 images of two channels."""
    blocks = (
        BlockSpec("conv", 0, 2, 4, 4, 3, 1),
        BlockSpec(kind, 1, 4, 8, 4, 3, 1),
        BlockSpec(kind, 2, 4, 4, 4, 3, 1),
        BlockSpec(kind, 3, 4, 12, 6, 3, 2),
        BlockSpec("conv", 4, 6, 10, 10, 1, 1),
    )
    network = build_network(NetworkSpec((2, 9, 6), 3, blocks), generator(seed), [0.4, 0.5], [0.25, 0.2])
    with torch.no_grad():
        network.classifier.weight.normal_(generator=generator(seed + 1))
    return with_random_statistics(network, seed)


def spectrogram_network() -> Network:
    spec = spectrogram_spec()
    blocks = (*spec.blocks[:2], replace(spec.blocks[2], kernel_size=(5, 2), stride=(3, 1)), *spec.blocks[3:])
    return with_random_statistics(build_network(replace(spec, input_shape=(1, 25, 8), blocks=blocks), generator()))


def trained() -> Network:
    state = start_training(tiny_network(), TINY_TRAINING, generator())
    for _ in range(TINY_TRAINING.epochs):
        train_epoch(state, tiny_images(), TINY_TRAINING, ThreatModel(epsilon=0.05))
    return scored_network(state, tiny_images(), TINY_TRAINING)


def steepest_pairs(network: nn.Module, shape: tuple[int, ...], pairs: int = 16, steps: int = 40) -> Tensor:
    """‖f(x) − f(x')‖₂ / ‖x − x'‖₂ of pairs that start anywhere and near to each other, and climb the ratio."""
    g = generator(5)
    x = torch.rand(pairs, *shape, generator=g, dtype=torch.float64)
    reach = torch.logspace(-3, 0, pairs, dtype=torch.float64).view(-1, 1, 1, 1)
    other = x + reach * (torch.rand(x.shape, generator=g, dtype=torch.float64) - 0.5)
    x.requires_grad_()
    other.requires_grad_()
    optimizer = torch.optim.Adam([x, other], lr=0.02)
    ratios = []
    for _ in range(steps):
        optimizer.zero_grad()
        ratio = (network(x) - network(other)).norm(dim=1) / (x - other).flatten(1).norm(dim=1)
        ratios.append(ratio.detach())
        (-ratio.log().sum()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return torch.stack(ratios)


def jacobian_norms(network: nn.Module, shape: tuple[int, ...], count: int = 10) -> Tensor:
    """‖∂f/∂x‖₂ at random images."""
    images = torch.rand(count, *shape, generator=generator(6), dtype=torch.float64)
    jacobians = [torch.autograd.functional.jacobian(lambda x: network(x[None])[0], x).flatten(1) for x in images]
    return torch.linalg.matrix_norm(torch.stack(jacobians), ord=2)


@pytest.mark.parametrize("make", [
    *(pytest.param(lambda kind=kind, seed=seed: network_of(kind, seed), id=f"{kind}-{seed}")
      for kind in BLOCKS for seed in range(3)),
    pytest.param(tiny_network, id="tiny"),
    pytest.param(trained, id="trained"),
    pytest.param(spectrogram_network, id="spectrogram"),
])  # fmt: skip
def test_no_pair_of_images_exceeds_the_certificate(make: object) -> None:
    network: Network = make()  # type: ignore[operator]
    bound = 10 ** certified_lipschitz(network).log10
    network.eval().double()
    shape = network.spec.input_shape
    slopes, tangents = steepest_pairs(network, shape), jacobian_norms(network, shape)
    found = max(slopes.max().item(), tangents.max().item())
    print(f"certified {bound:.3g}, steepest slope {slopes.max().item():.3g}, tangent {tangents.max().item():.3g}")
    assert slopes[-1].max() > 1.2 * slopes[0].median(), "the search for steep pairs climbed nothing"
    assert 0 < found <= bound


@pytest.mark.parametrize(
    "make",
    [*(pytest.param(partial(network_of, kind), id=kind) for kind in BLOCKS), spectrogram_network],
)
def test_the_norm_of_every_layer_is_the_one_of_the_modules(make: Callable[[], Network]) -> None:
    network = make().eval().double()
    certified = [norm for factor in certified_lipschitz(network).factors[1:-2] for _, norm in factor.norms]
    pairs, modules = [], list(network.features.modules())
    for conv, norm in pairwise(modules):
        if isinstance(conv, nn.Conv2d):
            conv.register_forward_hook(
                lambda conv, inputs, _, norm=norm: pairs.append((conv, norm, inputs[0].shape[1:]))
            )
    network(torch.zeros(1, *network.spec.input_shape, dtype=torch.float64))
    assert len(certified) == len(pairs)
    for found, (conv, norm, shape) in zip(certified, list(pairs), strict=True):
        units = torch.eye(shape.numel(), dtype=torch.float64).view(-1, *shape)
        rows = (norm(conv(units)) - norm(conv(0 * units))).flatten(1)
        exact = torch.linalg.matrix_norm(rows, ord=2).item()
        assert exact <= found <= 1.2 * exact


def test_the_certificate_of_a_chain_by_hand_is_attained() -> None:
    blocks = (BlockSpec("conv", 0, 2, 1, 1, 1, 1), BlockSpec("conv", 1, 1, 1, 1, 1, 1))
    network = build_network(NetworkSpec((2, 4, 4), 2, blocks), generator(), [0.0, 0.0], [0.5, 0.25])
    with torch.no_grad():
        network.features[0][0].weight.copy_(torch.tensor([0.0, 3.0]).view(1, 2, 1, 1))
        network.features[1][0].weight.fill_(0.25)
        network.classifier.weight.copy_(torch.tensor([[3.0], [4.0]]))
    bound = certified_lipschitz(network)
    # std 0.25: 4; kernels 3 and 0.25; mean of 16 pixels: 1/4; classifier: 5
    assert 10**bound.log10 == pytest.approx(4 * 3 * 0.25 * 0.25 * 5, rel=1e-4)
    assert [factor.value for factor in bound.factors] == pytest.approx([4, 3, 0.25, 0.25, 5], rel=1e-4)
    assert bound.dominant.name == "classifier"
    x = torch.full((1, 2, 4, 4), 0.1)
    step = torch.tensor([0.0, 0.1]).view(1, 2, 1, 1).expand_as(x)
    slope = (network.eval()(x + step) - network(x)).norm() / step.norm()
    assert slope.item() == pytest.approx(10**bound.log10, rel=1e-4)


def test_the_certificate_of_a_residual_by_hand_is_attained() -> None:
    block = BlockSpec("inverted_residual", 0, 1, 1, 1, 3, 1)
    network = build_network(NetworkSpec((1, 6, 5), 2, (block,)), generator())
    (depthwise, norm, _), pointwise, _ = network.features[0].conv
    with torch.no_grad():
        depthwise.weight.zero_()[0, 0, 1, 1] = 2.0
        norm.bias.fill_(3.0)  # the middle of ReLU6
        pointwise.weight.fill_(1.5)
        network.classifier.weight.copy_(torch.tensor([[3.0], [4.0]]))
    wanted = (1 + 2 * 1.5) * 30**-0.5 * 5
    assert 10 ** certified_lipschitz(network).log10 == pytest.approx(wanted, rel=1e-4)
    x = torch.full((1, 1, 6, 5), 0.1)
    slope = (network.eval()(x + 0.1) - network(x)).norm() / (0.1 * 30**0.5)
    assert slope.item() == pytest.approx(wanted, rel=1e-4)


def test_a_residual_adds_one_to_the_norm_of_its_branch() -> None:
    network = network_of("inverted_residual")
    bound = certified_lipschitz(network)
    with_residual = bound.factors[2]
    assert with_residual.residual
    product = 1.0
    for _, norm in with_residual.norms:
        product *= norm
    assert with_residual.value == 1 + product
    with torch.no_grad():
        network.features[1].conv[-1].weight.zero_()  # the branch's last batch-norm
    assert certified_lipschitz(network).factors[2].value == pytest.approx(1)


def test_the_certificate_of_a_projection_by_hand_is_attained() -> None:
    block = BlockSpec("resnet", 0, 1, 1, 2, 1, 2)
    network = build_network(NetworkSpec((1, 4, 6), 2, (block,)), generator())
    block_module = network.features[0]
    with torch.no_grad():
        block_module.projection[0].weight.copy_(torch.tensor([3.0, 4.0]).view(2, 1, 1, 1))
        block_module.conv[0][0].weight.fill_(2.0)
        block_module.conv[1].weight.copy_(torch.tensor([0.3, 0.4]).view(2, 1, 1, 1))
        network.classifier.weight.copy_(torch.tensor([[6.0, 8.0], [0.0, 0.0]]))
    bound = certified_lipschitz(network)
    # Both branches point along (3, 4), as the classifier does: 5 + 2 · 0.5; the mean of 2 × 3 pixels; 10
    assert bound.factors[1].value == pytest.approx(5 + 2 * 0.5, rel=1e-4)
    assert [kind for kind, _ in bound.factors[1].norms] == ["projection", "convolution", "pointwise"]
    wanted = 6 * 6**-0.5 * 10
    assert 10**bound.log10 == pytest.approx(wanted, rel=1e-4)
    x = torch.zeros(1, 1, 4, 6)
    step = torch.zeros_like(x)
    step[:, :, ::2, ::2] = 0.1
    slope = (network.eval()(x + 0.5 * step + 0.1) - network(x + 0.1)).norm() / (0.5 * step).norm()
    assert slope.item() == pytest.approx(wanted, rel=1e-4)


def test_a_projection_adds_its_norm_to_the_one_of_the_branch() -> None:
    network = network_of("resnet")
    factor = certified_lipschitz(network).factors[4]
    (kind, added), *norms = factor.norms
    assert (kind, factor.residual) == ("projection", False)
    assert factor.value == pytest.approx(added + prod(norm for _, norm in norms))
    with torch.no_grad():
        network.features[3].conv[-1].weight.zero_()  # the branch's last batch-norm
    assert certified_lipschitz(network).factors[4].value == pytest.approx(added)
    penalty = spectral_penalty(network.double()).item()
    assert penalty == pytest.approx(certified_lipschitz(network).log10 * log(10), abs=20 * SLACK)


def test_the_bound_is_the_product_of_its_factors_and_the_exponential_of_the_penalty() -> None:
    network = network_of("inverted_residual")
    bound = certified_lipschitz(network)
    assert bound.log10 == pytest.approx(sum(log10(factor.value) for factor in bound.factors))
    assert bound.log10 * log(10) == pytest.approx(spectral_penalty(network.double()).item(), abs=20 * SLACK)
    assert bound.log10 * log(10) > spectral_penalty(network).item(), "the slack goes upward"


def test_scaling_a_kernel_and_its_variance_together_changes_nothing() -> None:
    network = network_of("inverted_residual")
    before = certified_lipschitz(network)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_var.copy_(16 * (module.running_var + module.eps) - module.eps)
            if isinstance(module, nn.Conv2d):
                module.weight.mul_(4)
    assert certified_lipschitz(network).log10 == pytest.approx(before.log10, abs=1e-5)


def test_the_certificate_speaks_of_eval_mode_and_changes_nothing() -> None:
    network = network_of("inverted_residual").train()
    before = copy.deepcopy(network.state_dict())
    found = certified_lipschitz(network)
    assert isinstance(found, CertifiedBound)
    assert all(module.training for module in network.modules())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
        assert tensor.dtype == before[name].dtype
    assert certified_lipschitz(network.eval()) == found


def test_a_dead_layer_has_a_finite_bound() -> None:
    network = tiny_network()
    with torch.no_grad():
        network.classifier.weight.zero_()
    assert -400 < certified_lipschitz(network).log10 < -250


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_have_no_certificate(value: float) -> None:
    network = tiny_network()
    with torch.no_grad():
        network.features[1].conv[0][0].weight[0] = value
    with pytest.raises(ValueError, match="not finite"):
        certified_lipschitz(network)


def test_a_network_of_unknown_layers_has_no_certificate() -> None:
    with pytest.raises(ValueError, match="not made of convolution"):
        certified_lipschitz(Broken(tiny_network(), lambda logits: 2 * logits))
