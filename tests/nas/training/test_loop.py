"""One epoch, by hand where it can be; resumption bit for bit."""

import copy
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from nas.attacks.threat import ThreatModel
from nas.base.errors import Diverged
from nas.data import Augmentation
from nas.data.domain import PIXELS
from nas.networks.norms import spectral_penalty
from nas.networks.view import view_of
from nas.training import Training
from nas.training.loop import TrainingState, scored_network, start_training, train_epoch
from nas.training.losses import trades_loss
from nas.training.settings import METHODS, InnerAttack
from nas.training.stored import load_training, save_training
from tests.builders import (
    TINY_TRAINING,
    augmented,
    generator,
    maximise_kl,
    tiny_images,
    tiny_network,
    torch_threads,
    with_unknown_activation,
)

THREAT = ThreatModel(epsilon=0.05)
IMAGES = tiny_images(40)


def settings(**changes: object) -> Training:
    return TINY_TRAINING.model_copy(update=changes)


def started(chosen: Training, seed: int = 0) -> TrainingState:
    return start_training(tiny_network(), chosen, generator(seed))


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return all(torch.equal(first[name], second[name]) for name in first)


def everything(state: TrainingState) -> dict[str, torch.Tensor]:
    found = {f"network.{name}": tensor for name, tensor in state.network.state_dict().items()}
    if state.average is not None:
        found |= {f"average.{name}": tensor for name, tensor in state.average.state_dict().items()}
    parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
    buffers = [state.optimizer.state[p].get("momentum_buffer") for p in parameters]
    found |= {f"momentum.{index}": buffer for index, buffer in enumerate(buffers) if buffer is not None}
    counters = {"epoch": torch.tensor(state.epoch), "step": torch.tensor(state.step)}
    return {**found, **counters, "generator": state.generator.get_state()}


def test_pixels_are_the_256th_levels_from_zero_to_one() -> None:
    assert PIXELS.to_input(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0, 0.2, 1])


def test_one_trades_step_is_the_formula_of_nesterov_sgd() -> None:
    chosen = settings(batch_size=40, epochs=1, schedule="constant", weight_decay=0.1, momentum=0.5, ema_decay=0.0)
    state, plain, g = started(chosen), tiny_network(), generator()
    log = train_epoch(state, IMAGES, chosen, THREAT)
    order = torch.randperm(40, generator=g)
    x = PIXELS.to_input(augmented(IMAGES.images[order], chosen.augmentation, g))
    x_adv = maximise_kl(view_of(plain), x, THREAT, chosen.attack, g)
    loss = trades_loss(plain(x), plain(x_adv), IMAGES.labels[order], 6.0)
    gradients = torch.autograd.grad(loss, list(plain.parameters()))
    for found, before, gradient in zip(state.network.parameters(), plain.parameters(), gradients, strict=True):
        full = gradient + (0.1 * before if before.dim() > 1 else 0)
        # the first momentum buffer is the gradient itself; Nesterov looks ahead by momentum times it
        torch.testing.assert_close(found, before - 0.05 * (full + 0.5 * full), rtol=1e-4, atol=1e-6)
    assert log.loss == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_the_lipschitz_penalty_adds_its_gradient_to_the_one_of_the_method(method: str) -> None:
    chosen = settings(
        method=method, batch_size=40, epochs=1, schedule="constant", weight_decay=0.0, momentum=0.0, ema_decay=0.0
    )
    other = chosen.model_copy(update={"lipschitz_penalty": 0.3})
    without, with_it, plain = started(chosen), started(other), tiny_network()
    log = train_epoch(without, IMAGES, chosen, THREAT)
    penalised = train_epoch(with_it, IMAGES, other, THREAT)
    # The penalty of a step uses the running statistics that the forward passes of that step have moved.
    plain.load_state_dict({
        name: tensor if "running" in name else dict(plain.named_parameters()).get(name, tensor)
        for name, tensor in without.network.state_dict().items()
    })  # fmt: skip
    penalty = spectral_penalty(plain)
    assert penalised.loss == pytest.approx(log.loss + 0.3 * penalty.item(), rel=1e-5)
    gradients = torch.autograd.grad(penalty, list(plain.parameters()), allow_unused=True, materialize_grads=True)
    for found, base, gradient in zip(
        with_it.network.parameters(), without.network.parameters(), gradients, strict=True
    ):
        torch.testing.assert_close(found, base - 0.05 * 0.3 * gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("method", "forwards"), [("trades", 2), ("madry", 1), ("natural", 1)])
