"""The loop, the frozen network, and what counts as wrong."""

import pytest
import torch
from torch import Tensor, nn

from nas.attacks.gradient import projected_gradient
from nas.attacks.losses import cross_entropy, misclassified
from nas.attacks.threat import ThreatModel
from nas.networks.mode import evaluation_mode
from tests.builders import generator, tiny_network

THREAT = ThreatModel(epsilon=0.1)


def test_steps_by_hand() -> None:
    # Loss 1 * a - 2 * b from (0.5, 0.5), steps of 0.04 in a ball of 0.1: 0.54, 0.58, then the border.
    x = torch.full((1, 1, 1, 2), 0.5)
    slope = torch.tensor([1.0, -2.0]).view(1, 1, 1, 2)
    for steps, moved in [(1, 0.04), (2, 0.08), (3, 0.1), (9, 0.1)]:
        found = projected_gradient(lambda x_adv: slope, x, x, THREAT, steps=steps, step_size=0.04)
        torch.testing.assert_close(found.flatten(), torch.tensor([0.5 + moved, 0.5 - moved]))


def test_the_maximum_inside_the_ball_is_not_overshot_by_more_than_a_step() -> None:
    x = torch.full((1, 1, 1, 1), 0.5)
    found = projected_gradient(lambda x_adv: -2 * (x_adv - 0.53), x, x, THREAT, steps=50, step_size=0.01)
    assert abs(found.item() - 0.53) <= 0.01


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_gradient_is_taken_once_per_step_at_points_of_the_ball(norm: str) -> None:
    threat = ThreatModel(norm=norm, epsilon=0.3)
    x = torch.rand(4, 1, 3, 3, generator=generator())
    seen: list[Tensor] = []

    def gradient(x_adv: Tensor) -> Tensor:
        seen.append(x_adv.clone())
        return 3 * x_adv**2

    start = threat.start(x, generator(1))
    projected_gradient(gradient, x, start, threat, steps=7, step_size=0.2)
    assert len(seen) == 7
    assert torch.equal(seen[0], start)
    for point in seen:
        assert (threat.distance(point, x) <= 0.3 + 1e-6).all()
        assert point.min() >= 0
        assert point.max() <= 1


def test_images_of_a_batch_do_not_share_their_step() -> None:
    x = torch.full((2, 1, 2, 2), 0.5)
    sizes = torch.tensor([1.0, 1e-6]).view(2, 1, 1, 1)
    threat = ThreatModel(norm="l2", epsilon=0.2)
    found = projected_gradient(lambda x_adv: sizes.expand_as(x_adv), x, x, threat, steps=3, step_size=0.05)
    torch.testing.assert_close(threat.distance(found, x), torch.tensor([0.15, 0.15]))


def test_cross_entropy_of_each_image_by_hand() -> None:
    # softmax (1/4, 3/4): -ln(1/4) = 1.386294, -ln(3/4) = 0.287682
    logits = torch.tensor([[0.0, 1.0986123], [0.0, 1.0986123]])
    torch.testing.assert_close(cross_entropy(logits, torch.tensor([0, 1])), torch.tensor([1.3862944, 0.2876821]))


def test_wrong_and_broken_logits_are_misclassified() -> None:
    nan, inf = float("nan"), float("inf")
    logits = torch.tensor([[2.0, 1.0], [1.0, 2.0], [2.0, nan], [inf, 0.0], [2.0, -inf]])
    labels = torch.zeros(5, dtype=torch.long)
    assert misclassified(logits, labels).tolist() == [False, True, True, True, True]


def test_inside_evaluation_mode_everything_is_frozen() -> None:
    network = tiny_network()
    with evaluation_mode(network):
        assert not any(module.training for module in network.modules())
        assert not any(parameter.requires_grad for parameter in network.parameters())
    assert all(module.training for module in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_parameters_shared_by_two_modules_get_their_flag_back() -> None:
    first, second = nn.Linear(2, 2, device="meta"), nn.Linear(2, 2, device="meta")
    second.weight = first.weight
    with evaluation_mode(nn.Sequential(first, second)):
        assert not second.weight.requires_grad
    assert first.weight.requires_grad
