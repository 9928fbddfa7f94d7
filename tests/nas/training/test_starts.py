"""Starts of the inner maximisation: where each begins, what it keeps, and that trainings with it are as exact."""

import copy
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nas.attacks.threat import ThreatModel
from nas.data import Augmentation
from nas.data.domain import draw_crop_flip
from nas.networks.view import AutogradView, View, view_of
from nas.training.batch import Batch
from nas.training.inner import maximise
from nas.training.loop import start_training, train_epoch
from nas.training.settings import InnerAttack, StartName
from nas.training.starts import CARRIED, UNIVERSAL, Memory, begin_epoch_, keep_, start_of
from nas.training.stored import load_training, save_training
from tests.builders import TINY_TRAINING, batch_of, generator, tiny_images, tiny_network, torch_threads
from tests.builders import with_unknown_activation as unknown

STARTS: tuple[StartName, ...] = get_args(StartName)
THREAT = ThreatModel(epsilon=0.06)
IMAGES = tiny_images(40)


def images() -> Tensor:
    return 0.3 + 0.4 * torch.rand(6, 1, 8, 8, generator=generator(1))


def attack(start: StartName, **others: object) -> InnerAttack:
    return InnerAttack(start=start, **{"steps": 1, "loss": "cross_entropy", **others})  # type: ignore[arg-type]


def memory_of(settings: InnerAttack, threat: ThreatModel = THREAT, epoch: int = 0) -> Memory:
    memory: Memory = {}
    begin_epoch_(memory, settings, threat, generator(4), epoch, IMAGES.images, 10)
    return memory


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("start", STARTS)
def test_every_start_is_in_the_domain_and_all_but_noise_in_the_ball(start: StartName, norm: str) -> None:
    threat, settings = ThreatModel(norm=norm, epsilon=0.3), attack(start)
    x = torch.rand(6, 1, 8, 8, generator=generator(1)).round()
    found = start_of(memory_of(settings, threat), settings, threat, batch_of(x), generator(2))
    assert found.min() >= 0
    assert found.max() <= 1
    radius = 0.6 if start == "noise" else 0.3
    assert (threat.distance(found, x) <= radius + 1e-6).all()
    assert start == "universal" or not torch.equal(found, x)


def test_noise_reaches_twice_epsilon_and_its_steps_are_not_projected() -> None:
    """N-FGSM written out: x + U(±2ε) + ε · sign of the gradient there, cut to the domain alone."""
    net, x, labels = tiny_network().eval(), images(), torch.arange(6)
    noise = torch.empty_like(x).uniform_(-1, 1, generator=generator(2))
    start = (x + 0.12 * noise).clamp(0, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(net(start), labels), start)
    expected = (start + 0.06 * gradient.sign()).clamp(0, 1)
    found = maximise(AutogradView(net), batch_of(x, labels), THREAT, attack("noise"), generator(2), {})
    torch.testing.assert_close(found, expected.detach(), rtol=0, atol=1e-6)
    assert 0.12 < float(THREAT.distance(found, x).max()) <= 0.18 + 1e-6


@pytest.mark.parametrize(("norm", "error"), [("linf", 0.06 / 254 + 1e-6), ("l2", 1e-4)])
def test_what_is_carried_is_where_the_latest_attack_ended(norm: str, error: float) -> None:
    threat, settings = ThreatModel(norm=norm, epsilon=0.06), attack("carried")
    memory, x = memory_of(settings, threat), images()
    drawn = start_of(memory, settings, threat, batch_of(x), generator())
    assert float(threat.distance(drawn, x).max()) > 0.03, "the first is drawn in the ball"
    ended = threat.start(x, generator(8))
    keep_(memory, settings, threat, batch_of(x), drawn, ended)
    again = start_of(memory, settings, threat, batch_of(x), generator())
    assert float((again - ended).abs().max()) <= error
    other = Batch(x, torch.arange(6), torch.arange(10, 16), batch_of(x).crop_flip)
    assert not torch.allclose(start_of(memory, settings, threat, other, generator()), ended, atol=error), "of others"
    assert memory[CARRIED].dtype == (torch.int8 if norm == "linf" else torch.float16)


def test_carried_perturbations_are_drawn_anew_every_so_many_epochs() -> None:
    settings = attack("carried", reset_epochs=3)
    memory, g = memory_of(settings), generator(7)
    kept = memory[CARRIED].clone()
    changed = []
    for epoch in range(1, 8):
        begin_epoch_(memory, settings, THREAT, g, epoch, IMAGES.images, 10)
        changed.append(not torch.equal(kept, memory[CARRIED]))
        kept = memory[CARRIED].clone()
    assert changed == [False, False, True, False, False, True, False]


@pytest.mark.parametrize("follow", [True, False])
def test_a_carried_perturbation_moves_along_with_its_image(follow: bool) -> None:
    """On an image whose pixels tell their place, the perturbation of a pixel is found where the pixel is."""
    settings = attack("carried", follow=follow)
    memory, x = memory_of(settings), torch.full((40, 1, 8, 8), 0.5)
    memory[CARRIED].zero_()
    memory[CARRIED][:, :, 3, 4] = 127
    marked = torch.zeros(40, 1, 8, 8)
    marked[:, :, 3, 4] = 1
    moves = draw_crop_flip(40, Augmentation(crop_padding=2, flip=True), generator(5))
    start = start_of(memory, settings, THREAT, Batch(x, IMAGES.labels, torch.arange(40), moves), generator())
    place = moves.apply(marked) if follow else marked
    torch.testing.assert_close(start - x, 0.06 * place, rtol=0, atol=1e-6)


