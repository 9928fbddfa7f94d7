"""The protocol: known scores of linear networks, warnings, repeatability."""

import copy
from math import exp, log

import pytest
import torch
from torch import Tensor

from nas.attacks import Fgsm, Pgd
from nas.attacks.threat import ThreatModel
from nas.base.records import Evaluation
from nas.data.split import Split
from nas.evaluation import EvaluationSettings
from nas.evaluation.accuracy import wilson_interval
from nas.evaluation.certified import certified_lipschitz
from nas.evaluation.evaluate import evaluate
from tests.builders import Broken, Linear, generator, linear_spec, tiny_images, tiny_network

SIZE = 4


def score(network: torch.nn.Module, split: Split, threat: ThreatModel, **settings: object) -> Evaluation:
    chosen = EvaluationSettings(**settings)  # type: ignore[arg-type]
    return evaluate(network.eval(), split, threat, chosen, generator(), split_name="validation")  # type: ignore[arg-type]


def grey_images(count: int) -> Split:
    """Pixels in [0.3, 0.7]: balls of radius 0.25 stay in the box."""
    pixels = torch.randint(77, 178, (count, 1, SIZE, SIZE), generator=generator(1), dtype=torch.uint8)
    return Split(pixels, torch.randint(0, 2, (count,), generator=generator(2)))


def linear_network() -> tuple[Linear, Tensor]:
    """Two classes with the border through grey, and the difference of their weights."""
    weight = torch.randn(2, SIZE * SIZE, generator=generator(3))
    return Linear(weight, -0.5 * weight.sum(1), SIZE), weight[1] - weight[0]


@pytest.mark.parametrize(("norm", "epsilon", "dual"), [("linf", 0.02, 1), ("l2", 0.1, 2)])
def test_robust_accuracy_of_a_linear_network_is_its_closed_form(norm: str, epsilon: float, dual: int) -> None:
    network, v = linear_network()
    split = grey_images(300)
    logits = network(split.images.float() / 255).detach()
    margin = (logits[:, 1] - logits[:, 0]) * (2 * split.labels - 1)
    reach = epsilon * v.norm(p=dual)
    decided = (margin - reach).abs() > 1e-3
    split, margin = split[decided.nonzero().flatten()], margin[decided]
    found = score(network, split, ThreatModel(norm=norm, epsilon=epsilon), attack=Pgd(steps=60), batch_size=64)
    assert found.natural_accuracy == (margin > 0).double().mean().item()
    assert found.robust_accuracy == (margin > reach).double().mean().item()
    assert 0 < found.robust_accuracy < found.natural_accuracy < 1
    assert found.natural_interval == wilson_interval(int((margin > 0).sum()), len(split))
    assert found.robust_interval == wilson_interval(int((margin > reach).sum()), len(split))


def test_instability_and_slopes_of_a_linear_network_are_their_closed_forms() -> None:
    # FGSM moves every pixel by epsilon against the label, so the logit difference by epsilon * |v|_1.
    network, v = linear_network()
    split, epsilon = grey_images(120), 0.02
    found = score(network, split, ThreatModel(epsilon=epsilon), attack=Fgsm())
    logits = network(split.images.float() / 255).detach()
    kls = []
    for (a, b), label in zip(logits.tolist(), split.labels.tolist(), strict=True):
        before, after = b - a, b - a + (epsilon if label == 0 else -epsilon) * v.norm(p=1).item()
        p, q = 1 / (1 + exp(-before)), 1 / (1 + exp(-after))
        kls.append(p * log(p / q) + (1 - p) * log((1 - p) / (1 - q)))
    expected = sum(kls) / len(kls)
    assert found.instability == pytest.approx(expected, rel=1e-3)
    assert found.instability_scaled == pytest.approx(expected / epsilon, rel=1e-3)
    change = network.weight.detach() @ v.sign()  # of the two logits, per unit of perturbation
    # |x - x'|_2 = epsilon * sqrt(16), |x - x'|_inf = epsilon
    assert found.lipschitz_empirical == pytest.approx(change.norm().item() / 4, rel=1e-3)
    assert found.lipschitz_empirical_scaled == pytest.approx(change.abs().sum().item(), rel=1e-3)


def test_an_evaluation_names_its_protocol() -> None:
    threat, attack = ThreatModel(norm="l2", epsilon=0.3), Pgd(steps=2)
    network = tiny_network()
    found = score(network, tiny_images(30), threat, attack=attack)
    assert found.split == "validation"
    assert found.num_images == 30
    assert found.attack == attack.describe(threat)
    assert found.threat == {"norm": "l2", "epsilon": 0.3}
    assert found.lipschitz_bound_log10 > 0
    assert found.lipschitz_certified_log10 == certified_lipschitz(network).log10
    assert 0 < found.lipschitz_empirical <= 10**found.lipschitz_certified_log10


def test_a_network_of_unknown_layers_or_broken_weights_has_no_certificate() -> None:
    network, _ = linear_network()
    threat = ThreatModel(epsilon=0.01)
    assert score(network, grey_images(10), threat, attack=Fgsm()).lipschitz_certified_log10 is None
    broken = tiny_network()
    with torch.no_grad():
        broken.classifier.weight.fill_(float("nan"))
    assert score(broken, tiny_images(10), threat, attack=Fgsm()).lipschitz_certified_log10 is None


