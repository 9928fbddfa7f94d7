"""Pruning: which weights and channels go, when, and that a smaller network computes the same."""

from math import ceil, floor

import pytest
import torch
from torch import Tensor, nn

from nas.base.seeding import make_generator
from nas.measures.sparse import network_bytes, sparse_bytes
from nas.networks.build import new_network
from nas.networks.layer import kernel_of
from nas.networks.plain import plain_of
from nas.networks.shrunk import without_zero_channels
from nas.networks.treatments import Prune, Quantize
from nas.networks.treatments.prune import Pruner, lamp, largest
from nas.networks.treatments.treatment import after_step_, finish_, prepare_
from nas.networks.view import view_of
from nas.testing.small import TINY_TRAINING, generator, tiny_images, tiny_network
from nas.testing.treatments import THREAT, TreatmentContract
from nas.training.loop import scored_network, start_training, train_epoch
from search_spaces import BlockSpec, NetworkSpec
from search_spaces.network import Network
from search_spaces.pruned import pruned_spec

SPEC = NetworkSpec(
    (3, 8, 8), 4,
    (
        BlockSpec("conv", 0, 3, 8, 8, 3, 1),
        BlockSpec("inverted_residual", 1, 8, 8, 8, 3, 1),
        BlockSpec("inverted_residual", 2, 8, 24, 12, 3, 2),
        BlockSpec("residual", 3, 12, 16, 12, 3, 1),
        BlockSpec("resnet", 4, 12, 10, 14, 3, 2),
        BlockSpec("separable", 5, 14, 14, 16, 3, 1),
        BlockSpec("conv", 6, 16, 20, 20, 1, 1),
    ),
)  # fmt: skip


def at(progress: float) -> Tensor:
    return torch.tensor(progress)


def layers_of(network: Network) -> list[nn.Conv2d | nn.Linear]:
    return [part for part in network.modules() if isinstance(part, nn.Conv2d | nn.Linear)]


def zeros(network: Network) -> int:
    return sum(int((kernel_of(layer) == 0).sum()) for layer in layers_of(network))


def count(network: Network) -> int:
    return sum(layer.weight.numel() for layer in layers_of(network))


def pruner_of(network: Network) -> Pruner:
    return next(one for one in network.treatments if isinstance(one, Pruner))


class OfPruning(TreatmentContract):
    registered = "prune"

    def holds(self, network: Network) -> bool:
        assert isinstance(self.settings, Prune)
        pruner = pruner_of(network)
        if float(pruner.chosen) < self.settings.end:
            return float(pruner.chosen) >= self.settings.start or zeros(network) == 0
        if self.settings.of == "weights":
            return zeros(network) == floor(self.settings.sparsity * count(network) + 1e-9)
        return without_zero_channels(network).spec == pruned_spec(network.spec, self.settings.sparsity)


class TestMagnitude(OfPruning):
    settings = Prune(sparsity=0.75, start=0, end=0.5)


class TestScores(OfPruning):
    settings = Prune(sparsity=0.5, by="scores", start=0.2, end=0.6)


class TestChannels(OfPruning):
    settings = Prune(sparsity=0.5, of="channels", start=0, end=0.4)


def test_lamp_by_hand() -> None:
    weight = torch.tensor([[3.0, -1.0], [2.0, 0.0]])
    torch.testing.assert_close(lamp(weight), torch.tensor([[1.0, 1 / 14], [4 / 13, 0.0]]))


@pytest.mark.parametrize("hidden", [0.0, 0.05, 0.5, 0.9, 1.0])
def test_the_largest_of_several_tensors_are_exactly_as_many_as_asked(hidden: float) -> None:
    ranked = [torch.rand(3, 7, generator=generator(1)), torch.zeros(20), torch.rand(9, generator=generator(2))]
    masks = largest(ranked, hidden)
    assert sum(int(mask.sum()) for mask in masks) == max(50 - floor(hidden * 50), 3)
    assert all(mask.flatten()[tensor.argmax()] for tensor, mask in zip(ranked, masks, strict=True))
    for tensor, mask in zip(ranked, masks, strict=True):
        mask.view(-1)[tensor.argmax()] = False  # which stays in any case
    kept = torch.cat([tensor[mask] for tensor, mask in zip(ranked, masks, strict=True)])
    left = torch.cat([tensor[~mask] for tensor, mask in zip(ranked, masks, strict=True)])
    assert not len(kept) or hidden == 0 or kept.min() >= left.sort().values[:-3].max()


def test_values_below_zero_rank_by_their_size_too() -> None:
    (mask,) = largest([torch.tensor([-3.0, -1.0, -2.0, -4.0])], 0.5)
    assert mask.tolist() == [False, True, True, False]


