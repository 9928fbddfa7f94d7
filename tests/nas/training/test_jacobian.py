"""Jacobian regularisation in a training: its gradient beside every method's, resumption, and what it achieves."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.attacks.threat import ThreatModel
from nas.data.domain import PIXELS
from nas.networks.jacobian import block_penalty, output_penalty
from nas.networks.view import view_of
from nas.training import Training
from nas.training.loop import TrainingState, scored_network, start_training, train_epoch
from nas.training.methods import BaseMethod, Distilled, Penalised, Teacher, method_of
from nas.training.settings import METHODS, InnerAttack, Jacobian, naming_facts
from nas.training.stored import load_training, save_training
from tests.builders import (
    TINY_TRAINING,
    augmented,
    batch_of,
    generator,
    tiny_images,
    tiny_network,
    torch_threads,
    with_unknown_activation,
)

THREAT = ThreatModel(epsilon=0.05)
IMAGES = tiny_images(40)
OUTPUTS, BLOCKS = Jacobian(weight=0.5), Jacobian(weight=0.2, projections=2, of="blocks")
each_method = pytest.mark.parametrize("method", METHODS)
each_kind = pytest.mark.parametrize("jacobian", [OUTPUTS, BLOCKS], ids=["outputs", "blocks"])


def settings(**changes: Any) -> Training:
    return TINY_TRAINING.model_copy(update=changes)


def one_plain_step(**changes: Any) -> Training:
    """One step of all images, with plain gradient descent."""
    plain = {"epochs": 1, "schedule": "constant", "weight_decay": 0.0, "momentum": 0.0, "ema_decay": 0.0}
    return settings(batch_size=40, **plain, **changes)


@each_method
@each_kind
def test_it_adds_its_gradient_at_the_clean_images_to_the_one_of_the_method(method: str, jacobian: Jacobian) -> None:
    chosen, plain = one_plain_step(method=method), tiny_network()
    other = chosen.model_copy(update={"jacobian": jacobian})
    without, with_it = (start_training(tiny_network(), one, generator()) for one in (chosen, other))
    logs = [train_epoch(state, IMAGES, one, THREAT) for state, one in ((without, chosen), (with_it, other))]
    # Its directions are drawn after all that the method draws.
    g = generator()
    x = PIXELS.to_input(augmented(IMAGES.images[torch.randperm(40, generator=g)], chosen.augmentation, g))
    penalty = output_penalty if jacobian.of == "outputs" else block_penalty
    value = jacobian.weight * penalty(plain, x, jacobian.projections, without.generator)
    assert torch.equal(with_it.generator.get_state(), without.generator.get_state())
    assert logs[1].loss == pytest.approx(logs[0].loss + value.item(), rel=1e-5)
    assert value > 0.001
    gradients = torch.autograd.grad(value, list(plain.parameters()), allow_unused=True, materialize_grads=True)
    states = (with_it.network, without.network)
    for found, base, gradient in zip(*(network.parameters() for network in states), gradients, strict=True):
        torch.testing.assert_close(found, base - 0.05 * gradient, rtol=1e-4, atol=1e-6)
    for found, base in zip(*(network.buffers() for network in states), strict=True):
        torch.testing.assert_close(found, base, msg="no forward pass of it moves a statistic")


def everything(state: TrainingState) -> dict[str, Tensor]:
    assert state.average is not None
    networks = {"own": state.network, "average": state.average}
    found = {f"{name}.{key}": t for name, one in networks.items() for key, t in one.state_dict().items()}
    return {**found, "generator": state.generator.get_state()}


@pytest.mark.parametrize(
    ("method", "jacobian", "path"),
    [("trades", OUTPUTS, "fast"), ("madry", BLOCKS, "autograd"), ("natural", OUTPUTS, "autograd")],
)
def test_resumed_it_is_the_uninterrupted_training_bit_for_bit(
    tmp_path: Path, method: str, jacobian: Jacobian, path: str
) -> None:
    chosen, make = settings(method=method, jacobian=jacobian), tiny_network if path == "fast" else bent_network
    whole, resumed = (start_training(make(seed), chosen, generator(seed)) for seed in (0, 5))
    train_epoch(whole, IMAGES, chosen, THREAT)
    save_training(tmp_path / "state", whole, "print")
    load_training(tmp_path / "state", resumed, "print")
    copied = copy.deepcopy(whole)
    copied.generator.set_state(whole.generator.get_state())
    logs = [train_epoch(state, IMAGES, chosen, THREAT) for state in (whole, resumed, copied)]
    assert logs[1:] == logs[:1] * 2
    for name, tensor in everything(whole).items():
        assert torch.equal(tensor, everything(resumed)[name]), name
        assert torch.equal(tensor, everything(copied)[name]), name
    assert all(module.training for module in whole.network.modules())


def bent_network(seed: int = 0) -> Any:
    """With an activation that only autograd knows, and that has a second derivative."""
    return with_unknown_activation(tiny_network(seed))


@each_kind
def test_two_threads_train_as_one(jacobian: Jacobian) -> None:
    chosen, found = settings(method="madry", jacobian=jacobian), []
    for threads in (1, 2):
        state = start_training(bent_network(), chosen, generator())
        with torch_threads(threads):
            train_epoch(state, IMAGES, chosen, THREAT)
        found.append(state.network.state_dict())
    for name, tensor in found[0].items():
        torch.testing.assert_close(found[1][name], tensor, rtol=1e-3, atol=1e-4, msg=name)


def test_the_jacobian_of_a_network_trained_with_it_is_smaller() -> None:
    images, squares = tiny_images(40, 4), []
    for weight in (0.0, 0.05):
        chosen = settings(method="natural", jacobian=Jacobian(weight=weight), epochs=15, ema_decay=0.5)
        state = start_training(tiny_network(num_classes=4), chosen, generator())
        for _ in range(15):
            train_epoch(state, images, chosen, THREAT)
        scored = scored_network(state, images, chosen)
        assert (scored(images.inputs()).argmax(1) == images.labels).double().mean() > 0.5, "chance is 0.25"
        squares.append(output_penalty(scored, images.inputs(), 20, generator()).item())
    assert squares[1] < 0.6 * squares[0]


class Foreign(BaseMethod):
    """A method of a plugin: the squared logits."""

    def loss(self, state: TrainingState, batch: Any, threat: ThreatModel) -> tuple[Tensor, Tensor]:
        (logits,) = state.forward(batch.x)
        return logits.square().mean(), logits


def test_it_goes_with_a_method_from_outside_a_teacher_the_other_penalty_and_the_alarm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(METHODS, "foreign", f"{__name__}:Foreign")
    teacher = Teacher(view_of(tiny_network(2).eval()))
    for method in ("trades", "foreign", "taught"):
        chosen = settings(
            method="trades" if method == "taught" else method, jacobian=OUTPUTS, lipschitz_penalty=0.1,
            attack=InnerAttack(steps=1, start="uniform"),
        )  # fmt: skip
        taught = teacher if method == "taught" else None
        alone = [
            method_of(chosen.model_copy(update=change), taught)
            for change in ({"jacobian": Jacobian(), "lipschitz_penalty": 0.0}, {"jacobian": Jacobian()},
                           {"lipschitz_penalty": 0.0}, {})
        ]  # fmt: skip
        assert isinstance(alone[0], Distilled) == (method == "taught")
        losses = []
        for one in alone:
            state = start_training(tiny_network(1), chosen, generator(3))
            state.method, state.teacher = one, taught
            losses.append(one.loss(state, batch_of(IMAGES.inputs(), IMAGES.labels), THREAT)[0])
        base, lipschitz, jacobian, both = losses
        torch.testing.assert_close(both - base, (lipschitz - base) + (jacobian - base), rtol=1e-3, atol=1e-4)
        assert jacobian > base
        state = start_training(tiny_network(1), chosen, generator(3))
        state.doublings = 1
        state.refresh_()
        assert isinstance(state.method, Penalised)
        assert state.method.attack is None or state.method.attack.steps == 2
        assert not state.method.can_capture


def test_a_training_without_it_keeps_its_name_and_one_with_it_gets_its_own() -> None:
    plain = naming_facts(TINY_TRAINING)
    assert "jacobian" not in plain
    named = [naming_facts(settings(jacobian=jacobian)) for jacobian in (OUTPUTS, BLOCKS)]
    assert named[0]["jacobian"] == {"weight": 0.5, "projections": 1, "of": "outputs"}
    assert named[0] != named[1]
    assert all({**one, "jacobian": 0} == {**plain, "jacobian": 0} for one in named)
