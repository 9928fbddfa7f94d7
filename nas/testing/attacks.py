"""What every attack must do, under every norm. Subclass, and give `registered` and `attack`."""

import copy
import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas.attacks.result import AttackResult
from nas.attacks.threat import ThreatModel
from nas.networks.view import view_of
from nas.testing.small import Broken, generator, tiny_network, torch_threads, with_unknown_activation
from search_spaces.network import Network

LABELS = torch.tensor([0, 3, 9, 5, 1, 1])


def predicted(network: nn.Module, x: Tensor) -> Tensor:
    """Labels that `network` gives the images in eval mode."""
    logits: Tensor = copy.deepcopy(network).eval()(x)
    return logits.argmax(1)


def flags(network: nn.Module) -> tuple[list[bool], list[bool]]:
    return [m.training for m in network.modules()], [p.requires_grad for p in network.parameters()]


class BrokenWhereBright(nn.Module):
    """Adds `hole` (K,) to the logits of images whose mean is above 0.72, which no perturbation here changes."""

    def __init__(self, network: nn.Module, hole: Tensor) -> None:
        super().__init__()
        self.network, self.hole = network, hole

    def forward(self, x: Tensor) -> Tensor:
        bright = x.mean((1, 2, 3)) > 0.72
        logits: Tensor = self.network(x)
        return logits + torch.where(bright[:, None], self.hole, 0.0)


