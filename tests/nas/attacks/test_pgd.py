"""Restarts, iterates and step sizes of PGD."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nas.attacks import Fgsm, Pgd
from nas.attacks.threat import ThreatModel
from nas.networks.view import Scaled, view_of
from tests.builders import Broken, generator, tiny_network

THREAT = ThreatModel(epsilon=0.05)


def some_images() -> tuple[Tensor, Tensor]:
    x = torch.rand(64, 1, 8, 8, generator=generator(1))
    return x, tiny_network().eval()(x).argmax(1)


class _WrongOnce:
    """Turns the logits around at call number `call`, for the first image only."""

    def __init__(self, call: int) -> None:
        self.call, self.calls = call, 0

    def __call__(self, logits: Tensor) -> Tensor:
        self.calls += 1
        if self.calls != self.call:
            return logits
        return torch.cat([-logits[:1], logits[1:]])


@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_fooling_at_any_iterate_counts_start_and_end_included(call: int) -> None:
    # Three steps look at four points: the start, two iterates, the end.
    x, labels = some_images()
    tiny = ThreatModel(epsilon=1e-6)
    turn = _WrongOnce(call)
    fooled = Pgd(steps=3).run(Broken(tiny_network(), turn), x, labels, tiny, generator()).fooled
    assert turn.calls == 4
    assert fooled[0]
    assert not fooled[1:].any()


@pytest.mark.parametrize("call", [1, 2])
def test_fgsm_counts_the_image_itself_and_the_end(call: int) -> None:
    x, labels = some_images()
    turn = _WrongOnce(call)
    fooled = Fgsm().run(Broken(tiny_network(), turn), x, labels, ThreatModel(epsilon=1e-6), generator()).fooled
    assert turn.calls == 2
    assert fooled[0]
    assert not fooled[1:].any()


def test_more_restarts_fool_no_fewer_and_go_on_with_standing_images_only() -> None:
    x, labels = some_images()
    network = tiny_network().eval()
    used = generator()
    singles = [Pgd(steps=2).run(network, x, labels, THREAT, used) for _ in range(4)]
    four = Pgd(steps=2, restarts=4).run(network, x, labels, THREAT, generator())
    fooled = torch.stack([single.fooled for single in singles])  # (restarts, N)
    assert torch.equal(four.fooled, fooled.any(0))
    losses = torch.stack([F.cross_entropy(network(s.adversarial), labels, reduction="none") for s in singles])
    fell_before = fooled.cumsum(0) - fooled.int() > 0
    expected = losses.masked_fill(fell_before, -torch.inf).max(0).values
    kept = F.cross_entropy(network(four.adversarial), labels, reduction="none")
    torch.testing.assert_close(kept, expected)


def test_the_generator_advances() -> None:
    x, labels = some_images()
    used = generator()
    first = Pgd(steps=1).run(tiny_network(), x, labels, THREAT, used)
    second = Pgd(steps=1).run(tiny_network(), x, labels, THREAT, used)
    assert not torch.equal(first.adversarial, second.adversarial)


def test_more_epsilon_fools_more() -> None:
    x, labels = some_images()
    network = tiny_network()
    counts = [
        int(Pgd(steps=10).run(network, x, labels, ThreatModel(epsilon=e), generator()).fooled.sum())
        for e in (0.001, 0.02, 0.3)
    ]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


@pytest.mark.parametrize(("step_size", "expected"), [(None, 2 / 255), ("1/255", 1 / 255)])
def test_the_step_is_a_quarter_of_epsilon_unless_set(step_size: str | None, expected: float) -> None:
    threat = ThreatModel(epsilon="8/255")
    assert Pgd(step_size=step_size).describe(threat)["step_size"] == pytest.approx(expected)


@pytest.mark.parametrize(("steps", "share"), [(1, 2.5), (5, 0.5), (10, 0.25), (20, 0.25), (100, 0.25)])
def test_few_steps_are_long_enough_to_cross_the_ball(steps: int, share: float) -> None:
    threat = ThreatModel(epsilon="8/255")
    assert Pgd(steps=steps).describe(threat)["step_size"] == pytest.approx(share * threat.epsilon)
    assert Pgd(steps=steps).reach(threat) >= 1


@pytest.mark.parametrize("loss", ["margin", "dlr"])
def test_a_scaled_network_is_attacked_alike_where_the_loss_does_not_depend_on_scale(loss: str) -> None:
    x, labels = some_images()
    view = view_of(tiny_network().double().eval())
    attack = Pgd(steps=10, loss=loss)
    plain, *scaled = (
        attack.run(Scaled(view, factor), x.double(), labels, THREAT, generator()) for factor in (1, 1e-2, 1e2)
    )
    for result in scaled:
        assert torch.equal(result.fooled, plain.fooled)
        torch.testing.assert_close(result.adversarial, plain.adversarial, rtol=0, atol=1e-9)


def test_the_step_size_in_the_description_is_the_one_that_is_run() -> None:
    # One step from the start, in a large ball and away from the box, moves every pixel by one step.
    x, labels = torch.full((4, 1, 8, 8), 0.5), torch.arange(4)
    threat, attack = ThreatModel(epsilon=0.2), Pgd(steps=1, step_size=0.03)
    start = threat.start(x, generator())
    moved = (attack.run(tiny_network(), x, labels, threat, generator()).adversarial - start).abs()
    assert moved.max().item() == pytest.approx(attack.describe(threat)["step_size"], abs=1e-6)
