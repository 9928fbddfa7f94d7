"""Attacks through a map of the input: exact for linear maps, bit-identical for none, with any number of threads."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nas.attacks import Apgd, Fgsm, Noise, Pgd, Square
from nas.attacks.balls import BALLS
from nas.attacks.threat import Threat, ThreatModel
from nas.networks.through import Through
from nas.networks.view import AutogradView, FoldedView, View, view_of
from nas.training.settings import InnerAttack
from tests.builders import BLOCKS, Linear, Unknown, generator, maximise_kl, network_of, tiny_network, torch_threads

SIZE, CODE = 8, 5
VIEWS: dict[str, Callable[[nn.Module], View]] = {"fast": view_of, "autograd": AutogradView}
MATRIX = torch.randn(SIZE * SIZE, CODE, generator=generator(1)) / 20
OFFSET = 0.3 + 0.4 * torch.rand(SIZE * SIZE, generator=generator(2))

each_view = pytest.mark.parametrize("kind", VIEWS)
each_number_of_threads = pytest.mark.parametrize("threads", [1, 2])


def linear_map(z: Tensor) -> Tensor:
    """A z + b as images."""
    return (z @ MATRIX.to(z.dtype).T + OFFSET.to(z.dtype)).view(-1, 1, SIZE, SIZE)


def codes(count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(count, CODE, generator=generator(3)).to(dtype)


def slope(logits: Tensor) -> Tensor:
    return logits.softmax(1) - 0.1


def unbounded(norm: str, epsilon: float) -> Threat:
    return BALLS[norm](epsilon, -torch.inf, torch.inf)


class Decoder(nn.Module):
    """Codes (N, 5) to pixels in (0, 1), with layers whose mode matters."""

    def __init__(self) -> None:
        super().__init__()
        self.widen, self.norm, self.drop = nn.Linear(CODE, 32), nn.BatchNorm1d(32), nn.Dropout(0.5)
        self.unknown, self.paint = Unknown(), nn.Linear(32, SIZE * SIZE)

    def forward(self, z: Tensor) -> Tensor:
        h = self.unknown(self.drop(self.norm(self.widen(z))))
        return self.paint(h).sigmoid().view(-1, 1, SIZE, SIZE)


def decoder() -> Decoder:
    """A decoder of seed 0, in training mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Decoder()


@each_view
def test_the_gradient_of_a_linear_map_is_its_transpose_times_that_of_the_pixels(kind: str) -> None:
    view, z = VIEWS[kind](tiny_network().double().eval()), codes(7, torch.float64)
    logits, gradient = Through(view, linear_map).gradient(z, slope)
    expected_logits, pixels = view.gradient(linear_map(z), slope)
    assert torch.equal(logits, expected_logits)
    assert torch.equal(Through(view, linear_map).logits(z), view.logits(linear_map(z)))
    torch.testing.assert_close(gradient, pixels.flatten(1) @ MATRIX.double())
    assert gradient.abs().max() > 1e-4


@each_view
def test_the_gradient_of_a_decoder_is_that_of_autograd_through_decoder_and_network(kind: str) -> None:
    network, paint, z = tiny_network().double().eval(), decoder().double().eval(), codes(6, torch.float64)
    _, gradient = Through(VIEWS[kind](network), paint).gradient(z, slope)
    z.requires_grad_()
    logits = network(paint(z))
    (expected,) = torch.autograd.grad(logits, z, slope(logits.detach()))
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("norm", BALLS)
def test_attacks_through_a_linear_map_find_the_worst_code_of_a_linear_classifier(norm: str) -> None:
    # The margin of the other class is v·(A z + b): it grows fastest along Aᵀ v.
    v = torch.randn(SIZE * SIZE, generator=generator(4))
    classifier = Linear(torch.stack([torch.zeros_like(v), v]), torch.tensor([0.0, -40.0]), SIZE)
    threat, z, labels = unbounded(norm, 0.2), codes(8), torch.zeros(8, dtype=torch.long)
    along = v @ MATRIX
    worst = z + 0.2 * (along.sign() if norm == "linf" else along / along.norm())
    through = Through(view_of(classifier), linear_map)
    margin = torch.dot(v, OFFSET) + worst @ along - 40
    for attack in (Pgd(steps=60, loss="margin"), Fgsm(), Apgd(steps=60, loss="margin")):
        result = attack.run(through, z, labels, threat, generator())
        found = through.logits(result.adversarial)
        torch.testing.assert_close(found[:, 1] - found[:, 0], margin, rtol=1e-6, atol=1e-4, msg=attack.name)
        assert (threat.excess(result.adversarial, z) <= 1e-6).all()