class BrokenOffTheGrid(nn.Module):
    """Gives NaN logits to every image with a pixel that is no multiple of 1/8."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        off = ((8 * x).detach().round() != 8 * x.detach()).flatten(1).any(1)
        logits: Tensor = self.network(x)
        return logits.masked_fill(off[:, None], torch.nan)


class AttackContract:
    """Inherit, and set `registered` to its name in a config and `attack` to settings of few steps."""

    registered: str
    attack: Any
    images_are_independent = True
    """Whether the course of an image depends on nothing but the image and the generator."""
    moves_what_stands = True
    """Whether images that are not fooled come back perturbed."""

    @pytest.fixture(params=["linf", "l2"])
    def threat(self, request: pytest.FixtureRequest) -> ThreatModel:
        return ThreatModel(norm=request.param, epsilon=0.1 if request.param == "linf" else 1.0)

    @pytest.fixture
    def x(self) -> Tensor:
        images = torch.rand(6, 1, 8, 8, generator=generator(1))
        images[:, :, :4] = images[:, :, :4].round()  # half of the pixels on the border of the box
        return images

    @pytest.fixture
    def network(self) -> Network:
        """Training mode in some modules only, gradients of some parameters only."""
        network = tiny_network()
        for part in (network.features[1], network.get_submodule("features.2.conv.0")):
            part.eval()
        next(network.parameters()).requires_grad_(False)
        network.classifier.bias.requires_grad_(False)
        return network

    def run(self, network: nn.Module, x: Tensor, threat: ThreatModel, seed: int = 0) -> AttackResult:
        result: AttackResult = self.attack.run(network, x, LABELS, threat, generator(seed))
        return result

    def test_perturbations_stay_in_ball_and_box(self, network: nn.Module, x: Tensor, threat: ThreatModel) -> None:
        result = self.run(network, x, threat)
        assert result.adversarial.shape == x.shape
        assert result.adversarial.dtype == x.dtype
        assert (threat.distance(result.adversarial, x) <= threat.epsilon + 1e-6).all()
        assert result.adversarial.min() >= 0
        assert result.adversarial.max() <= 1

    def test_correctly_classified_images_are_moved(self, network: nn.Module, x: Tensor, threat: ThreatModel) -> None:
        result = self.attack.run(network, x, predicted(network, x), threat, generator())
        tried = torch.ones(6, dtype=torch.bool) if self.moves_what_stands else result.fooled
        least = 0.2 * threat.epsilon if self.moves_what_stands else 0
        assert (threat.distance(result.adversarial, x)[tried] > least).all(), "it hardly moved"

    def test_adversarial_images_of_fooled_ones_are_misclassified(
        self, network: nn.Module, x: Tensor, threat: ThreatModel
    ) -> None:
        labels = predicted(network, x)
        result = self.attack.run(network, x, labels, threat, generator())
        wrong = predicted(network, result.adversarial) != labels
        assert not (wrong & ~result.fooled).any()
        if self.registered not in ("pgd", "fgsm"):  # those give the last iterate, fooled or not
            assert torch.equal(wrong, result.fooled)

    def test_a_view_is_attacked_like_its_network(self, x: Tensor, threat: ThreatModel) -> None:
        network = tiny_network().eval()
        labels = predicted(network, x)
        one = self.attack.run(network, x, labels, threat, generator())
        other = self.attack.run(view_of(network), x, labels, threat, generator())
        assert torch.equal(one.adversarial, other.adversarial)
        assert torch.equal(one.fooled, other.fooled)

    def test_fooled_is_one_flag_per_image(self, network: nn.Module, x: Tensor, threat: ThreatModel) -> None:
        fooled = self.run(network, x, threat).fooled
        assert fooled.shape == (6,)
        assert fooled.dtype == torch.bool

    def test_modes_and_flags_are_as_before(self, network: nn.Module, x: Tensor, threat: ThreatModel) -> None:
        before = flags(network)
        assert True in before[0]
        assert False in before[0]
        self.run(network, x, threat)
        assert flags(network) == before

    def test_modes_and_flags_are_as_before_when_the_network_raises(
        self, network: nn.Module, x: Tensor, threat: ThreatModel
    ) -> None:
        broken = Broken(network, None)
        before = flags(broken)
        with pytest.raises(RuntimeError, match="the network broke"):
            self.run(broken, x, threat)
        assert flags(broken) == before

    def test_two_threads_attack_a_network_that_autograd_walks_as_one_does(
        self, network: Network, x: Tensor, threat: ThreatModel
    ) -> None:
        unknown = with_unknown_activation(network)
        before = flags(unknown)
        alone = self.run(unknown, x, threat)
        with torch_threads(2):
            shared = self.run(unknown, x, threat)
            assert torch.get_num_threads() == 2
        torch.testing.assert_close(shared.adversarial, alone.adversarial, rtol=1e-4, atol=1e-5)
        assert torch.equal(shared.fooled, alone.fooled)
        assert flags(unknown) == before

    def test_weights_and_statistics_are_untouched(self, network: nn.Module, x: Tensor, threat: ThreatModel) -> None:
        before = copy.deepcopy(network.state_dict())
        self.run(network, x, threat)
        assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
        assert all(parameter.grad is None for parameter in network.parameters())

    def test_existing_gradients_are_kept(self, network: Network, x: Tensor, threat: ThreatModel) -> None:
        weight = network.classifier.weight
        weight.grad = torch.full_like(weight, 2.0)
        self.run(network, x, threat)
        assert torch.equal(weight.grad, torch.full_like(weight, 2.0))

    def test_the_images_are_untouched_and_the_result_carries_no_graph(
        self, network: nn.Module, x: Tensor, threat: ThreatModel
    ) -> None:
        before = x.clone()
        result = self.run(network, x, threat)
        assert torch.equal(x, before)
        assert not x.requires_grad
        assert not result.adversarial.requires_grad
        assert result.adversarial.grad_fn is None

    def test_one_generator_state_gives_one_result(self, network: nn.Module, x: Tensor, threat: ThreatModel) -> None:
        first, again = self.run(network, x, threat, 4), self.run(network, x, threat, 4)
        assert torch.equal(first.adversarial, again.adversarial)
        assert torch.equal(first.fooled, again.fooled)

    def test_a_network_in_training_mode_is_attacked_in_eval_mode(self, x: Tensor, threat: ThreatModel) -> None:
        network = tiny_network()
        training = self.run(network.train(), x, threat)
        evaluating = self.run(network.eval(), x, threat)
        assert torch.equal(training.adversarial, evaluating.adversarial)

    def test_images_do_not_depend_on_the_labels_of_others(
        self, network: nn.Module, x: Tensor, threat: ThreatModel
    ) -> None:
        if not self.images_are_independent:
            pytest.skip("the attack draws its noise for standing images only")
        labels = predicted(network, x)
        others = labels.clone()
        others[3:] = (others[3:] + 1) % 10
        one = self.attack.run(network, x, labels, threat, generator()).adversarial
        other = self.attack.run(network, x, others, threat, generator()).adversarial
        torch.testing.assert_close(one[:3], other[:3])
        assert not torch.allclose(one[3:], other[3:])

    def test_the_loss_grows(self, x: Tensor, threat: ThreatModel) -> None:
        network = tiny_network().eval()
        labels = network(x).argmax(1)
        adversarial = self.attack.run(network, x, labels, threat, generator()).adversarial
        loss = nn.functional.cross_entropy
        assert loss(network(adversarial), labels) > loss(network(x), labels) + 0.01

    def test_misclassified_images_count_as_fooled(self, x: Tensor, threat: ThreatModel) -> None:
        network = tiny_network().eval()
        wrong = (network(x).argmax(1) + 1) % 10
        tiny = threat.model_copy(update={"epsilon": 1e-7})
        assert self.attack.run(network, x, wrong, tiny, generator()).fooled.all()
        assert not self.attack.run(network, x, network(x).argmax(1), tiny, generator()).fooled.any()

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
    def test_logits_that_are_not_finite_count_as_fooled_and_pixels_stay_valid(
        self, network: nn.Module, x: Tensor, threat: ThreatModel, value: float
    ) -> None:
        hole = torch.zeros(10)
        hole[4] = value
        x[2] = x[2] * 0.02 + 0.95
        result = self.attack.run(BrokenWhereBright(network, hole), x, LABELS, threat, generator())
        assert result.fooled[2]
        assert result.adversarial.isfinite().all()
        assert (threat.distance(result.adversarial, x) <= threat.epsilon + 1e-6).all()

    def test_points_whose_logits_are_nan_fool_and_their_pixels_stay_valid(self, x: Tensor, threat: ThreatModel) -> None:
        x = (8 * x).round() / 8
        network = tiny_network().eval()
        result = self.attack.run(BrokenOffTheGrid(network), x, predicted(network, x), threat, generator())
        assert result.fooled.all()
        assert result.adversarial.isfinite().all()
        assert (threat.distance(result.adversarial, x) <= threat.epsilon + 1e-6).all()

    def test_a_constant_network_gives_valid_pixels_and_fools_nobody(self, x: Tensor, threat: ThreatModel) -> None:
        constant = Broken(tiny_network(), lambda logits: logits * 0 + torch.eye(10)[3])
        result = self.attack.run(constant, x, torch.full((6,), 3), threat, generator())
        assert result.adversarial.isfinite().all()
        assert (threat.distance(result.adversarial, x) <= threat.epsilon + 1e-6).all()
        assert not result.fooled.any()

    def test_the_description_is_json_and_says_what_is_run(self, threat: ThreatModel) -> None:
        described = self.attack.describe(threat)
        assert json.loads(json.dumps(described)) == described
        assert described["name"] == self.registered
        assert described["convention"]
        if "step_size" in described:
            assert 0 < described["step_size"] <= 2.5 * threat.epsilon
        for name, value in self.attack.model_dump().items():
            assert name not in described or described[name] == value or value is None

    def test_its_points_can_reach_the_whole_ball(self, threat: ThreatModel) -> None:
        assert self.attack.reach(threat) >= 1
