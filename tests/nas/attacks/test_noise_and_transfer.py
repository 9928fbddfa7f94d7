"""Attacks without gradients of the network: random points, and points made elsewhere."""

import json

import torch

from nas.attacks import Apgd, AutoAttack, Noise, Pgd
from nas.attacks.threat import ThreatModel
from nas.attacks.transfer import Transfer
from tests.builders import Linear, generator, tiny_network
from tests.nas.attacks.test_apgd import Exact, images

THREAT = ThreatModel(epsilon=0.02)


def test_noise_is_weaker_than_pgd_and_more_draws_are_no_weaker() -> None:
    network = Exact()
    x, labels = images(network)
    one, many = (Noise(draws=n).run(network, x, labels, THREAT, generator()).fooled for n in (1, 50))
    strong = Pgd(steps=40).run(network, x, labels, THREAT, generator()).fooled
    assert not (one & ~many).any()
    assert one.sum() < many.sum() < strong.sum()


def test_every_second_draw_for_linf_is_a_corner() -> None:
    network = Linear(torch.zeros(2, 16), torch.tensor([1.0, 0.0]), 4)  # nothing falls: the first point stays
    x, labels = torch.full((2, 1, 4, 4), 0.5), torch.zeros(2, dtype=torch.long)
    uniform = Noise(draws=1).run(network, x, labels, THREAT, generator()).adversarial
    assert ((uniform - x).abs() < 0.0199).any()
    falling = Linear(torch.ones(2, 16) * torch.tensor([[0.0], [1.0]]), torch.tensor([9.0, 0.0]), 4)
    corner_wins = [
        Noise(draws=2).run(falling, x, labels, THREAT, generator(seed)).adversarial - x for seed in range(20)
    ]
    assert any(torch.allclose(delta[0].abs(), torch.tensor(0.02)) for delta in corner_wins)


def test_transfer_makes_images_on_one_network_and_tries_them_on_another() -> None:
    network, source = Exact(), tiny_network(seed=5).eval()
    x, labels = images(network)
    transfer = Transfer(source, Pgd(steps=10))
    result = transfer.run(network, x, labels, THREAT, generator())
    made = Pgd(steps=10).run(source, x, labels, THREAT, generator()).adversarial
    assert torch.equal(result.fooled, network(made).argmax(1) != labels)
    assert torch.equal(result.adversarial, made)
    assert not result.stuck.any()
    itself = Transfer(network, Pgd(steps=10)).run(network, x, labels, THREAT, generator())
    assert itself.fooled.sum() > result.fooled.sum()


def test_transfer_describes_the_attack_it_uses() -> None:
    described = Transfer(tiny_network(), Apgd(steps=7)).describe(THREAT)
    assert json.loads(json.dumps(described)) == described
    assert described["attack"] == Apgd(steps=7).describe(THREAT)
    assert Transfer(tiny_network(), Pgd(steps=1, step_size=0.001)).reach(THREAT) < 1


def test_a_description_says_whether_autoattack_is_the_published_one() -> None:
    assert "NOT" not in AutoAttack().describe(THREAT)["convention"]
    assert "NOT as published" in AutoAttack(steps=10).describe(THREAT)["convention"]