def test_batch_norm_sees_only_the_forwards_in_training_mode(method: str, forwards: int) -> None:
    chosen = settings(method=method, batch_size=20)
    state = started(chosen)
    train_epoch(state, IMAGES, chosen, THREAT)
    assert state.network.state_dict()["features.0.1.num_batches_tracked"] == 2 * forwards


@pytest.mark.parametrize("method", METHODS)
def test_training_learns_the_images(method: str) -> None:
    chosen = settings(
        method=method,
        epochs=25,
        ema_decay=0.5,
        learning_rate=0.1,
        augmentation=Augmentation(crop_padding=0, flip=False),
    )
    state = started(chosen)
    logs = [train_epoch(state, tiny_images(40, 4), chosen, ThreatModel(epsilon=0.02)) for _ in range(25)]
    assert logs[-1].loss < 0.8 * logs[0].loss
    images = tiny_images(40, 4)
    accuracy = (
        (scored_network(state, images, chosen)(PIXELS.to_input(images.images)).argmax(1) == images.labels)
        .float()
        .mean()
    )
    assert accuracy > 0.5  # chance is 0.25


@pytest.mark.parametrize("method", METHODS)
def test_one_seed_gives_one_training_and_another_seed_another(method: str) -> None:
    chosen = settings(method=method)
    first, again, other = (started(chosen, seed) for seed in (0, 0, 1))
    logs = [train_epoch(state, IMAGES, chosen, THREAT) for state in (first, again, other)]
    assert same(first.network, again.network)
    assert not same(first.network, other.network)
    assert logs[0] == logs[1]
    assert logs[0] != logs[2]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize("channels", [1, 3])
def test_training_resumed_after_any_epoch_is_the_uninterrupted_training_bit_for_bit(
    tmp_path: Path, method: str, ema_decay: float, channels: int
) -> None:
    chosen = settings(method=method, epochs=3, ema_decay=ema_decay)
    images, shape = tiny_images(40, channels=channels), (channels, 8, 8)
    whole = start_training(tiny_network(0, shape), chosen, generator())
    logs = []
    for epoch in range(3):
        logs.append(train_epoch(whole, images, chosen, THREAT))
        save_training(tmp_path / f"{epoch + 1}", whole, "print")
    for epoch in (1, 2):
        resumed = start_training(tiny_network(5, shape), chosen, generator(99))
        load_training(tmp_path / f"{epoch}", resumed, "print")
        assert (resumed.epoch, resumed.step) == (epoch, 3 * epoch)
        assert [train_epoch(resumed, images, chosen, THREAT) for _ in range(3 - epoch)] == logs[epoch:]
        expected, found = everything(whole), everything(resumed)
        assert expected.keys() == found.keys()
        for name, tensor in expected.items():
            assert torch.equal(tensor, found[name]), name


