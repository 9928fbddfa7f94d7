"""Learning from a teacher: the loss by hand, and what it leaves alone."""

import copy

import pytest
import torch
from torch.nn import functional as F

from nas.attacks.threat import ThreatModel
from nas.data import Augmentation
from nas.networks.view import view_of
from nas.training.inner import maximise
from nas.training.loop import scored_network, start_training, train_epoch
from nas.training.methods import Distilled, Penalised, Teacher, method_of
from nas.training.settings import InnerAttack
from search_spaces.network import Network
from tests.builders import TINY_TRAINING, batch_of, generator, tiny_images, tiny_network

THREAT = ThreatModel(epsilon=0.1)
IMAGES = tiny_images(24)


def sure_teacher() -> Network:
    """Untrained in eval mode, its features are small: scaled, it is sure of itself, and not always of one class."""
    teacher = tiny_network(2).eval()
    with torch.no_grad():
        teacher.classifier.weight *= 2e4
    return teacher


@pytest.mark.parametrize("weight", [1.0, 0.3])
@pytest.mark.parametrize(("method", "beta"), [("trades", 6.0), ("madry", 2.0), ("natural", 3.0)])
def test_the_loss_is_what_it_says(method: str, beta: float, weight: float) -> None:
    attack = InnerAttack(steps=2, start="uniform")
    settings = TINY_TRAINING.model_copy(update={"method": method, "beta": beta, "attack": attack})
    network, teacher = tiny_network(1), sure_teacher()
    state = start_training(network, settings, generator(3), Teacher(view_of(teacher), weight))
    plain = start_training(copy.deepcopy(network), settings, generator(3))
    batch = batch_of(IMAGES.inputs(), IMAGES.labels)
    loss, logits = state.method.loss(state, batch, THREAT)
    with torch.no_grad():
        told = weight * F.softmax(teacher(batch.x), 1) + (1 - weight) * F.one_hot(batch.y, 10)
    if method == "natural":
        expected = F.kl_div(F.log_softmax(plain.network.train()(batch.x), 1), told, reduction="batchmean")
    else:
        assert plain.method.attack is not None
        x_adv = maximise(plain.view, batch, THREAT, plain.method.attack, plain.generator, plain.memory)
        both = [F.log_softmax(plain.network.train()(x), 1) for x in (batch.x, x_adv)]
        clean, adversarial = (F.kl_div(one, told, reduction="batchmean") for one in both)
        expected = (clean + beta * adversarial) / (1 + beta)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    assert logits.shape == (len(IMAGES), 10)
    assert state.method.attack == plain.method.attack, "attacked as by the method"


def test_a_training_follows_its_teacher_and_leaves_it_as_it_was() -> None:
    teacher = sure_teacher()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    settings = TINY_TRAINING.model_copy(update={"epochs": 60, "ema_decay": 0.0, "augmentation": Augmentation()})
    agreed = []
    for told_by in (teacher, None):
        taught = None if told_by is None else Teacher(view_of(told_by))
        state = start_training(tiny_network(1), settings, generator(3), taught)
        logs = [train_epoch(state, IMAGES, settings, THREAT) for _ in range(60)]
        with torch.no_grad():
            told = teacher(IMAGES.inputs()).argmax(1)
            learned = scored_network(state, IMAGES, settings)(IMAGES.inputs()).argmax(1)
        agreed.append(float((learned == told).double().mean()))
        if told_by is not None:
            assert logs[-1].loss < 0.5 * logs[0].loss
    assert agreed[0] > agreed[1] + 0.3, "labels are drawn at random: only the teacher can have taught this"
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_without_a_teacher_nothing_changes_and_with_one_a_penalty_stays() -> None:
    teacher = Teacher(view_of(tiny_network(2).eval()))
    assert isinstance(method_of(TINY_TRAINING, teacher), Distilled)
    assert not isinstance(method_of(TINY_TRAINING), Distilled)
    penalised = method_of(TINY_TRAINING.model_copy(update={"lipschitz_penalty": 0.1}), teacher)
    assert isinstance(penalised, Penalised)
    assert penalised.attack == method_of(TINY_TRAINING).attack


def test_the_alarm_keeps_the_teacher() -> None:
    attack = InnerAttack(steps=1)
    settings = TINY_TRAINING.model_copy(update={"attack": attack})
    state = start_training(tiny_network(1), settings, generator(3), tiny_network(2).eval())
    state.doublings = 1
    state.refresh_()
    assert isinstance(state.method, Distilled)
    assert state.method.attack is not None
    assert (state.method.attack.steps, state.method.attack.start) == (2, "carried")


def test_a_natural_beginning_has_the_teacher_too() -> None:
    settings = TINY_TRAINING.model_copy(update={"natural_until": 0.5, "epochs": 4})
    network, teacher = tiny_network(1), sure_teacher()
    state = start_training(network, settings, generator(3), Teacher(view_of(teacher)))
    batch = batch_of(IMAGES.inputs(), IMAGES.labels)
    loss, _ = state.method.loss(state, batch, THREAT)
    with torch.no_grad():
        told = F.softmax(teacher(batch.x), 1)
    expected = F.kl_div(F.log_softmax(network.train()(batch.x), 1), told, reduction="batchmean")
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
