"""Threats on the waveform behind the features: bounds, epsilon and gradients are those of the waveform."""

import dataclasses
from dataclasses import dataclass

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from nas.attacks import Apgd, Pgd, Square
from nas.attacks.threat import ThreatModel, threat_text
from nas.base.errors import UsageError
from nas.data.datasets import load_search_data
from nas.data.domain import Amplitudes, Domain
from nas.data.split import Split
from nas.evaluation import EvaluationSettings
from nas.evaluation.acting import Target, Targets, check_threats
from nas.evaluation.evaluate import score
from nas.evaluation.ladder import RUNGS
from nas.evaluation.scores import FIELDS
from nas.networks.view import view_of
from tests.builders import TINY_LADDER, generator, tiny_images, tiny_network
from tests.nas.data.files import write_speech_folder
from tests.nas.data.test_datasets import speech
from tests.nas.evaluation.test_evaluate import SIZE, linear_network

FEATURES = ThreatModel(epsilon=0.02)
WAVEFORM = ThreatModel(acts_on="waveforms", epsilon=0.05)
L2 = ThreatModel(acts_on="waveforms", norm="l2", epsilon=1)
SETTINGS = EvaluationSettings(attack=Pgd(steps=2), batch_size=16, ladder=TINY_LADDER)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """Features of 24 recordings of three words."""
    root = tmp_path_factory.mktemp("speech")
    write_speech_folder(root, {"train": 2, "validation": 8, "test": 1})
    return load_search_data(speech(root)).validation


@pytest.fixture(scope="module")
def target(split: Split) -> Target:
    """A network of random weights at the waveforms."""
    network = tiny_network(0, (1, 11, 10), 3).eval()
    return Targets(Target(network, view_of(network), split)).under(WAVEFORM)


@pytest.mark.parametrize("threat", [WAVEFORM, L2], ids=str)
@pytest.mark.parametrize("attack", [Pgd(steps=3), Apgd(steps=3), Square(queries=20)], ids=lambda one: one.name)
def test_attacks_stay_in_the_ball_around_the_waveform_and_within_full_scale(
    target: Target, attack: Pgd | Apgd | Square, threat: ThreatModel
) -> None:
    x, y = target.split.inputs(), target.split.labels
    x_adv = attack.run(target.view, x, y, threat, generator()).adversarial
    assert x_adv.shape == x.shape == (24, 1, 40, 50)
    assert x_adv.abs().max() <= 1
    order = {"linf": torch.inf, "l2": 2}[threat.norm]
    distance = torch.linalg.vector_norm((x_adv - x).flatten(1), order, dim=1)
    assert distance.max() <= threat.epsilon * (1 + 1e-5)
    assert distance.max() > 0.5 * threat.epsilon


def test_the_gradient_is_that_of_autograd_from_logits_to_waveform(target: Target) -> None:
    x, y = target.split.inputs(), target.split.labels
    z = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(F.cross_entropy(target.network(z), y, reduction="sum"), z)
    logits, found = target.view.gradient(x, lambda logits: logits.softmax(1) - F.one_hot(y, 3))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    torch.testing.assert_close(logits, target.network(x), rtol=1e-4, atol=1e-4)
    assert (found.flatten(1) != 0).any(1).all()


