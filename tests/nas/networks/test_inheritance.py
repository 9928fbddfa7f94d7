"""Which weights a network takes over from a similar one, and which it keeps."""

from collections.abc import Iterator
from random import Random

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.attacks.threat import ThreatModel
from nas.networks.build import new_network
from nas.networks.inheritance import inherit
from nas.networks.treatments import Prune
from nas.networks.treatments.treatment import finish_
from nas.training.loop import scored_network, start_training, train_epoch
from search_spaces import BlockSpec, NetworkSpec
from search_spaces.network import Network, build_network
from tests.builders import TINY_TRAINING, generator, settled, tiny_images, tiny_space, with_random_statistics

STATISTICS = ("weight", "bias", "running_mean", "running_var")


def spec(stem: int, hidden: int, out: int, head: int = 6, kernel: int = 3) -> NetworkSpec:
    """A stem, an inverted bottleneck and a head, as the spaces build them."""
    blocks = (
        BlockSpec("conv", 0, 1, stem, stem, kernel, 1),
        BlockSpec("inverted_residual", 1, stem, hidden, out, 3, 1),
        BlockSpec("conv", 2, out, head, head, 1, 1),
    )
    return NetworkSpec((1, 8, 8), 3, blocks)


def parent_of(wanted: NetworkSpec, seed: int = 5) -> Network:
    """A network unlike a fresh one in every value."""
    network = with_random_statistics(settled(wanted), seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(generator=generator(seed + 1))
    return network


def fresh(wanted: NetworkSpec, seed: int = 9) -> Network:
    return build_network(wanted, generator(seed), [0.4], [0.3])


def both(wanted: NetworkSpec, parent: Network) -> tuple[dict[str, Tensor], dict[str, Tensor], float]:
    """Tensors of the child as it was built and after it has inherited, and the share of its parameters."""
    child = fresh(wanted)
    before = {name: tensor.clone() for name, tensor in child.state_dict().items()}
    share = inherit(child, parent.state_dict())
    return before, child.state_dict(), share


def learned(tensors: dict[str, Tensor]) -> Iterator[str]:
    return (name for name in tensors if not name.startswith("normalization") and "num_batches" not in name)


def test_an_equal_network_inherits_everything_and_gives_the_same_outputs() -> None:
    parent, child = parent_of(spec(4, 12, 6)), fresh(spec(4, 12, 6))
    assert inherit(child, parent.state_dict()) == 1
    x = torch.rand(5, 1, 8, 8, generator=generator())
    assert torch.equal(child.eval()(x), parent.eval()(x))
    assert all(p.requires_grad for p in child.parameters())


def test_a_narrower_network_is_the_first_channels_of_its_parent() -> None:
    parent = parent_of(spec(6, 18, 8, head=10))
    _, child, share = both(spec(4, 8, 6, head=7), parent)
    theirs = parent.state_dict()
    assert share == 1
    for name in learned(child):
        corner = tuple(map(slice, child[name].shape))
        assert torch.equal(child[name], theirs[name][corner]), name
    assert child["classifier.weight"].shape == (3, 7)


def test_a_wider_network_has_its_parent_in_the_corner_and_its_own_values_elsewhere() -> None:
    parent = parent_of(spec(4, 8, 6, head=7))
    before, child, share = both(spec(6, 18, 8, head=10), parent)
    theirs = parent.state_dict()
    for name in learned(child):
        corner = tuple(map(slice, theirs[name].shape))
        assert torch.equal(child[name][corner], theirs[name]), name
        outside = torch.ones_like(child[name], dtype=torch.bool)
        outside[corner] = False
        assert torch.equal(child[name][outside], before[name][outside]), name
    grown = sum(p.numel() for p in fresh(spec(6, 18, 8, head=10)).parameters())
    assert share == sum(p.numel() for p in parent.parameters()) / grown


@pytest.mark.parametrize(("ours", "theirs"), [(12, 4), (4, 12)], ids=["gains an expansion", "loses its expansion"])
def test_without_an_expansion_the_other_layers_of_a_block_correspond_by_their_role(ours: int, theirs: int) -> None:
    parent = parent_of(spec(4, theirs, 6))
    before, child, _ = both(spec(4, ours, 6), parent)
    mine, other = ((1 if hidden > 4 else 0) for hidden in (ours, theirs))  # where the depthwise convolution is
    found = parent.state_dict()
    depthwise = [(f"features.1.conv.{mine}.0.weight", f"features.1.conv.{other}.0.weight")]
    depthwise += [(f"features.1.conv.{mine}.1.{name}", f"features.1.conv.{other}.1.{name}") for name in STATISTICS]
    for name, its in depthwise:
        assert torch.equal(child[name][:4], found[its][:4]), name
        assert torch.equal(child[name][4:], before[name][4:]), name
    projection, its = f"features.1.conv.{mine + 1}.weight", f"features.1.conv.{other + 1}.weight"
    assert torch.equal(child[projection][:, :4], found[its][:, :4])
    assert torch.equal(child[projection][:, 4:], before[projection][:, 4:])
    for name in STATISTICS:
        assert torch.equal(child[f"features.1.conv.{mine + 2}.{name}"], found[f"features.1.conv.{other + 2}.{name}"])
    if mine:
        for name in ("0.weight", *(f"1.{name}" for name in STATISTICS)):
            assert torch.equal(child[f"features.1.conv.0.{name}"], before[f"features.1.conv.0.{name}"]), name


def test_kernels_of_another_size_are_not_taken_over() -> None:
    before, child, share = both(spec(4, 12, 6, kernel=5), parent_of(spec(4, 12, 6, kernel=3)))
    assert torch.equal(child["features.0.0.weight"], before["features.0.0.weight"])
    total = sum(p.numel() for p in fresh(spec(4, 12, 6, kernel=5)).parameters())
    assert share == (total - 4 * 25) / total


def test_any_two_networks_of_a_space_share_their_first_channels_and_nothing_else_changes() -> None:
    space, rng = tiny_space(), Random(0)
    for _ in range(20):
        parent = parent_of(space.spec(space.sample(rng)))
        before, child, share = both(space.spec(space.sample(rng)), parent)
        theirs = parent.state_dict()
        assert 0 < share <= 1
        for name in ("features.0.0.weight", "classifier.weight", "classifier.bias"):
            corner = tuple(slice(min(sizes)) for sizes in zip(child[name].shape, theirs[name].shape, strict=True))
            assert torch.equal(child[name][corner], theirs[name][corner]), name
        values = torch.cat([theirs[name].flatten() for name in learned(theirs)])
        for name in learned(child):
            changed = child[name] != before[name]
            assert torch.isin(child[name][changed], values).all(), f"{name} is neither the parent's nor its own"


def test_the_average_starts_from_the_inherited_weights() -> None:
    child = fresh(spec(6, 18, 8))
    inherit(child, parent_of(spec(4, 12, 6)).state_dict())
    state = start_training(child, TINY_TRAINING, generator())
    assert state.average is not None
    for own, averaged in zip(child.state_dict().values(), state.average.state_dict().values(), strict=True):
        assert torch.equal(own, averaged)


def test_batch_norm_is_estimated_anew_before_scoring() -> None:
    data = tiny_images(40, num_classes=3)
    scored = []
    for shift in (0.0, 100.0):
        child = fresh(spec(4, 12, 6))
        weights = {
            name: tensor + shift if "running" in name else tensor
            for name, tensor in parent_of(spec(4, 12, 6)).state_dict().items()
        }
        inherit(child, weights)
        state = start_training(child, TINY_TRAINING, generator())
        scored.append(scored_network(state, data, TINY_TRAINING).state_dict())
    for name in scored[0]:
        assert torch.equal(scored[0][name], scored[1][name]), "no statistic of the parent is left"


def test_a_child_is_pruned_as_it_is_asked_and_not_as_its_parent_was() -> None:
    def pruned(sparsity: float) -> Network:
        return new_network(spec(4, 12, 6), generator(), treatments=(Prune(sparsity=sparsity, start=0, end=0.1),))

    def share(network: Network) -> float:
        finish_(network)
        layers = [part.weight for part in network.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
        return sum(int((weight == 0).sum()) for weight in layers) / sum(weight.numel() for weight in layers)

    parent, child = pruned(0.3), pruned(0.8)
    assert share(parent) == pytest.approx(0.3, abs=0.01)
    inherit(child, parent.state_dict())
    assert share(child) == pytest.approx(0.8, abs=0.01)


def test_who_inherits_a_trained_network_begins_with_its_loss() -> None:
    data, threat = tiny_images(40, num_classes=3), ThreatModel(epsilon=0.05)
    state = start_training(fresh(spec(4, 12, 6)), TINY_TRAINING, generator())
    for _ in range(6):
        train_epoch(state, data, TINY_TRAINING, threat)
    parent = scored_network(state, data, TINY_TRAINING)
    x, y = data.images.float() / 255, data.labels

    def loss_of(wanted: NetworkSpec, heir: bool) -> float:
        child = fresh(wanted)
        if heir:
            inherit(child, parent.state_dict())
        own = scored_network(start_training(child, TINY_TRAINING, generator()), data, TINY_TRAINING)
        return F.cross_entropy(own(x), y).item()

    trained = F.cross_entropy(parent(x), y).item()
    assert loss_of(spec(4, 12, 6), heir=True) == pytest.approx(trained, rel=1e-4)
    for near in (spec(4, 12, 6, head=8), spec(4, 14, 6)):
        assert trained < loss_of(near, heir=True) < loss_of(near, heir=False)