def test_moves_undo_what_they_did_and_leave_what_was_cut_off() -> None:
    before = torch.rand(30, 3, 7, 5, generator=generator())
    moves = draw_crop_flip(30, Augmentation(crop_padding=2, flip=True), generator(3))
    kept = torch.zeros_like(before)
    back = moves.undo(moves.apply(before), kept)
    seen = moves.undo(torch.ones_like(before), kept)
    assert torch.equal(back, before * seen)
    assert 0.5 < float(seen.mean()) < 1
    still = draw_crop_flip(30, Augmentation(crop_padding=0, flip=False), generator(3))
    assert torch.equal(still.undo(still.apply(before), kept), before)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_universal_perturbation_makes_a_step_where_most_of_its_class_moved(norm: str) -> None:
    threat, settings = ThreatModel(norm=norm, epsilon=0.06), attack("universal", step_size=0.02)
    memory, x, labels = memory_of(settings, threat), images(), torch.tensor([0, 0, 0, 7, 7, 7])
    assert torch.equal(start_of(memory, settings, threat, batch_of(x, labels), generator()), x)
    moves = torch.full_like(x, 0.01)
    moves[2] = -0.015
    moves[3:] = -0.01
    for _ in range(2):
        keep_(memory, settings, threat, batch_of(x, labels), x, x + moves)
    length = 2 * 0.02 / (1 if norm == "linf" else 8)  # 64 pixels, a unit vector
    start = start_of(memory, settings, threat, batch_of(x, labels), generator())
    torch.testing.assert_close(start - x, length * moves.sign() * torch.tensor([1, 1, -1, 1, 1, 1]).view(6, 1, 1, 1))
    assert not memory[UNIVERSAL][[1, 2, 9]].any(), "classes without images stay"
    for _ in range(9):
        keep_(memory, settings, threat, batch_of(x, labels), x, x + moves)
    start = start_of(memory, settings, threat, batch_of(x, labels), generator())
    assert (threat.distance(start, x) <= 0.06 + 1e-6).all()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("walked", [True, False])
def test_killed_after_an_epoch_it_goes_on_bit_for_bit(
    start: StartName, threads: int, walked: bool, tmp_path: Path
) -> None:
    settings = TINY_TRAINING.model_copy(update={"attack": attack(start, reset_epochs=2), "epochs": 3})
    network = tiny_network() if walked else unknown(tiny_network())
    whole, parts = (start_training(copy.deepcopy(network), settings, generator()) for _ in range(2))
    with torch_threads(threads):
        logs = [train_epoch(whole, IMAGES, settings, THREAT) for _ in range(3)]
        train_epoch(parts, IMAGES, settings, THREAT)
        save_training(tmp_path / "state", parts, "it")
        again = start_training(copy.deepcopy(network), settings, generator(99))
        load_training(tmp_path / "state", again, "it")
        assert [train_epoch(again, IMAGES, settings, THREAT) for _ in range(2)] == logs[1:]
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], tensor), name
    assert whole.memory.keys() == again.memory.keys()
    assert all(torch.equal(tensor, again.memory[name]) for name, tensor in whole.memory.items())


@pytest.mark.parametrize("start", ["carried", "universal"])
def test_two_threads_keep_what_one_keeps(start: StartName) -> None:
    """Images are in the same chunks' order: to what is kept, threads make no difference beyond rounding."""
    views: list[View] = [view_of(tiny_network().eval()), AutogradView(tiny_network().eval())]
    for view in views:
        kept = []
        for threads in (1, 2):
            settings = attack(start, steps=2)
            memory = memory_of(settings)
            with torch_threads(threads):
                maximise(view, batch_of(images()), THREAT, settings, generator(), memory)
            kept.append(next(iter(memory.values())).float())
        assert float((kept[0] != kept[1]).float().mean()) < 0.01


def test_losses_with_consistency_and_smoothed_labels_are_what_they_say() -> None:
    x, y = IMAGES.inputs()[:16], IMAGES.labels[:16]
    for method in ("trades", "madry"):
        found = {}
        for name, change in {
            "plain": {},
            "consistent": {"consistency": 3.0},
            "smooth": {"label_smoothing": 0.2},
        }.items():
            settings = TINY_TRAINING.model_copy(update={"method": method, **change})
            state = start_training(tiny_network(), settings, generator())
            found[name] = state.method.loss(state, batch_of(x, y), THREAT)
        net = tiny_network()
        state = start_training(net, TINY_TRAINING.model_copy(update={"method": method}), generator())
        assert state.method.attack is not None
        x_adv = maximise(state.view, batch_of(x, y), THREAT, state.method.attack, generator(), {})
        clean, adversarial = tiny_network()(x), tiny_network()(x_adv)
        gap = float((clean - adversarial).detach().square().mean())
        assert float((found["consistent"][0] - found["plain"][0]).detach()) == pytest.approx(3 * gap, rel=1e-3)
        own = clean if method == "trades" else adversarial
        smoothed = float((F.cross_entropy(own, y, label_smoothing=0.2) - F.cross_entropy(own, y)).detach())
        assert float((found["smooth"][0] - found["plain"][0]).detach()) == pytest.approx(smoothed, rel=1e-2, abs=1e-5)
