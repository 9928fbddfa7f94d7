"""The averaged weights and the batch-norm statistics, by hand."""

import pytest
import torch
from torch import nn

from nas.training.averaging import Tensors, keep_of, reestimate_batch_norm_, update_average_
from tests.builders import generator, tiny_network


def test_the_average_follows_its_formula_for_several_steps() -> None:
    average, network = tiny_network(0), tiny_network(1)
    expected = [p.detach().clone().double() for p in average.parameters()]
    for step in range(30):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(0.9).add_(0.01)
        keep = min(0.7, (1 + step) / (10 + step))
        expected = [keep * e + (1 - keep) * p.detach() for e, p in zip(expected, network.parameters(), strict=True)]
        update_average_(Tensors.of(average), Tensors.of(network), torch.tensor(1 - keep_of(0.7, step)))
    for found, wanted in zip(average.parameters(), expected, strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("step", "decay", "keep"),
    [(0, 0.995, 0.1), (8, 0.995, 0.5), (17, 0.5, 0.5), (10_000, 0.995, 0.995), (0, 0.05, 0.05)],
)
def test_early_steps_decay_faster(step: int, decay: float, keep: float) -> None:
    average, network = nn.Linear(1, 1, device="meta").to_empty(device="cpu"), None
    network = nn.Linear(1, 1, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        average.weight.fill_(1.0)
        network.weight.fill_(0.0)
    update_average_(Tensors.of(average), Tensors.of(network), torch.tensor(1 - keep_of(decay, step)))
    assert average.weight.item() == pytest.approx(keep)


def test_buffers_are_copied_and_the_network_is_left_alone() -> None:
    average, network = tiny_network(0), tiny_network(1)
    network(torch.rand(4, 1, 8, 8, generator=generator()))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    update_average_(Tensors.of(average), Tensors.of(network), torch.tensor(0.4))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    for kept, live in zip(average.buffers(), network.buffers(), strict=True):
        assert torch.equal(kept, live)


def first_norm(network: nn.Module) -> nn.BatchNorm2d:
    return next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d))


def test_reestimated_statistics_are_those_of_all_images() -> None:
    # Equal batches: the mean of the batch means is the mean over all images; the variance is the mean of the
    # (unbiased) variances within the batches, as PyTorch's running variance is.
    network = tiny_network()
    x = torch.rand(24, 1, 8, 8, generator=generator(1))
    maps = network.features[0][0](x).detach()  # input of the first batch-norm: (24, C, 8, 8)
    reestimate_batch_norm_(network, list(x.split(8)))
    norm = first_norm(network)
    torch.testing.assert_close(norm.running_mean, maps.mean((0, 2, 3)), rtol=1e-4, atol=1e-6)
    within = torch.stack([part.transpose(0, 1).flatten(1).var(1) for part in maps.split(8)]).mean(0)
    torch.testing.assert_close(norm.running_var, within, rtol=1e-4, atol=1e-6)


def test_a_single_batch_gives_its_own_mean_and_variance_in_every_layer() -> None:
    network = tiny_network()
    x = torch.rand(16, 1, 8, 8, generator=generator(1))
    inputs: dict[nn.Module, torch.Tensor] = {}
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_hook(lambda module, given, _: inputs.update({module: given[0]})) for norm in norms]
    reestimate_batch_norm_(network, [x])
    for hook in hooks:
        hook.remove()
    for norm in norms:
        maps = inputs[norm].transpose(0, 1).flatten(1)
        torch.testing.assert_close(norm.running_mean, maps.mean(1), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.running_var, maps.var(1), rtol=1e-4, atol=1e-5)


def test_earlier_statistics_are_forgotten() -> None:
    x = torch.rand(16, 1, 8, 8, generator=generator(1))
    fresh, used = tiny_network(), tiny_network()
    for _ in range(5):
        used(3 * x)
    for network in (fresh, used):
        reestimate_batch_norm_(network, [x])
    assert torch.equal(first_norm(fresh).running_mean, first_norm(used).running_mean)
    assert torch.equal(first_norm(fresh).running_var, first_norm(used).running_var)


def test_modes_momentum_weights_and_gradients_are_as_before() -> None:
    network = tiny_network().eval()
    norm = first_norm(network).train()
    norm.momentum = 0.03
    modes = [module.training for module in network.modules()]
    weights = [parameter.detach().clone() for parameter in network.parameters()]
    reestimate_batch_norm_(network, [torch.rand(4, 1, 8, 8, generator=generator())])
    assert [module.training for module in network.modules()] == modes
    assert norm.momentum == 0.03
    assert all(torch.equal(old, new) for old, new in zip(weights, network.parameters(), strict=True))
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())


def test_without_batches_the_statistics_stay() -> None:
    network = tiny_network()
    network(torch.rand(4, 1, 8, 8, generator=generator()))
    before = first_norm(network).running_mean.clone()
    reestimate_batch_norm_(network, [])
    assert torch.equal(first_norm(network).running_mean, before)