def test_all_images_that_are_handed_over_are_scored() -> None:
    split, threat = tiny_images(40), ThreatModel(epsilon=0.05)
    assert score(tiny_network(), split, threat, max_images=20, final_images=10).num_images == 40


@pytest.mark.parametrize("attack", [Pgd(steps=3), Fgsm()], ids=["pgd", "fgsm"])
def test_the_batch_size_changes_no_linf_result_but_for_rounding(attack: Pgd | Fgsm) -> None:
    split, threat = tiny_images(40), ThreatModel(epsilon=0.05)
    network = tiny_network()
    whole = score(network, split, threat, attack=attack, batch_size=40)
    for size in (1, 7):
        parts = score(network, split, threat, attack=attack, batch_size=size)
        assert (parts.natural_accuracy, parts.robust_accuracy) == (whole.natural_accuracy, whole.robust_accuracy)
        assert parts.instability == pytest.approx(whole.instability, rel=1e-3)
        assert parts.lipschitz_empirical == pytest.approx(whole.lipschitz_empirical, rel=1e-3)


def test_the_same_generator_state_gives_the_same_evaluation() -> None:
    split, threat = tiny_images(40), ThreatModel(epsilon=0.05)
    assert score(tiny_network(), split, threat) == score(tiny_network(), split, threat)


def test_a_network_in_training_mode_is_scored_in_eval_mode_and_warned_about_even_in_one_module() -> None:
    network = tiny_network().eval()
    network.features[1].train()
    before = copy.deepcopy(network.state_dict())
    arguments = (tiny_images(), ThreatModel(epsilon=0.1), EvaluationSettings(), generator())
    found = evaluate(network, *arguments, split_name="test")
    assert [check.name for check in found.failed_checks] == ["eval_mode"]
    assert any("training mode" in warning for warning in found.warnings)
    assert network.features[1].training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    honest = evaluate(network.eval(), *arguments[:3], generator(), split_name="test")
    assert honest.robust_accuracy == found.robust_accuracy
    assert honest.instability == found.instability


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_wrong_and_warned_about_but_no_crash(value: float, norm: str) -> None:
    network = Broken(tiny_network(), lambda logits: logits + value)
    network.spec = linear_spec(8, 10)  # type: ignore[assignment]
    found = score(network, tiny_images(120), ThreatModel(norm=norm, epsilon=0.01), attack=Pgd(steps=2))
    assert (found.natural_accuracy, found.robust_accuracy) == (0, 0)
    assert any("logits of 120 of 120 images are not finite" in warning for warning in found.warnings)
    for score_name in ("instability", "instability_scaled", "lipschitz_empirical", "lipschitz_empirical_scaled"):
        assert getattr(found, score_name) == 0


def test_an_attack_that_moves_nothing_is_warned_about() -> None:
    # FGSM has no random start: a network without a gradient leaves the images where they are.
    network = Broken(tiny_network(), lambda logits: logits * 0)
    network.spec = linear_spec(8, 10)  # type: ignore[assignment]
    found = score(network, tiny_images(100), ThreatModel(epsilon=0.1), attack=Fgsm())
    assert any("vanish" in warning for warning in found.warnings)
    assert found.lipschitz_empirical == 0


def test_few_images_and_chance_accuracy_are_warned_about_and_good_scores_are_not() -> None:
    network, _ = linear_network()
    split = grey_images(120)
    right = Split(split.images, network(split.images.float() / 255).argmax(1))
    threat = ThreatModel(epsilon=0.01)
    assert score(network, right, threat).warnings == ()
    assert any("only 99 images" in warning for warning in score(network, right[:99], threat).warnings)
    wrong = Split(right.images, 1 - right.labels)
    assert any("near chance" in warning for warning in score(network, wrong, threat).warnings)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_saturated_logits_mask_gradients_and_are_warned_about(norm: str) -> None:
    # Scaling the logits moves no border, but float32 cross-entropy saturates and its gradient becomes zero.
    network, _ = linear_network()
    split, threat = grey_images(120), ThreatModel(norm=norm, epsilon=0.1)
    honest = score(network, split, threat)
    masked = score(Linear(network.weight * 1e4, network.bias * 1e4, SIZE), split, threat)
    assert masked.robust_accuracy > honest.robust_accuracy
    assert any("masked" in warning for warning in masked.warnings)
    assert not any("masked" in warning for warning in honest.warnings)


def test_an_attack_too_short_to_cross_the_ball_is_warned_about() -> None:
    network, _ = linear_network()
    split, threat = grey_images(120), ThreatModel(epsilon=0.1)
    weak = score(network, split, threat, attack=Pgd(steps=5, step_size=0.01))
    just = score(network, split, threat, attack=Pgd(steps=20, step_size=0.01))
    assert any("25 % of the ball" in warning for warning in weak.warnings)
    assert not any("of the ball" in warning for warning in just.warnings)
