"""Square is the authors' algorithm: one seed gives their result, image by image."""

import pytest
import torch
from torch import Tensor

from nas.attacks import Square
from nas.attacks.result import AttackResult
from nas.attacks.square import _pair_of_bumps
from nas.attacks.threat import ThreatModel
from tests.builders import generator, tiny_network
from tests.nas.attacks.test_apgd import NORMS, Exact, images

reference = pytest.importorskip("pyautoattack.square")

THREATS = {"linf": ThreatModel(epsilon=0.015), "l2": ThreatModel(norm="l2", epsilon=0.12)}


def both(network: Exact, x: Tensor, labels: Tensor, norm: str, queries: int, seed: int) -> tuple[AttackResult, Tensor]:
    threat = THREATS[norm]
    theirs = reference.SquareAttack(
        network, norm=NORMS[norm], n_queries=queries, eps=threat.epsilon, seed=seed, resc_schedule=False
    )
    with torch.random.fork_rng():
        adversarial = theirs.perturb(x, labels)
    return Square(queries=queries).run(network, x, labels, threat, generator(seed)), adversarial


@pytest.mark.parametrize("seed", [0, 1])
def test_for_linf_a_batch_of_one_seed_gives_the_authors_points(seed: int) -> None:
    network = Exact()
    x, labels = images(network)
    ours, adversarial = both(network, x, labels, "linf", 150, seed)
    fooled = network(adversarial).argmax(1) != labels
    assert 8 < fooled.sum() < 40
    assert torch.equal(ours.fooled, fooled)
    assert torch.equal(ours.adversarial[fooled], adversarial[fooled])


def test_for_l2_an_image_and_a_seed_give_the_authors_point() -> None:
    # In a batch theirs draws signs for standing images only, so the order of chance agrees for single images.
    network = Exact()
    x, labels = images(network)
    count = 0
    for row in range(8):
        ours, adversarial = both(network, x[row, None], labels[row, None], "l2", 100, row)
        fooled = network(adversarial).argmax(1) != labels[row, None]
        assert torch.equal(ours.fooled, fooled)
        torch.testing.assert_close(ours.adversarial[fooled], adversarial[fooled], rtol=0, atol=1e-6)
        count += int(fooled)
    assert 1 < count < 8


def test_for_l2_batches_lose_as_many_images() -> None:
    network = Exact()
    x, labels = images(network)
    results = [both(network, x, labels, "l2", 100, seed) for seed in range(2)]
    ours = sum(int(result.fooled.sum()) for result, _ in results) / 2
    theirs = sum(int((network(adversarial).argmax(1) != labels).sum()) for _, adversarial in results) / 2
    assert abs(ours - theirs) <= 2  # of 48


@pytest.mark.parametrize("side", [1, 2, 3, 5, 6, 7])
def test_a_pair_of_bumps_is_that_of_the_authors(side: int) -> None:
    theirs = reference.SquareAttack(None, norm="L2", eps=1.0, device="cpu")
    with torch.random.fork_rng():
        expected = {theirs.eta(side) for _ in range(20)}
    pair = _pair_of_bumps(side)
    assert all(torch.allclose(pair, other) or torch.allclose(pair.T, other) for other in expected)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("size", [(3, 3), (4, 9), (9, 4), (14, 14), (24, 24)], ids=str)
def test_images_of_any_size_are_attacked_inside_their_ball(size: tuple[int, int], norm: str) -> None:
    network = tiny_network(input_shape=(1, *size)).eval()
    x = torch.rand(4, 1, *size, generator=generator())
    labels, threat = network(x).argmax(1), THREATS[norm]
    result = Square(queries=20).run(network, x, labels, threat, generator())
    assert (threat.distance(result.adversarial, x) <= threat.epsilon + 1e-6).all()
    assert (threat.distance(result.adversarial, x) > 0.2 * threat.epsilon).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_more_queries_go_on_from_fewer(norm: str) -> None:
    network = Exact()
    x, labels = images(network)
    few, more = (Square(queries=n).run(network, x, labels, THREATS[norm], generator()).fooled for n in (1, 150))
    assert not (few & ~more).any()
    assert few.sum() < more.sum()
