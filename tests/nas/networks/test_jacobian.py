"""Penalties on Jacobians: against exact ones, known answers, finite differences and torch's double backward."""

import copy
import math
from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from nas.networks import jacobian
from nas.networks.jacobian import block_penalty, output_penalty
from nas.networks.treatments import TREATMENTS
from nas.networks.treatments.treatment import prepare_
from nas.networks.twice import cheap_twice
from search_spaces.network import Network
from tests.builders import (
    BLOCKS,
    Linear,
    generator,
    network_of,
    small_resnet,
    tiny_network,
    with_random_statistics,
    with_unknown_activation,
)

Penalty = Callable[[Network, Tensor, int, torch.Generator], Tensor]
PENALTIES: dict[str, Penalty] = {"outputs": output_penalty, "blocks": block_penalty}
each_penalty = pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)


def settled_network(seed: int = 0) -> Network:
    return with_random_statistics(tiny_network(seed, num_classes=4), seed).double()


def images(count: int, network: Network, seed: int = 0) -> Tensor:
    return torch.rand((count, *network.spec.input_shape), generator=generator(seed), dtype=torch.float64)


def jacobian_of(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Jacobian (outputs, inputs) of `function` at one image `x` (1, …), an output at a time."""
    x = x.detach().requires_grad_()
    rows = [torch.autograd.grad(y, x, retain_graph=True)[0].flatten() for y in function(x).flatten()]
    return torch.stack(rows)


def with_statistics_of(x: Tensor, network: Network) -> Network:
    """Copy of `network` in eval mode whose running statistics are those of the batch `x`."""
    copied = copy.deepcopy(network).eval()

    def adopt(norm: nn.Module, given: tuple[Tensor]) -> None:
        norm.running_var, norm.running_mean = torch.var_mean(given[0].detach(), (0, 2, 3), correction=0)

    hooks = [one.register_forward_pre_hook(adopt) for one in copied.modules() if isinstance(one, nn.BatchNorm2d)]
    copied(x)
    for hook in hooks:
        hook.remove()
    return copied


class Recorded(nn.Module):
    """Batch-norm by plain operations. It takes statistics from its first call, and uses them in the second."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.taken: list[tuple[Tensor, Tensor]] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.taken:
            variance, mean = self.taken.pop()
        else:
            variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
            self.taken.append((variance, mean))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (x - mean[:, None, None]) * scale[:, None, None] + self.bias[:, None, None]


def spread_of(gram: Tensor) -> float:
    """Variance of d/2 · vᵀ A v for v on the unit sphere of R^d, A = J Jᵀ: (d/2)² · 2 (tr A² − (tr A)²/d) / d(d + 2)."""
    d, trace = len(gram), gram.trace()
    return float(d / (2 * (d + 2)) * (gram.square().sum() - trace**2 / d))


def linear(weight: Tensor) -> Linear:
    return Linear(weight, torch.zeros(len(weight), dtype=weight.dtype), 3)


def test_of_a_linear_network_it_is_half_the_squared_norm_of_its_weights() -> None:
    rows = nn.init.orthogonal_(torch.empty(4, 9, dtype=torch.float64), generator=generator())
    x = torch.rand(6, 1, 3, 3, dtype=torch.float64, generator=generator(1))
    network = linear(3 * rows)  # all directions alike: every projection is exact
    found = output_penalty(network, x, 1, generator(2))  # type: ignore[arg-type]
    assert found.item() == pytest.approx(0.5 * 4 * 9)
    (gradient,) = torch.autograd.grad(output_penalty(network, x, 100, generator(2)), network.weight)  # type: ignore[arg-type]
    torch.testing.assert_close(gradient, network.weight.detach(), atol=0.3, rtol=0)  # ∂ ½‖W‖² = W


@pytest.mark.parametrize("rank", [1, 4])
def test_one_projection_has_the_variance_of_the_sphere_and_n_have_its_nth_part(rank: int) -> None:
    weight = torch.randn(10, rank, generator=generator(), dtype=torch.float64) @ torch.randn(
        rank, 9, generator=generator(1), dtype=torch.float64
    )
    network, x, g = linear(weight), torch.zeros(1, 1, 3, 3, dtype=torch.float64), generator(2)
    exact, variance = 0.5 * weight.square().sum().item(), spread_of(weight @ weight.T)
    for projections in (1, 4):
        drawn = torch.stack([output_penalty(network, x, projections, g).detach() for _ in range(400)])  # type: ignore[arg-type]
        expected = math.sqrt(variance / projections)
        assert drawn.mean().item() == pytest.approx(exact, abs=4 * expected / math.sqrt(400))
        assert drawn.std().item() == pytest.approx(expected, rel=0.2)
    if rank == 1:  # the worst case: √(2 (K − 1) / (K + 2)), 1.22 for ten classes
        assert math.sqrt(variance) / exact == pytest.approx(math.sqrt(18 / 12))


@pytest.mark.parametrize(
    ("penalty", "kind"), [(output_penalty, "tiny"), (output_penalty, "bent"), (block_penalty, "resnet")]
)
def test_it_is_the_exact_jacobian_on_average(penalty: Penalty, kind: str) -> None:
    network = small_resnet(5).double() if kind == "resnet" else settled_network()
    network = with_unknown_activation(network) if kind == "bent" else network
    x, draws = images(2, network), 60
    adopted = with_statistics_of(x, network)
    exact = variance = 0.0
    for given in x.split(1):
        for block in [adopted] if penalty is output_penalty else jacobian._blocks(adopted):
            rows, d = jacobian_of(block, given), block(given).numel()
            share = 1 if penalty is output_penalty else d
            exact += 0.5 * rows.square().sum().item() / share / 2
            variance += spread_of(rows @ rows.T) / share**2 / 4
            given = block(given).detach()
    assert penalty is output_penalty or torch.equal(given, adopted(x[1:]))
    found, within = penalty(network, x, draws, generator()).item(), 4 * math.sqrt(variance / draws)
    assert found == pytest.approx(exact, abs=within)
    assert within < 0.35 * exact, "the interval says something"


@each_penalty
@pytest.mark.parametrize("kind", ["relu6", "gelu"])
def test_its_gradient_is_the_one_of_finite_differences(penalty: Penalty, kind: str) -> None:
    network, step = settled_network(), 1e-8  # across the border of a ReLU6, a Jacobian jumps
    if kind == "gelu":
        network = with_unknown_activation(network)
    x = images(5, network)
    penalty(network, x, 2, generator(3)).backward()  # type: ignore[no-untyped-call]
    reached = [p for p in network.parameters() if p.grad is not None and p.grad.abs().max() > 0]
    assert {p.dim() for p in reached} == {1, 2, 4}, "kernels, scales of batch-norm and the classifier"
    for seed in range(3):
        directions = [torch.randn(p.shape, generator=generator(seed), dtype=p.dtype) for p in reached]
        slope = sum(float((p.grad * d).sum()) for p, d in zip(reached, directions, strict=True))
        values = []
        for sign in (1, -2, 1):  # ahead, behind, back again
            with torch.no_grad():
                torch._foreach_add_(reached, directions, alpha=sign * step)
            values.append(penalty(network, x, 2, generator(3)).item())
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=1e-4, abs=1e-6)


