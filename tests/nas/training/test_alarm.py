"""The alarm: silent over a healthy training, and an end to catastrophic overfitting."""

import json
from pathlib import Path
from random import Random

import pytest
import torch

from nas.attacks.threat import ThreatModel
from nas.data.split import Split
from nas.networks.build import new_network
from nas.networks.treatments import Quantize
from nas.networks.treatments.treatment import prepare_
from nas.networks.view import view_of
from nas.runs import make_space
from nas.training import Training, alarm
from nas.training.alarm import (
    Gap,
    alarm_passes,
    alarm_warnings,
    attack_of,
    held_out,
    looks_behind,
    measure_gap,
    turn_of,
    watch,
)
from nas.training.loop import TrainingState, start_training, train_epoch
from nas.training.settings import InnerAttack
from nas.training.stored import load_training, save_training
from tests.builders import TINY_TRAINING, generator, tiny_images, tiny_network
from tests.honest import digits_config, digits_data

THREAT = ThreatModel(epsilon=0.2)
IMAGES = tiny_images(40)


def induced(split: Split) -> Split:
    """Digits with a pattern of their class, a little weaker than the ball is wide.

    A network that hides the pattern's gradient withstands one step and nothing else: catastrophic overfitting on
    purpose (Ortiz-Jimenez 2023, "Catastrophic overfitting can be induced with discriminative non-robust features").
    """
    pattern = torch.randn((10, 1, 8, 8), generator=generator(1)).sign()
    x = 0.15 + 0.7 * split.inputs() + 0.9 * THREAT.epsilon * pattern[split.labels]
    return Split((255 * x.clamp(0, 1)).round().to(torch.uint8), split.labels)


def trained(settings: Training, data: Split, watched: Split | None) -> tuple[TrainingState, list[object]]:
    state = start_training(tiny_network(), settings, generator())
    return state, [train_epoch(state, data, settings, THREAT, watched) for _ in range(settings.epochs)]


def test_it_counts_what_the_weaker_attack_misses() -> None:
    net = tiny_network().eval()
    weak, strong = InnerAttack(steps=1, start="uniform", loss="cross_entropy", step_size=1e-6), alarm.REFERENCE
    found = measure_gap(view_of(net), IMAGES, weak, THREAT, {}, 1)
    assert found == measure_gap(view_of(net), IMAGES, weak, THREAT, {}, 1), "the same chance"
    assert 0 < found.fell <= found.withstood == int((net(IMAGES.inputs()).argmax(1) == IMAGES.labels).sum())
    none = measure_gap(view_of(net), IMAGES, strong, THREAT, {}, 1)
    assert none.withstood <= found.withstood - found.fell
    assert none.fell == 0, "PGD-10 misses next to nothing that PGD-10 finds"
    assert Gap(20, 14).is_open()
    assert not Gap(20, 13).is_open()
    assert not Gap(7, 7).is_open(), "too few to say"
    assert Gap(60, 18, 250).is_open(60), "42 of the 60 that remained: more than two standard errors less"
    assert not Gap(60, 12, 250).is_open(60), "a fifth falls to any stronger attack"
    assert not Gap(60, 18, 250).is_open(50), "no fewer than before"
    assert not Gap(60, 18).is_open(60), "of another network than before"
    assert (Gap(0, 0).share, Gap(20, 5).share) == (0.0, 0.25)


def test_its_passes_are_those_of_the_epochs_it_looks_behind() -> None:
    attack = InnerAttack(steps=2)
    looks = {(10, 1): 7, (10, 8): 3, (30, 1): 21, (3, 1): 0}  # from epoch 4, and a third of the training, on
    for (epochs, first), count in looks.items():
        found = alarm_passes(attack, range(first, epochs + 1), epochs, 32)
        assert found == pytest.approx(count * 32 * (2 + 10 + 2 / 3))
    assert alarm_passes(InnerAttack(steps=10), range(1, 11), 10, 32) == 0
    assert alarm_passes(None, range(1, 11), 10, 32) == 0


def test_it_waits_where_a_network_begins_to_round() -> None:
    assert turn_of(10, 0) == 0
    assert [turn_of(10, share) for share in (0.5, 0.41, 1)] == [5, 5, 10]
    assert [epoch for epoch in range(1, 13) if looks_behind(epoch, 12, 0.5)] == [4, 5, 10, 11, 12]
    assert [epoch for epoch in range(1, 11) if looks_behind(epoch, 10, 1)] == [4, 5, 6, 7, 8, 9]


