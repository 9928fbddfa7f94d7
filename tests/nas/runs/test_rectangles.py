"""Inputs that are not square, from the space to the last rung of the attack ladder."""

import pytest
import torch

from nas.attacks.threat import ThreatModel
from nas.data.split import Split
from nas.evaluation import EvaluationSettings
from nas.evaluation.evaluate import evaluate
from nas.training.loop import scored_network, start_training, train_epoch
from search_spaces import NetworkSpec
from search_spaces.network import build_network
from tests.builders import TINY_LADDER, TINY_TRAINING, generator, spectrogram_spec, tiny_space

TRAINING = TINY_TRAINING.model_copy(update={"epochs": 25, "learning_rate": 0.2, "method": "madry"})


def spectrograms(count: int = 80) -> Split:
    """Noise of 49 × 10 values, and in each class two coefficients of their own that are loud."""
    labels = torch.arange(count) % 4
    values = torch.randint(0, 100, (count, 1, 49, 10), generator=generator())
    for index, label in enumerate(labels.tolist()):
        values[index, :, :, 2 * label : 2 * label + 2] += 150
    return Split(values.to(torch.uint8), labels)


@pytest.mark.parametrize(
    ("spec", "norm"),
    [(spectrogram_spec(), "linf"), (tiny_space((1, 49, 10), 4).spec(tiny_space((1, 49, 10), 4).largest()), "l2")],
    ids=["rectangular kernels", "MobileNet-tiny"],
)
def test_networks_of_spectrograms_are_trained_and_attacked(spec: NetworkSpec, norm: str) -> None:
    data, threat = spectrograms(), ThreatModel(norm=norm, epsilon={"linf": 0.02, "l2": 0.15}[norm])  # type: ignore[arg-type]
    state = start_training(build_network(spec, generator(), (0.3,), (0.3,)), TRAINING, generator())
    for _ in range(TRAINING.epochs):
        train_epoch(state, data, TRAINING, threat)
    network, settings = scored_network(state, data, TRAINING), EvaluationSettings(ladder=TINY_LADDER, lipschitz_steps=2)
    found = evaluate(network, data, threat, settings, generator(), split_name="validation", fidelity="final")
    assert found.natural_accuracy > 0.5
    assert 0.25 < found.robust_accuracy <= found.natural_accuracy, "above chance"
    assert found.lipschitz_certified_log10 is not None
    assert not [check.words for check in found.checks if not check.passed]