@each_penalty
@pytest.mark.parametrize("name", ["all kinds", "resnets in a row", "conv 1x1, stride 2", "inverted 1x3, stride 1x2"])
def test_values_and_gradients_are_those_of_torch(penalty: Penalty, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of(BLOCKS[name]).double()
    assert_as_torch(penalty, network, monkeypatch)


@each_penalty
def test_values_and_gradients_are_those_of_torch_with_activations_and_layers_of_other_kinds(
    penalty: Penalty, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = with_unknown_activation(settled_network())
    channels = network.features[2].conv[0][0].weight.shape[:2]
    dilated = nn.utils.skip_init(nn.Conv2d, channels[1], channels[0], 3, 1, 2, 2, dtype=torch.float64)
    for values in dilated.parameters():
        nn.init.normal_(values, generator=generator(6))
    network.features[2].conv[0][0] = dilated
    network.features[1].conv[0][1] = nn.Identity()
    assert_as_torch(penalty, network, monkeypatch)


def assert_as_torch(penalty: Penalty, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against statistics from a first forward pass, of images that nothing is differentiated by."""
    x = images(3, network)
    plain = copy.deepcopy(network)
    for block in list(plain.modules()):
        for name, module in block.named_children():
            if isinstance(module, nn.BatchNorm2d):
                setattr(block, name, Recorded(module))
    found = []
    for own, cheap in ((network, cheap_twice), (plain, nullcontext)):
        monkeypatch.setattr(jacobian, "cheap_twice", cheap)
        if own is plain:
            own(x)
        value = penalty(own, x, 2, generator(4))
        parameters = [parameter for _, parameter in sorted(own.named_parameters())]
        found.append((value, *torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)))
    assert found[0][0] > 0
    for ours, torchs in zip(*found, strict=True):
        torch.testing.assert_close(ours, torchs, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("mode", ["ours", "training"])
def test_no_image_sees_another(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the pixels of one image, the logits of the others have no gradient, as they have in training mode."""
    seen = []

    def kept(outputs: Tensor, inputs: Tensor, *_: object) -> Tensor:
        (gradient,) = torch.autograd.grad(outputs[0].square().sum(), inputs, create_graph=True)
        seen.append(gradient.abs().amax((1, 2, 3)) > 1e-12)
        return gradient.sum()

    monkeypatch.setattr(jacobian, "_squared_gain", kept)
    if mode == "training":
        monkeypatch.setattr(jacobian, "eval_mode", lambda network: nullcontext())
    network = settled_network().train()
    output_penalty(network, images(4, network), 1, generator(5))
    assert seen[0].tolist() == [True, *[mode == "training"] * 3]


def test_a_kernel_before_batch_norm_gains_nothing_by_shrinking() -> None:
    network = settled_network()
    penalty = output_penalty(network, images(4, network), 3, generator())
    for conv in (module for module in network.modules() if isinstance(module, nn.Conv2d)):
        (gradient,) = torch.autograd.grad(penalty, conv.weight, retain_graph=True)
        along = (gradient * conv.weight).sum((1, 2, 3))  # but for ε beside the variance
        assert along.abs().max() < 0.01 * gradient.norm() * conv.weight.norm()


@each_penalty
@pytest.mark.parametrize("treatments", [(), (TREATMENTS["frozen_zeros"](),)], ids=["plain", "treated"])
def test_the_network_and_its_statistics_stay_as_they_are(penalty: Penalty, treatments: tuple[object, ...]) -> None:
    network = settled_network()
    prepare_(network, treatments, generator())
    network.features[1].eval()  # a mode of its own
    modes = [module.training for module in network.modules()]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    x = images(3, network)
    penalty(network, x, 1, generator()).backward()  # type: ignore[no-untyped-call]
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not x.requires_grad
    assert x.grad is None
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_network_whose_logits_do_not_depend_on_the_pixels_has_none() -> None:
    network = settled_network()
    with torch.no_grad():
        network.classifier.weight.zero_()
    assert output_penalty(network, images(2, network), 1, generator()).item() == 0
