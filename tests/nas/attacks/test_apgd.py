"""Auto-PGD is the authors' algorithm: the same images fall, at the same points, from the same starts."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from nas.attacks import Apgd
from nas.attacks.apgd import auto_pgd
from nas.attacks.losses import LOSSES, Loss, targeted_dlr
from nas.attacks.threat import ThreatModel
from nas.base.errors import UsageError
from nas.networks.view import AutogradView
from tests.builders import Linear, generator, tiny_network

reference = pytest.importorskip("pyautoattack.autopgd_base")

THREATS = {"linf": ThreatModel(epsilon=0.02), "l2": ThreatModel(norm="l2", epsilon=0.1)}
NORMS = {"linf": "Linf", "l2": "L2"}


class Exact(nn.Module):
    """A network in float64 for pixels in float32: both sides then see the same gradients to the last bit."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.network = tiny_network(num_classes=num_classes).double().eval()
        self.seen: list[Tensor] = []
        with torch.no_grad():  # every class is somewhere the likeliest
            self.network.classifier.bias.sub_(self.network(images(self)[0].double()).mean(0))

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach().clone())
        return self.network(x.double())


def images(network: nn.Module, count: int = 48) -> tuple[Tensor, Tensor]:
    x = torch.rand(count, 1, 8, 8, generator=generator(1))
    return x, network(x).detach().argmax(1)


def loss_of(name: str, targets: Tensor) -> Loss:
    return targeted_dlr(targets) if name == "dlr-targeted" else LOSSES["dlr" if name == "dlr" else "cross_entropy"]