@each_view
@each_number_of_threads
@pytest.mark.parametrize("norm", BALLS)
@pytest.mark.parametrize("attack", [Pgd(steps=4, restarts=2), Apgd(steps=8), Square(queries=5)], ids=lambda a: a.name)
def test_through_the_identity_an_attack_is_the_same_bit_for_bit(
    attack: Pgd | Apgd | Square, norm: str, threads: int, kind: str
) -> None:
    x, view = torch.rand(40, 1, SIZE, SIZE, generator=generator(5)), VIEWS[kind](tiny_network().eval())
    labels, threat = view.logits(x).argmax(1), ThreatModel(norm=norm, epsilon=0.2)
    with torch_threads(threads):
        plain = attack.run(view, x, labels, threat, generator(6))
        found = attack.run(Through(view, lambda z: z), x, labels, threat, generator(6))
    assert torch.equal(found.adversarial, plain.adversarial)
    assert torch.equal(found.fooled, plain.fooled)
    assert torch.equal(found.stuck, plain.stuck)


@each_view
def test_the_inner_maximisation_through_the_identity_is_the_same_bit_for_bit(kind: str) -> None:
    view, x = VIEWS[kind](tiny_network().eval()), torch.rand(20, 1, SIZE, SIZE, generator=generator(5))
    threat, settings = ThreatModel(epsilon=0.1), InnerAttack(steps=3)
    found = maximise_kl(Through(view, lambda z: z), x, threat, settings, generator(7))
    assert torch.equal(found, maximise_kl(view, x, threat, settings, generator(7)))


@each_view
@each_number_of_threads
def test_a_decoder_in_training_mode_is_used_in_eval_mode_and_comes_back_as_it_was(kind: str, threads: int) -> None:
    module, z = decoder(), codes(40)
    module.paint.weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    flags = [p.requires_grad for p in module.parameters()]
    through = Through(VIEWS[kind](tiny_network().eval()), module)
    labels, threat = through.logits(z).argmax(1), unbounded("l2", 0.5)
    with torch_threads(threads):
        found = Pgd(steps=3).run(through, z, labels, threat, generator(8))
    assert all(module.training for module in module.modules())
    assert [p.requires_grad for p in module.parameters()] == flags
    assert all(p.grad is None for p in module.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    alone = Pgd(steps=3).run(Through(VIEWS[kind](tiny_network().eval()), module.eval()), z, labels, threat,
                             generator(8))  # fmt: skip
    torch.testing.assert_close(found.adversarial, alone.adversarial, rtol=1e-4, atol=1e-5)


def test_a_map_without_a_gradient_leaves_the_attack_stuck() -> None:
    view, z = view_of(tiny_network().eval()), codes(4)
    for flat in (lambda z: linear_map(z).detach(), lambda z: linear_map(z.round())):
        through = Through(view, flat)
        assert not through.gradient(z, slope)[1].any()
        stuck = Pgd(steps=2).run(through, z, through.logits(z).argmax(1), unbounded("linf", 1e-3), generator()).stuck
        assert stuck.all()


def test_the_network_is_walked_by_its_own_view_and_refolded_with_it() -> None:
    network = network_of(BLOCKS["conv 3x3"]).eval()
    view = view_of(network)
    through = Through(view, lambda z: z.view(-1, 3, SIZE + 1, SIZE + 1))
    assert isinstance(view, FoldedView)
    assert through.chunk_size == view.chunk_size
    z = torch.rand(4, 3 * (SIZE + 1) ** 2, generator=generator(9))
    before = through.logits(z)
    with torch.no_grad():
        network.features[0][0].weight.mul_(1.5)
    assert torch.equal(through.logits(z), before)
    through.refold_()
    assert not torch.equal(through.logits(z), before)


def test_maps_can_be_chained() -> None:
    view, z = view_of(tiny_network().eval()), codes(3)
    chained = Through(Through(view, linear_map), lambda z: 2 * z)
    whole = Through(view, lambda z: linear_map(2 * z))
    torch.testing.assert_close(chained.gradient(z, slope), whole.gradient(z, slope))


@pytest.mark.parametrize("norm", BALLS)
@pytest.mark.parametrize(
    "attack", [Pgd(steps=4), Fgsm(), Apgd(steps=8), Square(queries=20), Noise(draws=4)], ids=lambda a: a.name
)
def test_an_attack_between_other_bounds_is_the_one_on_pixels_in_other_units(
    attack: Pgd | Fgsm | Apgd | Square | Noise, norm: str
) -> None:
    # z = 2 x − 1 in [−1, 1], epsilon twice as long: the same adversary.
    view, x = view_of(tiny_network().double().eval()), torch.rand(30, 1, 8, 8, generator=generator(1)).double()
    x[:, :, :3] = x[:, :, :3].round()
    labels, epsilon = view.logits(x).argmax(1), {"linf": 0.2, "l2": 1.0}[norm]
    plain = attack.run(view, x, labels, BALLS[norm](epsilon), generator(3))
    doubled = BALLS[norm](2 * epsilon, -1.0, 1.0)
    found = attack.run(Through(view, lambda z: (z + 1) / 2), 2 * x - 1, labels, doubled, generator(3))
    torch.testing.assert_close((found.adversarial + 1) / 2, plain.adversarial, rtol=0, atol=1e-6)
    assert torch.equal(found.fooled, plain.fooled)
    assert (doubled.outside(found.adversarial) <= 0).all()
    assert (plain.adversarial != x).any()
