"""The ratio of eq. 6, maximised: known for linear networks, between the attack's ratio and the certified bound."""

import pytest
import torch
from torch import nn

from nas.attacks import Pgd
from nas.attacks.threat import ThreatModel
from nas.evaluation.certified import certified_lipschitz
from nas.evaluation.evaluate import EvaluationSettings, evaluate
from nas.evaluation.lipschitz import slopes
from nas.evaluation.steepest import steepest_slopes
from nas.networks.view import view_of
from tests.builders import BLOCKS, generator, network_of, tiny_images, tiny_network, with_random_statistics


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_on_a_linear_map_it_finds_the_spectral_norm(norm: str) -> None:
    with torch.device("meta"):
        linear = nn.Linear(12, 3, bias=False)
    nn.init.normal_(linear.to_empty(device="cpu").weight, generator=generator(1))
    network = nn.Sequential(nn.Flatten(), linear)
    x = torch.full((4, 3, 2, 2), 0.5)
    threat = ThreatModel(norm=norm, epsilon=0.1 if norm == "linf" else 0.3)
    found = steepest_slopes(view_of(network), x, x, threat, 200, 2, generator())
    exact = torch.linalg.matrix_norm(linear.weight.detach(), 2)
    assert (found <= exact * 1.0001).all()
    assert (found > 0.98 * exact).all()


@pytest.mark.parametrize("name", BLOCKS)
def test_it_lies_between_the_attacks_ratio_and_the_certified_bound(name: str) -> None:
    network = with_random_statistics(network_of(BLOCKS[name])).eval()
    x = torch.rand(8, 3, 9, 9, generator=generator(1))
    threat = ThreatModel(epsilon=0.05)
    x_adv = Pgd(steps=5).run(network, x, torch.arange(8) % 5, threat, generator(2)).adversarial
    with torch.no_grad():
        cheap = slopes(network(x), network(x_adv), x, x_adv, 2, 2)
    found = steepest_slopes(view_of(network), x, x_adv, threat, 15, 1, generator(3))
    assert (found >= cheap * (1 - 1e-5)).all()
    assert found.mean() > 1.02 * cheap.mean()
    assert float(found.max()) <= 10 ** certified_lipschitz(network).log10


def test_an_evaluation_measures_it_only_where_it_is_asked_for() -> None:
    network, split, threat = tiny_network().eval(), tiny_images(20), ThreatModel(epsilon=0.05)
    plain = evaluate(network, split, threat, EvaluationSettings(), generator(), split_name="validation")
    asked = EvaluationSettings(lipschitz_steps=5)
    found = evaluate(network, split, threat, asked, generator(), split_name="validation")
    assert plain.lipschitz_maximised is None
    assert found.lipschitz_maximised is not None
    assert found.lipschitz_maximised > plain.lipschitz_empirical