@pytest.fixture
def double_precision() -> Iterator[None]:
    """Near the top the loss rises by less than float32 resolves, and rounding decides whether a step halves."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(
    ("name", "steps"),  # 30 and 100 see the last checks of the schedule
    [("ce", 1), ("ce", 7), ("ce", 100), ("dlr", 1), ("dlr", 30), ("dlr-targeted", 7), ("dlr-targeted", 30)],
)
def test_every_image_takes_the_course_of_the_authors_code(name: str, norm: str, steps: int) -> None:
    network, threat = Exact(), THREATS[norm]
    x, labels = images(network)
    targets = network(x).argsort(1)[:, -2]
    start = threat.border(x, generator(2))
    theirs = reference.APGDAttack_targeted(network, n_iter=steps, norm=NORMS[norm], eps=threat.epsilon)
    theirs.loss, theirs.y_target = name, targets
    theirs.init_hyperparam(x)
    network.seen.clear()
    with torch.random.fork_rng():
        best, stands, best_loss, _ = theirs.attack_single_run(x, labels, x_init=start)
    seen = torch.stack(network.seen)  # (steps + 1, N, C, H, W)
    view = AutogradView(network)
    points, loss, fooled, stuck = auto_pgd(
        view, lambda t: loss_of(name, t), threat, x, labels, targets, start, steps=steps, rho=0.75
    )
    assert torch.equal(fooled, stands == 0)
    if steps >= 30:
        assert 5 < fooled.sum() < 43, "too easy or too hard to show anything"
    # A rise of less than rounding decides whether a step halves, on another processor otherwise: rare, and named so.
    rises = torch.stack([loss_of(name, targets).value(network(point), labels) for point in seen]).diff(dim=0)
    tied = ((rises.abs() < 1e-10) & (rises != 0)).any(0)
    alike = (points - best).abs().amax(dim=(1, 2, 3)) <= 1e-6
    assert tied[~fooled & ~alike].all()
    assert (~fooled & ~alike).sum() <= 1
    torch.testing.assert_close(loss[~fooled & alike], best_loss[~fooled & alike], rtol=1e-6, atol=1e-9)
    assert not stuck.any()
    # Where theirs goes on after a success, ours stops at the first point that fooled.
    wrong = torch.stack([network(point).argmax(1) != labels for point in seen])
    first = seen[wrong.int().argmax(0), torch.arange(len(x))]
    torch.testing.assert_close(points[fooled], first[fooled], rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_one_seed_gives_the_authors_result(norm: str) -> None:
    network, threat = Exact(), THREATS[norm]
    x, labels = images(network)
    ours = Apgd(steps=40).run(network, x, labels, threat, generator(7))
    theirs = reference.APGDAttack(network, n_iter=40, norm=NORMS[norm], eps=threat.epsilon, seed=7)
    with torch.random.fork_rng():
        adversarial = theirs.perturb(x, labels)
    assert torch.equal(ours.fooled, network(adversarial).argmax(1) != labels)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_targets_in_turn_give_the_authors_result(norm: str) -> None:
    # Theirs draws noise for standing images only, ours for all: theirs is handed ours, image by image.
    network, threat = Exact(), THREATS[norm]
    x, labels = images(network, 24)
    ours = Apgd(steps=8, loss="targeted_dlr", restarts=2).run(network, x, labels, threat, generator(7))
    noise, used = [], generator(7)
    for _ in range(2 * 9):
        noise.append(threat.border(x, used))

    class Handed(reference.APGDAttack_targeted):  # type: ignore[misc, name-defined]
        def attack_single_run(self, part: Tensor, y: Tensor) -> tuple[Tensor, ...]:
            rows = (part[:, None] == x).flatten(2).all(2).int().argmax(1)
            result: tuple[Tensor, ...] = super().attack_single_run(part, y, x_init=noise.pop(0)[rows])
            return result

    theirs = Handed(network, n_iter=8, norm=NORMS[norm], eps=threat.epsilon, n_restarts=2)
    with torch.random.fork_rng():
        adversarial = theirs.perturb(x, labels)
    assert torch.equal(ours.fooled, network(adversarial).argmax(1) != labels)


@pytest.mark.parametrize("loss", ["cross_entropy", "targeted_dlr"])
def test_no_image_depends_on_the_others(loss: str) -> None:
    network = Exact()
    x, labels = images(network, 12)
    threat, targets = THREATS["linf"], network(x).argsort(1)[:, -2]
    start = threat.border(x, generator())

    def attack(rows: Tensor) -> tuple[Tensor, ...]:
        given = (x[rows], labels[rows], targets[rows], start[rows])
        name = "dlr-targeted" if loss == "targeted_dlr" else "ce"
        return auto_pgd(AutogradView(network), lambda t: loss_of(name, t), threat, *given, steps=30, rho=0.75)

    together = attack(torch.arange(12))
    for row in range(12):
        for found, expected in zip(attack(torch.tensor([row])), together, strict=True):
            torch.testing.assert_close(found[0], expected[row], rtol=0, atol=1e-6)


def test_misclassified_images_are_left_as_they_are() -> None:
    network = Exact()
    x, labels = images(network)
    labels[:10] = (labels[:10] + 1) % 10
    result = Apgd(steps=5).run(network, x, labels, THREATS["linf"], generator())
    assert result.fooled[:10].all()
    assert torch.equal(result.adversarial[:10], x[:10])


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
def test_a_linear_network_is_attacked_to_its_closed_form_worst_case(norm: str, loss: str) -> None:
    v = torch.randn(16, generator=generator(2))
    network = Linear(torch.stack([torch.zeros(16), v]), torch.tensor([100.0, 0.0]), 4)  # nothing falls
    x = 0.3 + 0.4 * torch.rand(8, 1, 4, 4, generator=generator(1))
    threat = ThreatModel(norm=norm, epsilon=0.2)
    result = Apgd(steps=100, loss=loss).run(network, x, torch.zeros(8, dtype=torch.long), threat, generator())
    direction = v.view(1, 1, 4, 4)
    step = direction.sign() if norm == "linf" else direction / direction.norm()
    if loss == "margin":  # cross-entropy is 0 in float32 everywhere: no point is better than the start
        torch.testing.assert_close(result.adversarial, x + 0.2 * step, rtol=0, atol=1e-3)
    assert not result.fooled.any()


def test_targets_are_one_fewer_than_the_classes_at_most_and_four_classes_are_needed() -> None:
    for classes in (4, 5):
        network = Exact(classes)
        x, labels = images(network)
        nine = Apgd(steps=3, loss="targeted_dlr").run(network, x, labels, THREATS["linf"], generator())
        most = Apgd(steps=3, loss="targeted_dlr", targets=classes - 1)
        assert torch.equal(nine.adversarial, most.run(network, x, labels, THREATS["linf"], generator()).adversarial)
    network = Exact(3)
    x, labels = images(network)
    with pytest.raises(UsageError, match="use loss: margin"):
        Apgd(loss="targeted_dlr").run(network, x, labels, THREATS["linf"], generator())


def test_the_description_names_targets_where_there_are_any() -> None:
    threat = ThreatModel(epsilon=0.1)
    assert "targets" not in Apgd().describe(threat)
    assert Apgd(loss="targeted_dlr").describe(threat)["targets"] == 9
    assert Apgd().describe(threat)["step_size"] == pytest.approx(0.2)