def test_what_withstood_before_a_network_rounds_is_forgotten(monkeypatch: pytest.MonkeyPatch, at_once: None) -> None:
    settings = TINY_TRAINING.model_copy(update={"epochs": 6})
    network = tiny_network()
    prepare_(network, (Quantize(weights=2, activations=4, start=0.5),), generator())
    state = start_training(network, settings, generator())
    script = [Gap(20, 0, 20), *[Gap(18, 8, 20)] * 4]  # behind the second epoch and later
    monkeypatch.setattr("nas.training.loop.measure_gap", lambda *_: script.pop(0))
    data = tiny_images(32)
    logs = [train_epoch(state, data, settings, THREAT, data) for _ in range(6)]
    assert [log.undone for log in logs] == [()] * 6, "8 of 18 would be far fewer than 20 of 20 before"
    assert state.most_withstanding == 10


def test_it_saves_a_training_that_collapses() -> None:
    config, digits = digits_config(), digits_data()
    data, others = induced(digits.train), induced(digits.validation)
    once = InnerAttack(steps=1, start="normal", loss="cross_entropy")
    settings = config.training.model_copy(update={"method": "madry", "attack": once, "epochs": 8})
    space = make_space(config, digits.input_shape, digits.num_classes)
    spec = space.spec(space.genotype({c.name: c.options[len(c.options) // 2] for c in space.choices}))
    robust, states = {}, {}
    for rings in (False, True):
        chosen = settings.model_copy(update={"alarm": rings})
        state = start_training(new_network(spec, generator(), digits.mean, digits.std), chosen, generator())
        watched = held_out(others, len(data))
        logs = [train_epoch(state, data, chosen, THREAT, watched) for _ in range(chosen.epochs)]
        attack = state.method.attack
        assert attack is not None
        gap = measure_gap(state.view, others, attack, THREAT, state.memory, 99)
        robust[rings], states[rings] = (gap.withstood - gap.fell) / len(others), gap
    assert states[False].is_open(), "without the alarm, the training is overfitted to its one step"
    assert not states[True].is_open()
    assert robust[True] > robust[False] + 0.04, "under PGD-10"

    rang = [log for log in logs if log.undone]
    assert state.doublings == sum(len(log.undone) for log in rang) > 0
    assert attack.steps == min(10, 2**state.doublings) == logs[-1].attack_steps
    (warning,) = alarm_warnings([vars(log) for log in logs])
    assert "overfitted its own attack in epoch" in warning
    assert warning.endswith(f"its steps raised to {attack.steps}")


def test_a_healthy_training_is_the_unwatched_one_bit_for_bit(at_once: None) -> None:
    settings = TINY_TRAINING.model_copy(update={"epochs": 3})
    data = tiny_images(48)
    plain, logs = trained(settings, data, None)
    watched, seen = trained(settings, data, held_out(tiny_images(40, 7), 48))
    assert all(log.gap is not None and not log.undone for log in seen)  # type: ignore[attr-defined]
    assert [log.loss for log in logs] == [log.loss for log in seen]  # type: ignore[attr-defined]
    for name, tensor in plain.network.state_dict().items():
        assert torch.equal(tensor, watched.network.state_dict()[name]), name


@pytest.mark.parametrize("change", [{"alarm": False}, {"method": "natural"}, {"attack": InnerAttack(steps=10)}])
def test_nothing_is_watched_where_it_is_off_or_makes_no_sense(change: dict[str, object]) -> None:
    _, logs = trained(TINY_TRAINING.model_copy(update={"epochs": 1} | change), IMAGES, IMAGES)
    assert [log.gap for log in logs] == [None]  # type: ignore[attr-defined]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs are looked at from the first third of a training on, however short it is."""
    monkeypatch.setattr(alarm, "WARM_UP", 0)


class Scripted:
    """Gaps as a script says, in place of measured ones."""

    def __init__(self, *fallen: int) -> None:
        self.gaps = [Gap(20, count) for count in fallen]

    def __call__(self, *_: object) -> Gap:
        return self.gaps.pop(0) if self.gaps else Gap(20, 0)


@pytest.mark.parametrize("start", ["normal", "carried"])
def test_an_undone_epoch_is_made_again_from_the_state_before_it_with_twice_the_steps(
    start: str, monkeypatch: pytest.MonkeyPatch, at_once: None
) -> None:
    once = InnerAttack(steps=1, start=start, loss="cross_entropy")  # type: ignore[arg-type]
    settings = TINY_TRAINING.model_copy(update={"attack": once, "epochs": 2})
    monkeypatch.setattr("nas.training.loop.measure_gap", Scripted(0, 18, 19))
    state, logs = trained(settings, IMAGES, IMAGES)
    assert [(log.attack_steps, log.undone) for log in logs] == [(1, ()), (4, (0.9, 0.95))]  # type: ignore[attr-defined]

    other = start_training(tiny_network(), settings, generator())
    train_epoch(other, IMAGES, settings, THREAT)
    other.doublings = 2
    other.refresh_()
    train_epoch(other, IMAGES, settings, THREAT)
    for name, tensor in state.network.state_dict().items():
        assert torch.equal(tensor, other.network.state_dict()[name]), name
    assert state.step == other.step
    assert torch.equal(state.generator.get_state(), other.generator.get_state())


def test_a_training_resumed_behind_an_alarm_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: None
) -> None:
    settings = TINY_TRAINING.model_copy(update={"attack": InnerAttack(steps=1), "epochs": 3})
    monkeypatch.setattr("nas.training.loop.measure_gap", Scripted(19))
    state = start_training(tiny_network(), settings, generator())
    train_epoch(state, IMAGES, settings, THREAT, IMAGES)
    save_training(tmp_path / "state", state, "it")
    resumed = start_training(tiny_network(), settings, generator(9))
    load_training(tmp_path / "state", resumed, "it")
    for _ in range(2):
        logs = [train_epoch(one, IMAGES, settings, THREAT, IMAGES) for one in (state, resumed)]
        assert logs[0] == logs[1]
        assert logs[0].attack_steps == 2
    for name, tensor in state.network.state_dict().items():
        assert torch.equal(tensor, resumed.network.state_dict()[name]), name


def test_steps_are_doubled_to_those_of_the_reference_and_then_watched_no_more(at_once: None) -> None:
    assert [attack_of(InnerAttack(steps=3), times).steps for times in range(4)] == [3, 6, 10, 10]
    state = start_training(tiny_network(), TINY_TRAINING, generator())
    calls: list[int] = []

    def train() -> None:
        calls.append(state.doublings)
        state.epoch += 1

    found = watch(
        state, train, lambda: attack_of(InnerAttack(steps=3), state.doublings), lambda *_: Gap(20, 20), IMAGES, 1
    )
    assert found == (None, None, (1.0, 1.0)), "no log, no gap, two undone"
    assert calls == [0, 1, 2]
    assert state.epoch == 1, "undone epochs do not count"


def test_a_log_without_an_alarm_says_nothing() -> None:
    assert alarm_warnings([{"epoch": 1, "loss": 2.0}, {"epoch": 2, "undone": []}]) == ()
    stored = json.loads(json.dumps([{"epoch": 4, "undone": [0.75, 0.9], "attack_steps": 4}]))
    (text,) = alarm_warnings(stored)
    assert "in epoch 4: 90% of the held-out images" in text


@pytest.mark.parametrize(("epochs", "looked_at"), [(3, []), (10, [4, 5, 6, 7, 8, 9, 10]), (30, list(range(10, 31)))])
def test_the_first_epochs_are_not_looked_at(epochs: int, looked_at: list[int]) -> None:
    """A network that has learned little falls to any stronger attack."""
    state = start_training(tiny_network(), TINY_TRAINING, generator())
    seen: list[int] = []

    def train() -> None:
        state.epoch += 1

    def gap(*_: object) -> Gap:
        seen.append(state.epoch)
        return Gap(20, 0)

    for _ in range(epochs):
        watch(state, train, lambda: InnerAttack(steps=5), gap, IMAGES, epochs)
    assert seen == looked_at


def test_healthy_trainings_of_digits_raise_no_alarm() -> None:
    """Networks of different sizes, TRADES with one carried step as in configs/digits.yaml, six of ten epochs."""
    config, digits = digits_config(), digits_data()
    settings = config.training.model_copy(update={"epochs": 10})
    space = make_space(config, digits.input_shape, digits.num_classes)
    watched = held_out(digits.validation, len(digits.train))
    for seed in range(2):
        spec = space.spec(space.sample(Random(seed)))
        state = start_training(new_network(spec, generator(seed), digits.mean, digits.std), settings, generator())
        logs = [train_epoch(state, digits.train, settings, config.threat, watched) for _ in range(6)]
        assert [log.undone for log in logs] == [()] * 6
        assert [log.gap is not None for log in logs] == [False] * 3 + [True] * 3