def test_sparsity_follows_the_cubic_curve_and_stays() -> None:
    network = new_network(SPEC, generator(), treatments=(Prune(sparsity=0.8, start=0.2, end=0.6),))
    shares = []
    for progress in (0.0, 0.19, 0.3, 0.4, 0.5, 0.61, 1.0):
        after_step_(network, at(progress))
        shares.append(zeros(network) / count(network))
    wanted = [0.8 * (1 - (1 - (p - 0.2) / 0.4) ** 3) for p in (0.2, 0.2, 0.3, 0.4, 0.5)]
    assert shares == pytest.approx([*wanted, 0.8, 0.8], abs=1 / count(network))
    before = [layer.weight == 0 for layer in layers_of(network)]
    with torch.no_grad():
        for layer in layers_of(network):
            layer.weight.add_(1.0)
    after_step_(network, at(1.0))
    assert all(torch.equal(layer.weight == 0, was) for layer, was in zip(layers_of(network), before, strict=True))


def test_no_layer_disappears_at_95_percent() -> None:
    network = new_network(SPEC, generator(), treatments=(Prune(sparsity=0.95, start=0, end=0.1),))
    with torch.no_grad():
        layers_of(network)[3].weight.mul_(1e-6)  # of another scale than the rest
    after_step_(network, at(1.0))
    assert zeros(network) == floor(0.95 * count(network))
    assert all((layer.weight != 0).any() for layer in layers_of(network))


def test_a_training_that_ends_too_early_still_gives_the_whole_sparsity() -> None:
    network = new_network(SPEC, generator(), treatments=(Prune(sparsity=0.6),))
    after_step_(network, at(0.1))
    assert zeros(network) == 0
    finish_(network)
    assert zeros(network) == floor(0.6 * count(network))


def test_blocks_with_a_sparsity_of_their_own_have_it() -> None:
    blocks = tuple(BlockSpec(**{**vars(block), "sparsity": {2: 25, 6: 90}.get(block.row, -1)}) for block in SPEC.blocks)
    network = new_network(NetworkSpec(SPEC.input_shape, 4, blocks), generator(), treatments=(Prune(sparsity=0.5),))
    finish_(network)

    def share(module: nn.Module, *others: nn.Module) -> tuple[int, int]:
        parts = [p for one in (module, *others) for p in one.modules() if isinstance(p, nn.Conv2d | nn.Linear)]
        return sum(int((p.weight == 0).sum()) for p in parts), sum(p.weight.numel() for p in parts)

    second, whole = share(network.features[2])
    assert second == floor(0.25 * whole)
    head, whole = share(network.features[6], network.classifier)
    assert head == floor(0.9 * whole)
    rest, whole = share(*(network.features[index] for index in (0, 1, 3, 4, 5)))
    assert rest == floor(0.5 * whole)


def trained(settings: tuple[Prune | Quantize, ...], spec: NetworkSpec = SPEC) -> Network:
    network = new_network(spec, generator(4), treatments=settings)
    state = start_training(network, TINY_TRAINING, generator())
    images = tiny_images(40, num_classes=4, channels=3)
    for _ in range(TINY_TRAINING.epochs):
        train_epoch(state, images, TINY_TRAINING, THREAT)
    return scored_network(state, images, TINY_TRAINING)