@pytest.mark.parametrize("method", METHODS)
def test_a_copied_state_trains_as_the_original_and_leaves_it_alone(method: str) -> None:
    chosen = settings(method=method)
    state = started(chosen)
    train_epoch(state, IMAGES, chosen, THREAT)
    before = {name: tensor.clone() for name, tensor in everything(state).items()}
    copied, other = copy.deepcopy(state), copy.deepcopy(state)
    for one, seed in ((copied, 3), (other, 4)):
        one.generator = generator(seed)
        train_epoch(one, IMAGES, chosen, THREAT)
    assert all(torch.equal(tensor, before[name]) for name, tensor in everything(state).items())
    state.generator = generator(3)
    train_epoch(state, IMAGES, chosen, THREAT)

    def distance(one: TrainingState) -> float:
        mine, theirs = state.network.parameters(), one.network.parameters()
        return sum(float((a - b).detach().norm()) for a, b in zip(mine, theirs, strict=True))

    # Not bit for bit on every processor: some kernels round by where in memory their tensors lie.
    assert distance(copied) < distance(other) / 5


@pytest.mark.parametrize("method", METHODS)
def test_two_threads_train_a_network_that_autograd_walks_as_one_does(method: str) -> None:
    chosen = settings(method=method)
    states = []
    for threads in (1, 2):
        state = start_training(with_unknown_activation(tiny_network()), chosen, generator())
        with torch_threads(threads):
            train_epoch(state, IMAGES, chosen, THREAT)
        assert all(module.training for module in state.network.modules())
        assert all(parameter.requires_grad for parameter in state.network.parameters())
        states.append(state.network.state_dict())
    for name, tensor in states[0].items():
        torch.testing.assert_close(states[1][name], tensor, rtol=1e-3, atol=1e-4, msg=name)


def test_the_accuracy_of_an_epoch_is_a_share_of_the_images_that_were_shown() -> None:
    chosen = settings(batch_size=13)  # 40 = 3 * 13 + 1
    log = train_epoch(started(chosen), IMAGES, chosen, THREAT)
    assert log.train_accuracy * 39 == pytest.approx(round(log.train_accuracy * 39))


def test_decay_is_for_kernels_and_the_classifier_only() -> None:
    groups = started(settings(weight_decay=0.3)).optimizer.param_groups
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0]
    assert all(p.dim() > 1 for p in groups[0]["params"])
    assert all(p.dim() == 1 for p in groups[1]["params"])
    assert sum(len(group["params"]) for group in groups) == len(list(tiny_network().parameters()))


def test_the_rate_in_the_log_is_the_schedules_at_the_end_of_the_epoch() -> None:
    chosen = settings(epochs=4, schedule="cosine")
    state = started(chosen)
    rates = [train_epoch(state, IMAGES, chosen, THREAT).learning_rate for _ in range(4)]
    assert rates == pytest.approx([0.05 * 0.8535534, 0.025, 0.05 * 0.1464466, 0.0], abs=1e-9)


def test_the_average_is_kept_only_where_a_decay_asks_for_it() -> None:
    assert started(settings(ema_decay=0.0)).average is None
    state = started(settings(ema_decay=0.9))
    assert state.average is not None
    assert not any(p.requires_grad for p in state.average.parameters())
    assert same(state.average, state.network)
    assert state.average is not state.network


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_a_divergence_with_what_to_do(value: float) -> None:
    state = started(settings())
    with torch.no_grad():
        state.network.classifier.weight.fill_(value)
    with pytest.raises(Diverged, match=r"epoch 1 is nan; lower training\.learning_rate"):
        train_epoch(state, IMAGES, settings(), THREAT)


def test_weights_without_norms_are_a_divergence_too() -> None:
    chosen = settings(lipschitz_penalty=0.1)
    state = started(chosen)
    with torch.no_grad():
        state.network.classifier.weight.fill_(float("nan"))
    with pytest.raises(Diverged, match=r"not finite and have no norms; lower training\.learning_rate"):
        train_epoch(state, IMAGES, chosen, THREAT)


