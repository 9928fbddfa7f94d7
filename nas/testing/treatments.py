"""What every treatment must keep: through training, average, attack, disk and resumption, on both paths.

Subclass, and give `registered`, `settings` and `holds`.
"""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nas.attacks.threat import ThreatModel
from nas.base.settings import Settings
from nas.networks.build import new_network, stored_network
from nas.networks.layer import is_walked
from nas.networks.stored import save_weights, tensors_of
from nas.networks.treatments import TREATMENTS
from nas.networks.treatments.treatment import prepare_
from nas.networks.view import view_of
from nas.testing.small import TINY_TRAINING, generator, tiny_images, tiny_network, torch_threads
from nas.training.loop import TrainingState, scored_network, start_training, train_epoch
from nas.training.settings import Training
from nas.training.stored import load_training, save_training
from search_spaces.network import Network

IMAGES, THREAT = tiny_images(40), ThreatModel(epsilon=0.05)


class TreatmentContract:
    """Inherit, and set `registered` to its name in a config and `settings` to an entry that does something."""

    registered: str
    settings: Settings

    def holds(self, network: Network) -> bool:
        """Whether `network` is as the treatment shall leave it."""
        raise NotImplementedError

    @pytest.fixture(params=["fast", "autograd"])
    def network(self, request: pytest.FixtureRequest) -> Network:
        """Treated, in training mode; on the autograd path, a block has an activation (SiLU) that no fast pass knows."""
        network = tiny_network()
        if request.param == "autograd":
            stem = network.features[0]
            assert isinstance(stem, nn.Sequential)
            stem[2] = nn.SiLU()
        prepare_(network, (self.settings,), generator(9))
        assert is_walked(network) == (request.param == "fast"), "a treatment's state does not decide the path"
        return network

    def test_its_name_is_its_own(self) -> None:
        assert TREATMENTS.get(self.registered, type(self.settings)) is type(self.settings)
        assert self.settings.model_dump()["name"] == self.registered

    @pytest.mark.parametrize(
        ("method", "ema_decay", "threads"),  # every method, and an average or none with one thread or two
        [("trades", 0.9, 1), ("trades", 0.0, 2), ("madry", 0.9, 2), ("natural", 0.0, 1)],
    )
    def test_it_holds_after_every_epoch_for_weights_average_attack_and_score(
        self, network: Network, method: str, ema_decay: float, threads: int
    ) -> None:
        chosen = TINY_TRAINING.model_copy(update={"method": method, "ema_decay": ema_decay})
        state = start_training(network, chosen, generator())
        with torch_threads(threads):
            for _ in range(chosen.epochs):
                train_epoch(state, IMAGES, chosen, THREAT)
                assert self.holds(network)
                assert state.average is None or self.holds(_network(state.average))
                scored = scored_network(state, IMAGES, chosen)
                assert self.holds(scored)
                _assert_alike(scored)
                network.eval()
                x = IMAGES.images.float() / 255
                assert torch.equal(state.view.logits(x), view_of(network).logits(x)), "the attack sees other weights"
                _assert_alike(network)
                network.train()

    @pytest.mark.parametrize(("method", "threads"), [("trades", 2), ("madry", 1), ("natural", 1)])
    def test_killed_and_resumed_it_ends_bit_for_bit(
        self, network: Network, method: str, threads: int, tmp_path: Path
    ) -> None:
        chosen = TINY_TRAINING.model_copy(update={"method": method})
        with torch_threads(threads):
            whole = self._trained(network, chosen)
            other = copy.deepcopy(network)
            state = start_training(other, chosen, generator())
            train_epoch(state, IMAGES, chosen, THREAT)
            save_training(tmp_path / "state", state, "it")
            again = start_training(copy.deepcopy(network), chosen, generator())
            load_training(tmp_path / "state", again, "it")
            train_epoch(again, IMAGES, chosen, THREAT)
        found = tensors_of(scored_network(again, IMAGES, chosen))
        for name, tensor in tensors_of(scored_network(whole, IMAGES, chosen)).items():
            assert torch.equal(found[name], tensor), name

    def test_the_round_trip_to_disk_is_bit_exact(self, tmp_path: Path) -> None:
        plain = tiny_network()
        network = new_network(plain.spec, generator(3), treatments=(self.settings,))
        scored = scored_network(self._trained(network, TINY_TRAINING), IMAGES, TINY_TRAINING)
        save_weights(tmp_path / "weights", scored)
        loaded = stored_network(plain.spec, tmp_path / "weights", (self.settings,))
        assert tensors_of(loaded).keys() == tensors_of(scored).keys()
        for name, tensor in tensors_of(scored).items():
            assert torch.equal(tensors_of(loaded)[name], tensor), name
        assert self.holds(loaded)
        x = IMAGES.images.float() / 255
        assert torch.equal(loaded(x), scored(x))
        assert torch.equal(view_of(loaded).logits(x), view_of(scored).logits(x))

    def test_weights_of_an_untreated_network_are_treated_when_training_starts(self, network: Network) -> None:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.fill_(0.5)  # as inherited weights would
        start_training(network, TINY_TRAINING, generator())
        assert self.holds(network)

    def test_it_draws_from_its_own_generator(self) -> None:
        spec = tiny_network().spec
        plain, treated = (new_network(spec, generator(3), treatments=of) for of in ((), (self.settings,)))
        other = new_network(spec, generator(4), treatments=(self.settings,))
        weight = plain.classifier.weight
        assert torch.equal(weight, treated.classifier.weight), "what it does not change is as without it"
        assert not torch.equal(weight, other.classifier.weight)

    def _trained(self, network: Network, chosen: Training) -> TrainingState:
        state = start_training(copy.deepcopy(network), chosen, generator())
        for _ in range(chosen.epochs):
            train_epoch(state, IMAGES, chosen, THREAT)
        return state


@torch.no_grad()
def _assert_alike(network: Network) -> None:
    """The view of `network` computes what it computes: in float64, where no value is rounded to another level."""
    exact = copy.deepcopy(network).double().eval()
    x = IMAGES.images.double() / 255
    torch.testing.assert_close(view_of(exact).logits(x), exact(x), rtol=1e-9, atol=1e-9)


def _network(module: nn.Module) -> Network:
    assert isinstance(module, Network)
    return module


def zero_channels(weight: Tensor) -> int:
    """Output channels of a kernel (O, I, k, k) whose weights are all zero."""
    return int((weight == 0).flatten(1).all(1).sum())
