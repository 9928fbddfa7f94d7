"""The fast passes walk what is exactly known; anything that changes a module is left to autograd, which sees it."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils.hooks import RemovableHandle

from nas.attacks import Pgd
from nas.attacks.threat import ThreatModel
from nas.evaluation import EvaluationSettings
from nas.evaluation.certified import certified_lipschitz
from nas.evaluation.evaluate import score
from nas.networks.backprop import forward_of
from nas.networks.layer import layers_of
from nas.networks.view import AutogradView, FoldedView, view_of
from nas.training import Training
from nas.training.loop import start_training, train_epoch
from nas.training.settings import InnerAttack
from search_spaces import BlockSpec
from search_spaces.network import Network
from tests.builders import TINY_LADDER, generator, network_of, tiny_images

Change = Callable[[Network], Any]
PLACES: dict[str, Callable[[Network], nn.Module]] = {
    "network": lambda network: network,
    "normalization": lambda network: network.normalization,
    "features": lambda network: network.features,
    "block": lambda network: network.features[1],
    "nested": lambda network: network.features[1].conv[0],
    "convolution": lambda network: network.features[1].conv[1][0],
    "batch-norm": lambda network: network.features[0][1],
    "activation": lambda network: network.features[0][2],
    "classifier": lambda network: network.classifier,
}
HOOKS: dict[str, Callable[[nn.Module], RemovableHandle]] = {
    "forward": lambda m: m.register_forward_hook(lambda module, given, out: 2 * out),
    "forward pre": lambda m: m.register_forward_pre_hook(lambda module, given: (2 * given[0],)),
    "forward pre with keywords": lambda m: m.register_forward_pre_hook(
        lambda module, given, named: ((2 * given[0],), named), with_kwargs=True
    ),
    "backward": lambda m: m.register_full_backward_hook(lambda module, given, out: (2 * given[0],)),
    "backward pre": lambda m: m.register_full_backward_pre_hook(lambda module, out: (2 * out[0],)),
}
GLOBAL_HOOKS: dict[str, Callable[[], RemovableHandle]] = {
    "forward": lambda: torch_module.register_module_forward_hook(lambda module, given, out: 2 * out),
    "forward pre": lambda: torch_module.register_module_forward_pre_hook(lambda module, given: (2 * given[0],)),
    "backward": lambda: torch_module.register_module_full_backward_hook(lambda m, given, out: (2 * given[0],)),
    "backward pre": lambda: torch_module.register_module_full_backward_pre_hook(lambda module, out: (2 * out[0],)),
}


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def conv_of(network: Network) -> nn.Conv2d:
    found: nn.Conv2d = network.features[1].conv[1][0]
    return found


def pruning_without_its_hook(network: Network) -> None:
    prune.random_unstructured(conv_of(network), "weight", amount=0.5)
    conv_of(network)._forward_pre_hooks.clear()


def a_weight_in_two_places(network: Network) -> None:
    network.features[2].conv[1][0].weight = conv_of(network).weight


def a_statistic_in_two_places(network: Network) -> None:
    network.features[2].conv[1][1].running_mean = network.features[1].conv[1][1].running_mean


def a_layer_in_two_places(network: Network) -> None:
    network.features[2].conv[1] = network.features[1].conv[1]


def forward_of_an_object(network: Network) -> None:
    conv = conv_of(network)
    plain = conv.forward
    conv.forward = lambda x: 2 * plain(x)  # type: ignore[method-assign]


def another_limit(network: Network) -> None:
    network.features[0][2].max_val = 0.5


def no_shortcut(network: Network) -> None:
    network.features[1].adds_input = False


def another_block(network: Network) -> None:
    network.features.append(nn.Sequential())


def another_normalisation(network: Network) -> None:
    network.normalization = nn.Identity()


def another_classifier(network: Network) -> None:
    network.classifier = nn.Sequential(network.classifier, nn.Softmax(1))


class HalfParameter(nn.Parameter):
    pass


def a_parameter_of_another_type(network: Network) -> None:
    conv_of(network).weight = HalfParameter(conv_of(network).weight.detach())


CHANGES: dict[str, Change] = {
    "parametrized convolution": lambda n: parametrize.register_parametrization(conv_of(n), "weight", Doubled()),
    "parametrized batch-norm": lambda n: parametrize.register_parametrization(n.features[0][1], "bias", Doubled()),
    "parametrized classifier": lambda n: parametrize.register_parametrization(n.classifier, "weight", Doubled()),
    "weight normalisation": lambda n: parametrizations.weight_norm(conv_of(n)),
    "pruned convolution": lambda n: prune.l1_unstructured(conv_of(n), "weight", amount=0.5),
    "pruned scale": lambda n: prune.l1_unstructured(n.features[0][1], "weight", amount=0.5),
    "pruned classifier": lambda n: prune.l1_unstructured(n.classifier, "weight", amount=0.5),
    "a dropout": lambda n: n.features[1].conv.append(nn.Dropout(0.0)),
    "a buffer of another name": lambda n: n.features[0][1].register_buffer("extra", torch.ones(1)),
} | {
    function.__name__.replace("_", " "): function
    for function in (
        pruning_without_its_hook, a_weight_in_two_places, a_statistic_in_two_places, a_layer_in_two_places,
        forward_of_an_object, another_limit, no_shortcut, another_block, another_normalisation, another_classifier,
        a_parameter_of_another_type,
    )
}  # fmt: skip


BLOCKS = [BlockSpec("inverted_residual", 1, 4, 8, 4, 3, 1)] * 2


def plain_network(channels: int = 3) -> Network:
    network = network_of(BLOCKS, 8, channels)
    for module in network.modules():
        if isinstance(module, nn.ReLU6):
            module.inplace = False  # torch refuses backward hooks before a change in place
    return network


def assert_left_to_autograd(network: Network) -> None:
    """View and training pass give what the module itself gives."""
    assert layers_of(network) is None
    x = torch.rand(4, 3, 8, 8, generator=generator(3))
    view = view_of(network)
    assert isinstance(view, AutogradView)
    inputs = x.clone().requires_grad_()
    logits = network.eval()(inputs)
    (gradient,) = torch.autograd.grad(logits.sum(), inputs)
    found, ascent = view.gradient(x, torch.ones_like)
    torch.testing.assert_close(found, logits.detach())
    torch.testing.assert_close(ascent, gradient)
    network.train()
    torch.testing.assert_close(forward_of(network)(x)[0], network(x))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_anywhere_is_seen(hook: str, place: str) -> None:
    network = plain_network()
    handle = HOOKS[hook](PLACES[place](network))
    assert_left_to_autograd(network)
    handle.remove()
    assert isinstance(view_of(network), FoldedView)


@contextmanager
def removed(handle: RemovableHandle) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.parametrize("hook", GLOBAL_HOOKS)
def test_a_hook_of_all_modules_is_seen(hook: str) -> None:
    network = plain_network()
    with removed(GLOBAL_HOOKS[hook]()):
        assert_left_to_autograd(network)
    assert isinstance(view_of(network), FoldedView)


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_type_alone_does_not_tell_is_seen(name: str) -> None:
    network = plain_network()
    with torch.random.fork_rng(devices=[]):  # some of these draw
        CHANGES[name](network)
    assert_left_to_autograd(network)


def test_hooks_of_state_dict_change_no_pass() -> None:
    network = plain_network()
    for module in network.modules():
        module.register_state_dict_post_hook(lambda module, state, prefix, metadata: None)
        module.register_state_dict_pre_hook(lambda module, prefix, keep: None)
        module.register_load_state_dict_pre_hook(lambda module, *_: None)
        module.register_load_state_dict_post_hook(lambda module, keys: None)
    assert isinstance(view_of(network), FoldedView)


def test_what_pruning_left_is_plain_again_when_it_is_made_permanent() -> None:
    network = plain_network()
    prune.l1_unstructured(conv_of(network), "weight", amount=0.5)
    prune.remove(conv_of(network), "weight")
    assert isinstance(view_of(network), FoldedView)
    assert (conv_of(network).weight == 0).float().mean() == pytest.approx(0.5, abs=0.1)


def test_a_pruned_network_is_scored_as_the_one_that_was_made_permanent() -> None:
    pruned = plain_network(channels=1)
    prune.l1_unstructured(conv_of(pruned), "weight", amount=0.5)
    permanent = plain_network(channels=1)
    prune.l1_unstructured(conv_of(permanent), "weight", amount=0.5)
    prune.remove(conv_of(permanent), "weight")
    settings = EvaluationSettings(attack=Pgd(steps=2), batch_size=20, ladder=TINY_LADDER)
    found, expected = (
        score(
            network, tiny_images(20, 5), ThreatModel(epsilon=0.05), settings, generator(), split_name="validation"
        ).evaluation
        for network in (pruned, permanent)
    )
    assert found.natural_accuracy == expected.natural_accuracy
    assert found.lipschitz_empirical == pytest.approx(expected.lipschitz_empirical, rel=1e-3)
    assert found.lipschitz_certified_log10 is None
    assert expected.lipschitz_certified_log10 is not None
    with pytest.raises(ValueError, match="not made of convolution"):
        certified_lipschitz(pruned)


def test_a_backward_hook_changes_what_training_learns() -> None:
    settings = Training(epochs=1, batch_size=20, attack=InnerAttack(steps=1), ema_decay=0, schedule="constant")
    threat = ThreatModel(epsilon=0.05)
    weights = []
    for hooked in (False, True):
        network = plain_network()
        if hooked:
            network.classifier.register_full_backward_hook(lambda module, given, out: (3 * given[0],))
        train_epoch(start_training(network, settings, generator()), tiny_images(20, 5, 3), settings, threat)
        weights.append(copy.deepcopy(network.state_dict()))
    assert not torch.allclose(weights[0]["features.0.0.weight"], weights[1]["features.0.0.weight"])