@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("quantized", [False, True])
def test_a_network_without_its_pruned_channels_computes_the_same(sparsity: float, quantized: bool) -> None:
    more = (Quantize(weights=4, activations=8),) if quantized else ()
    network = trained((Prune(sparsity=sparsity, of="channels", start=0, end=0.5), *more)).double()
    smaller = without_zero_channels(network)
    assert smaller.spec == pruned_spec(SPEC, sparsity)
    assert smaller.spec != SPEC
    for block, module in zip(smaller.spec.blocks, smaller.features, strict=True):
        shapes = [tuple(part.weight.shape) for part in module.modules() if isinstance(part, nn.Conv2d)]
        assert shapes == [conv.weight_shape for conv in block.convolutions]
    x = tiny_images(12, num_classes=4, channels=3).inputs().double()
    torch.testing.assert_close(smaller(x), network(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(view_of(smaller).logits(x), network(x), rtol=1e-9, atol=1e-9)
    assert len(plain_of(smaller).steps) == len(plain_of(network).steps)
    assert without_zero_channels(smaller) is smaller


def test_a_network_without_zero_channels_is_itself() -> None:
    network = tiny_network()
    assert without_zero_channels(network) is network


def test_as_many_hidden_channels_as_inputs_are_avoided() -> None:
    spec = NetworkSpec((1, 8, 8), 2, (BlockSpec("inverted_residual", 1, 1, 2, 4, 3, 1),))
    assert [block.hidden_channels for block in pruned_spec(spec, 0.5).blocks] == [2]
    network = new_network(SPEC, generator(), treatments=(Prune(sparsity=0.67, of="channels", start=0, end=0.1),))
    finish_(network)
    assert without_zero_channels(network).spec.blocks[2].hidden_channels == 9, "8 of 24 would mean no expansion"


def test_scores_move_by_the_gradient_of_the_masked_weights_and_weights_stay() -> None:
    network = tiny_network()
    prepare_(network, (Prune(sparsity=0.5, by="scores", start=0, end=0.9),), generator())
    after_step_(network, at(0.0))
    pruner, layers = pruner_of(network), layers_of(network)
    dense = [pruner.get_buffer(f"dense_{index}").clone() for index in range(len(layers))]
    scores = [pruner.get_buffer(f"score_{index}").clone() for index in range(len(layers))]
    gradients = [torch.randn(layer.weight.shape, generator=generator(index)) for index, layer in enumerate(layers)]
    with torch.no_grad():
        for layer, gradient in zip(layers, gradients, strict=True):
            layer.weight.sub_(0.01 * gradient)  # of the loss by the masked weight
    after_step_(network, at(0.5))
    for index, layer in enumerate(layers):
        rise = pruner.get_buffer(f"score_{index}") - scores[index]
        torch.testing.assert_close(rise, -0.01 * gradients[index] * dense[index], rtol=1e-3, atol=1e-6)
        assert (scores[index] >= 0).all(), "what ranks high is large, of either sign"
        assert torch.equal(layer.weight, dense[index] * pruner.get_buffer(f"mask_{index}"))


def test_scores_are_learned_downhill_for_weights_of_either_sign() -> None:
    network = new_network(SPEC, generator(5), treatments=(Prune(sparsity=0.5, by="scores", start=0, end=1),))
    layer, pruner = network.classifier, pruner_of(network)
    after_step_(network, at(0.0))
    weight, mask = layer.weight.detach().clone(), layer.weight != 0
    useful = torch.zeros_like(weight, dtype=torch.bool)
    useful.view(-1)[::3] = True  # the loss falls where these are there, and rises with the others
    index = len(layers_of(network)) - 1
    for step in range(1, 40):
        sign = torch.where(useful, -1.0, 1.0) * pruner.get_buffer(f"dense_{index}").sign()
        with torch.no_grad():
            layer.weight.sub_(5.0 * sign)
        after_step_(network, at(step / 40))
    ranks = pruner.get_buffer(f"score_{index}")
    assert ranks[useful].min() > ranks[~useful].max()
    assert not torch.equal(layer.weight != 0, mask)
    assert (layer.weight[useful] < 0).any()


@pytest.mark.parametrize("of", ["weights", "channels"])
@pytest.mark.parametrize("by", ["magnitude", "l1"])
def test_what_is_pruned_stays_pruned_whatever_the_optimiser_makes_of_it(of: str, by: str) -> None:
    settings = Prune(sparsity=0.8, of=of, by=by, start=0, end=0.9)  # type: ignore[arg-type]
    network = new_network(SPEC, generator(), treatments=(settings,))
    pruner, before = pruner_of(network), dict[str, Tensor]()
    for step in range(1, 60):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter[parameter == 0] = 1e6  # as momentum, or a gradient through a variance of 0
        after_step_(network, at(step / 60))
        masks = {name: mask.clone() for name, mask in pruner.named_buffers() if name.startswith("mask")}
        assert all(not (mask & ~before[name]).any() for name, mask in masks.items() if before)
        before = masks


def test_l1_shrinks_what_stays() -> None:
    networks = [new_network(SPEC, generator(), treatments=(Prune(sparsity=0.5, by=by, start=0, end=0.1),))
                for by in ("magnitude", "l1")]  # type: ignore[arg-type]  # fmt: skip
    for network in networks:
        finish_(network)
    hard, soft = (torch.cat([layer.weight.flatten().abs() for layer in layers_of(network)]) for network in networks)
    kept = hard > 0
    assert (soft[kept] <= hard[kept]).all()
    assert soft.sum() < 0.99 * hard.sum()
    assert not soft[~kept].any()


@pytest.mark.parametrize(
    ("weight", "bits", "wanted"),
    [
        (torch.ones(8, 4), 8, 32),  # dense
        (torch.tensor([1.0] * 16 + [0.0] * 16).view(8, 4), 8, 1 + 16),  # four channels have no weight: a map of 8 bits
        (torch.eye(8), 32, ceil((32 + 6) * 8 / 8)),  # a list: 6 bits a place
        (torch.ones(16, 16).triu(), 8, ceil((256 + 8 * 136) / 8)),  # a bitmap: 136 of 256 weights
        (torch.zeros(8, 4, 3, 3), 8, 1 + 1),
    ],
    ids=["dense", "channels", "list", "bitmap", "nothing"],
)
def test_sparse_bytes_by_hand(weight: Tensor, bits: int, wanted: int) -> None:
    assert sparse_bytes(weight, bits) == wanted


def test_a_pruned_network_takes_fewer_bytes_and_no_more_than_dense() -> None:
    sizes = []
    for sparsity in (0.0, 0.5, 0.9, 0.95):
        network = new_network(SPEC, generator(), treatments=(Prune(sparsity=sparsity, start=0, end=0.1),))
        finish_(network)
        sizes.append(network_bytes(network))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[3] < sizes[0] / 4
    assert sizes[0] == 4 * count(network) + 4 * sum(len(layer.weight) for layer in layers_of(network))


def test_pruned_channels_take_no_bytes() -> None:
    network = new_network(SPEC, make_generator(0, "weights"), treatments=(Prune(sparsity=0.5, of="channels"),))
    finish_(network)
    assert network_bytes(network) == network_bytes(without_zero_channels(network))
