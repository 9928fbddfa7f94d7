"""The inner maximisation, against plainly written loops."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.attacks.threat import ThreatModel
from nas.networks.view import AutogradView, view_of
from nas.training.settings import InnerAttack
from tests.builders import Broken, generator, maximise_cross_entropy, maximise_kl, tiny_network

THREAT = ThreatModel(epsilon=0.06)
STEP = 0.013
LABELS = torch.arange(6)


VIEWS = [view_of, AutogradView]  # folded, and by autograd: the same truths hold for both


def network() -> nn.Module:
    """Trained-looking batch-norm statistics; float64, where a sign decides as the formula says."""
    made = tiny_network().double()
    made(torch.rand(16, 1, 8, 8, generator=generator(9), dtype=torch.float64))
    return made


def images() -> Tensor:
    """Away from the border of the box, so that neither clipping nor projecting the start matters."""
    return 0.2 + 0.6 * torch.rand(6, 1, 8, 8, generator=generator(1), dtype=torch.float64)


def plain_trades_loop(net: nn.Module, x: Tensor, noise: Tensor, threat: ThreatModel, steps: int) -> list[Tensor]:
    """Zhang 2019, Algorithm 1, written out: clean logits recomputed in every step, probabilities as target."""
    net.eval()
    x_adv = x + 0.001 * noise
    iterates = []
    for _ in range(steps):
        x_adv = x_adv.detach().requires_grad_()
        kl = F.kl_div(F.log_softmax(net(x_adv), 1), F.softmax(net(x), 1), reduction="sum")
        (gradient,) = torch.autograd.grad(kl, x_adv)
        if threat.norm == "linf":
            x_adv = x_adv.detach() + STEP * gradient.sign()
            x_adv = torch.clamp(x_adv, x - threat.epsilon, x + threat.epsilon)
        else:
            unit = gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            delta = x_adv.detach() + STEP * unit - x
            x_adv = x + delta.renorm(2, 0, threat.epsilon)
        x_adv = x_adv.clamp(0, 1)
        iterates.append(x_adv)
    return iterates


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_maximise_kl_is_the_plain_trades_loop_iterate_for_iterate(norm: str, view: Any) -> None:
    threat, x = ThreatModel(norm=norm, epsilon=0.06), images()
    noise = torch.empty_like(x).normal_(generator=generator(2))
    expected = plain_trades_loop(network(), x, noise, threat, 8)
    for steps, iterate in enumerate(expected, 1):
        found = maximise_kl(view(network()), x, threat, InnerAttack(steps=steps, step_size=STEP), generator(2))
        torch.testing.assert_close(found, iterate, rtol=0, atol=1e-7)


def test_maximise_kl_looks_at_the_clean_images_once() -> None:
    seen: list[bool] = []
    x = images()

    def record(logits: Tensor) -> Tensor:
        seen.append(torch.is_grad_enabled())
        return logits

    maximise_kl(view_of(Broken(network(), record)), x, THREAT, InnerAttack(steps=5), generator())
    assert seen == [False] + [True] * 5


def test_maximise_kl_makes_the_prediction_move_further_than_noise_does() -> None:
    net, x = network().eval(), images()
    x_adv = maximise_kl(view_of(net), x, THREAT, InnerAttack(steps=5), generator())
    noisy = THREAT.start(x, generator())

    def kl(other: Tensor) -> Tensor:
        return F.kl_div(net(other).log_softmax(1), net(x).softmax(1), reduction="none").sum(1)

    assert (kl(x_adv) > kl(noisy)).all()


@pytest.mark.parametrize("view", VIEWS)
def test_maximise_cross_entropy_is_the_plain_madry_loop(view: Any) -> None:
    net, x = network().eval(), images()
    x_adv = THREAT.start(x, generator(3))
    for _ in range(6):
        x_adv = x_adv.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(net(x_adv), LABELS), x_adv)
        x_adv = torch.clamp(x_adv.detach() + STEP * gradient.sign(), x - 0.06, x + 0.06).clamp(0, 1)
    found = maximise_cross_entropy(
        view(network()), x, LABELS, THREAT, InnerAttack(steps=6, step_size=STEP), generator(3)
    )
    torch.testing.assert_close(found, x_adv, rtol=0, atol=1e-9)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("kind", ["kl", "cross_entropy"])
@pytest.mark.parametrize("view", VIEWS)
def test_the_copy_stays_in_ball_and_box_and_the_network_as_it_was(view: Any, kind: str, norm: str) -> None:
    threat = ThreatModel(norm=norm, epsilon=0.3)
    net = tiny_network()
    net.features[1].eval()
    next(net.parameters()).requires_grad_(False)
    x = torch.rand(6, 1, 8, 8, generator=generator(1)).round()  # every pixel on the border of the box
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    modes, flags = [m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]
    settings = InnerAttack(steps=4)
    if kind == "kl":
        found = maximise_kl(view(net), x, threat, settings, generator())
    else:
        found = maximise_cross_entropy(view(net), x, LABELS, threat, settings, generator())
    assert (threat.distance(found, x) <= 0.3 + 1e-6).all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert not found.requires_grad
    assert [m.training for m in net.modules()] == modes
    assert [p.requires_grad for p in net.parameters()] == flags
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize(("steps", "length"), [(1, 0.06), (2, 0.03), (3, 0.02), (4, 0.015), (10, 0.015)])
def test_few_steps_reach_the_border_and_many_are_a_quarter_of_epsilon_unless_set(steps: int, length: float) -> None:
    x = images()
    left_out = maximise_kl(view_of(network()), x, THREAT, InnerAttack(steps=steps), generator())
    written = maximise_kl(view_of(network()), x, THREAT, InnerAttack(steps=steps, step_size=length), generator())
    torch.testing.assert_close(left_out, written, rtol=0, atol=1e-9)
