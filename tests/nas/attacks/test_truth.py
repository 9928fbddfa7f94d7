"""Attacks on linear networks, whose worst case has a closed form.

For logits W x + b, the margin of class y against j falls fastest along w_j - w_y. Where all these vectors
are positive multiples of one v, the worst point of the ball is x + eps * sign(v) (linf) and
x + eps * v / |v| (l2), whatever the number of classes.
"""

import pytest
import torch
from torch import Tensor

from nas.attacks import ATTACKS, AutoAttack, Fgsm, Pgd, Square
from nas.attacks.threat import ThreatModel
from tests.builders import Linear, generator

AT_RANDOM = {"square": 0.3, "noise": 0.2}
"""Attacks that search at random, and the share of correct images within reach that they must find here."""
SIZE = 4
PIXELS = SIZE * SIZE


def images(count: int) -> Tensor:
    """Pixels in [0.3, 0.7]: no ball of radius 0.25 reaches the border of the box."""
    return 0.3 + 0.4 * torch.rand(count, 1, SIZE, SIZE, generator=generator(1))


def collinear(num_classes: int) -> tuple[Linear, Tensor]:
    """Network whose class 0 loses against every other class along one v, and this v."""
    v = torch.randn(PIXELS, generator=generator(2))
    base = torch.randn(PIXELS, generator=generator(3))
    rates = torch.tensor([0.0, 1.0, 0.4])[:num_classes, None]
    return Linear(base + rates * v, torch.zeros(num_classes), SIZE), v.view(1, 1, SIZE, SIZE)


def worst_case(x: Tensor, v: Tensor, threat: ThreatModel) -> Tensor:
    return x + threat.epsilon * (v.sign() if threat.norm == "linf" else v / v.norm())


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_on_a_linear_network_reaches_the_closed_form_worst_case(norm: str, num_classes: int) -> None:
    network, v = collinear(num_classes)
    threat = ThreatModel(norm=norm, epsilon=0.2)
    x = images(8)
    result = Pgd(steps=80).run(network, x, torch.zeros(8, dtype=torch.long), threat, generator())
    torch.testing.assert_close(result.adversarial, worst_case(x, v, threat), rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fgsm_on_a_linear_network_reaches_it_in_one_step(norm: str) -> None:
    network, v = collinear(3)
    threat = ThreatModel(norm=norm, epsilon=0.2)
    x = images(8)
    result = Fgsm().run(network, x, torch.zeros(8, dtype=torch.long), threat, generator())
    torch.testing.assert_close(result.adversarial, worst_case(x, v, threat))


def test_fgsm_is_clipped_to_the_box() -> None:
    network, v = collinear(2)
    x = torch.full((1, 1, SIZE, SIZE), 0.95)
    x[..., 0] = 0.02
    threat = ThreatModel(epsilon=0.1)
    result = Fgsm().run(network, x, torch.zeros(1, dtype=torch.long), threat, generator())
    torch.testing.assert_close(result.adversarial, (x + 0.1 * v.sign()).clamp(0, 1))


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_linear_classifier_is_fooled_exactly_where_its_margin_is_smaller_than_the_dual_norm(
    name: str, norm: str
) -> None:
    # Dual norms: l1 for linf balls, l2 for l2 balls.
    weight = torch.randn(2, PIXELS, generator=generator(4))
    # The border between the classes runs through grey; two more classes, for AutoAttack, are never likely.
    bias = torch.cat([-0.5 * weight.sum(1), torch.tensor([-50.0, -60.0])])
    network = Linear(torch.cat([weight, torch.zeros(2, PIXELS)]), bias, SIZE)
    x = images(400)
    labels = torch.randint(0, 2, (400,), generator=generator(5))
    threat = ThreatModel(norm=norm, epsilon=0.02 if norm == "linf" else 0.1)
    logits = network(x).detach()
    margin = (logits[:, 0] - logits[:, 1]) * (1 - 2 * labels)
    reach = threat.epsilon * (weight[0] - weight[1]).norm(p=1 if norm == "linf" else 2)
    decided = (margin - reach).abs() > 1e-3  # far enough from equality for float32
    expected = margin < reach
    assert decided.sum() > 380
    assert expected[margin > 0].any(), "no correct image within reach"
    assert not expected[margin > 0].all(), "no image out of reach"
    cheaper = {"pgd": Pgd(steps=60), "square": Square(queries=1000), "autoattack": AutoAttack(steps=20, queries=10)}
    attack = cheaper.get(name, ATTACKS[name]())
    fooled = attack.run(network, x, labels, threat, generator()).fooled
    if name in AT_RANDOM:
        found = (fooled & expected)[decided & (margin > 0)].sum() / expected[decided & (margin > 0)].sum()
        assert not (fooled & ~expected)[decided].any(), "a point outside the ball"
        assert found >= AT_RANDOM[name]
    else:
        assert torch.equal(fooled[decided], expected[decided])