@dataclass(frozen=True)
class _Halved:
    """Origin whose front end is known: features are a quarter of the amplitude, plus one half."""

    samples: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        _, height, width = self.samples.shape[1:]
        return 1, height, width

    def __getitem__(self, index: Tensor | slice) -> "_Halved":
        return _Halved(self.samples[index])

    def load(self, images: Tensor) -> tuple[Tensor, Domain]:
        assert len(images) == len(self.samples)
        return self.samples, Amplitudes()

    def front_end(self) -> nn.Module:
        class _Map(nn.Module):
            def forward(self, z: Tensor) -> Tensor:
                return z / 4 + 0.5

        return _Map()


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.02), ("l2", 0.06)])
def test_epsilon_is_measured_at_the_waveform(norm: str, epsilon: float) -> None:
    """Behind a front end of slope 1/4 a linear network has the closed form of a quarter of epsilon at its inputs."""
    network, v = linear_network()
    samples = torch.randint(-8000, 8000, (200, 1, SIZE, SIZE), generator=generator(3), dtype=torch.int16)
    features = samples / 32768 / 4 + 0.5
    margin = (network(features)[:, 1] - network(features)[:, 0]).detach()
    labels = (margin + 0.02 * torch.randn(200, generator=generator(4)) > margin.median()).long()
    margin = margin * (2 * labels - 1)
    shift = epsilon / 4 * v.norm(p={"linf": 1, "l2": 2}[norm])
    decided = (margin - shift).abs() > 1e-3
    images = (255 * features).round().to(torch.uint8)
    split = Split(images[decided], labels[decided], origins={"waveforms": _Halved(samples[decided])})
    threat = ThreatModel(acts_on="waveforms", norm=norm, epsilon=epsilon)  # type: ignore[arg-type]
    settings = EvaluationSettings(attack=Pgd(steps=60), threats={"waveform": threat})
    found = score(network.eval(), split, ThreatModel(epsilon=0.001), settings, generator(), split_name="validation")
    robust = found.evaluation.by_threat["waveform"].robust_accuracy
    assert robust == (margin[decided] > shift).double().mean().item()
    assert 0 < robust < (margin[decided] > 0).double().mean().item()


@pytest.mark.parametrize("fidelity", RUNGS)
def test_a_threat_on_waveforms_is_scored_on_every_rung_and_changes_no_other_score(split: Split, fidelity: str) -> None:
    network = tiny_network(0, (1, 11, 10), 3).eval()
    plain, found = (
        score(network, split, FEATURES, SETTINGS.model_copy(update={"threats": threats}), generator(),
              split_name="validation", fidelity=fidelity)  # type: ignore[arg-type]
        for threats in ({}, {"waveform": WAVEFORM, "far": L2})
    )  # fmt: skip
    assert dataclasses.replace(found.evaluation, by_threat={}) == plain.evaluation
    assert all(torch.equal(getattr(found.images, name), getattr(plain.images, name)) for name in FIELDS)
    one = found.evaluation.by_threat["waveform"]
    assert one.threat == {"acts_on": "waveforms", "norm": "linf", "epsilon": 0.05}
    assert one.num_images == 24
    assert not any("threat model" in text or "logits differ" in text for text in one.warnings)


def test_images_that_come_from_no_waveform_are_refused_with_the_field() -> None:
    with pytest.raises(UsageError, match=r"evaluation\.threats\.loud\.acts_on: waveforms are those of recordings"):
        check_threats(FEATURES, {"loud": WAVEFORM}, tiny_images())
    with pytest.raises(UsageError, match="waveforms are those of recordings"):
        score(tiny_network().eval(), tiny_images(), FEATURES, SETTINGS.model_copy(update={"threats": {"w": WAVEFORM}}),
              generator(), split_name="validation")  # fmt: skip


def test_a_radius_beyond_all_waveforms_is_refused(split: Split) -> None:
    check_threats(FEATURES, {"w": ThreatModel(acts_on="waveforms", norm="l2", epsilon=89)}, split)  # 2 √2,000 = 89.4
    with pytest.raises(UsageError, match=r"threats\.w\.epsilon: 90 is more than .* two waveforms, 89\.44"):
        check_threats(FEATURES, {"w": ThreatModel(acts_on="waveforms", norm="l2", epsilon=90)}, split)
    assert ThreatModel(acts_on="waveforms", epsilon=2).epsilon == 2
    with pytest.raises(ValidationError, match="amplitudes lie in −1 to 1"):
        ThreatModel(acts_on="waveforms", epsilon=2.1)


def test_a_threat_says_where_it_acts_and_how_loud_it_is() -> None:
    assert str(ThreatModel(acts_on="waveforms", epsilon=0.001)) == (
        "linf ε = 0.001 of the waveform, −60.0 dB of full scale"
    )
    assert threat_text(L2.model_dump()) == "l2 ε = 1 of the waveform"
    assert str(FEATURES) == threat_text({"norm": "linf", "epsilon": 0.02}) == "linf ε = 0.02"
    assert FEATURES.model_dump() == {"norm": "linf", "epsilon": 0.02}, "records of older versions are the same"