def test_the_scored_network_is_the_average_with_statistics_of_clean_images() -> None:
    chosen = settings(batch_norm_images=32, batch_size=16)
    state = started(chosen)
    train_epoch(state, IMAGES, chosen, THREAT)
    before = copy.deepcopy(everything(state))
    scored = scored_network(state, IMAGES, chosen)
    assert all(torch.equal(tensor, before[name]) for name, tensor in everything(state).items()), "the state changed"
    assert not any(module.training for module in scored.modules())
    assert not any(p.requires_grad for p in scored.parameters())
    assert state.average is not None
    for found, wanted in zip(scored.parameters(), state.average.parameters(), strict=True):
        assert torch.equal(found, wanted)
    maps = F.conv2d(PIXELS.to_input(IMAGES.images[:32]), scored.features[0][0].weight, padding=1)
    torch.testing.assert_close(scored.features[0][1].running_mean, maps.mean((0, 2, 3)), rtol=1e-4, atol=1e-6)


def test_without_batch_norm_images_the_running_averages_are_scored() -> None:
    chosen = settings(batch_norm_images=0, ema_decay=0.0)
    state = started(chosen)
    train_epoch(state, IMAGES, chosen, THREAT)
    assert same(scored_network(state, IMAGES, chosen), state.network)


def test_the_natural_method_uses_no_chance_for_an_attack() -> None:
    chosen = settings(method="natural", attack=InnerAttack(steps=7))
    other = settings(method="natural", attack=InnerAttack(steps=1))
    first, second = started(chosen), started(other)
    train_epoch(first, IMAGES, chosen, THREAT)
    train_epoch(second, IMAGES, other, ThreatModel(epsilon=0.3))
    assert same(first.network, second.network)


@pytest.mark.parametrize("method", ["trades", "madry"])
def test_an_attack_in_bfloat16_changes_only_the_attack(method: str) -> None:
    attack = InnerAttack(steps=2, step_size=0.05, precision="bfloat16")
    chosen = settings(method=method, epochs=1, batch_size=40)
    coarse, fine = started(chosen.model_copy(update={"attack": attack})), started(chosen)
    x = PIXELS.to_input(IMAGES.images)
    torch.testing.assert_close(coarse.view.logits(x), fine.view.logits(x), rtol=0.05, atol=0.05)
    assert not torch.equal(coarse.view.logits(x), fine.view.logits(x))
    x_adv = maximise_kl(coarse.view, x, THREAT, attack, generator())
    assert x_adv.dtype == torch.float32
    assert (x_adv - x).abs().max() <= THREAT.epsilon + 1e-6
    logs = [train_epoch(state, IMAGES, chosen, THREAT) for state in (coarse, fine)]
    assert logs[0] != logs[1]
    assert logs[0].loss == pytest.approx(logs[1].loss, rel=0.02)
    assert {tensor.dtype for tensor in coarse.network.parameters()} == {torch.float32}
    assert torch.equal(coarse.generator.get_state(), fine.generator.get_state())


def test_an_epoch_takes_the_settings_it_is_given_not_those_of_the_epoch_before() -> None:
    changed, afresh = started(settings()), started(settings())
    for state in (changed, afresh):
        train_epoch(state, IMAGES, settings(), THREAT)
    afresh.steps = None
    logs = [train_epoch(state, IMAGES, settings(method="natural"), THREAT) for state in (changed, afresh)]
    assert logs[0] == logs[1]
    assert same(changed.network, afresh.network)


@pytest.mark.parametrize("method", ["trades", "madry"])
def test_a_method_begins_after_the_natural_epochs(method: str) -> None:
    late, natural, at_once = (
        started(chosen) for chosen in (
            settings(method=method, epochs=2, natural_until=0.5), settings(method="natural", epochs=2),
            settings(method=method, epochs=2),
        )
    )  # fmt: skip
    logs = [train_epoch(state, IMAGES, state.settings, THREAT) for state in (late, natural, at_once)]
    assert same(late.network, natural.network)
    assert not same(late.network, at_once.network)
    assert [log.attack_steps for log in logs] == [0, 0, TINY_TRAINING.attack.steps]
    logs = [train_epoch(state, IMAGES, state.settings, THREAT) for state in (late, natural)]
    assert not same(late.network, natural.network)
    assert logs[0].attack_steps == TINY_TRAINING.attack.steps
