"""The attack ladder: worst case image by image, survivors only, and what each rung is made of."""

import pytest
import torch

from nas.attacks import Apgd, AutoAttack, Pgd, Square
from nas.attacks.threat import ThreatModel
from nas.base.errors import ConfigError
from nas.base.records import Evaluation, from_json, to_json
from nas.data.split import Split
from nas.evaluation import EvaluationSettings, Ladder, check_attacks
from nas.evaluation.evaluate import score
from nas.evaluation.ladder import RUNGS, attacks_of
from nas.evaluation.scores import FIELDS, load_scores, save_scores
from tests.builders import generator, tiny_images, tiny_network

LADDER = Ladder(
    screen=Pgd(steps=2), front=(Apgd(steps=3), Square(queries=5)),
    final=(Apgd(steps=3, loss="targeted_dlr", targets=2), Square(queries=8)), trust_images=16,
)  # fmt: skip
SETTINGS = EvaluationSettings(attack=Pgd(steps=6), ladder=LADDER, batch_size=16)
THREAT = ThreatModel(epsilon=0.05)


def rightly_labelled() -> Split:
    images = tiny_images(40).images
    return Split(images, tiny_network().eval()(images.float() / 255).argmax(1))


SPLIT = rightly_labelled()


def climbed(*rungs: str, batch_size: int = 16):  # type: ignore[no-untyped-def]
    network, found = tiny_network().eval(), None
    chosen = SETTINGS.model_copy(update={"batch_size": batch_size})
    for rung in rungs:
        found = score(
            network, SPLIT, THREAT, chosen, generator(1), split_name="validation", fidelity=rung, before=found,  # type: ignore[arg-type]
        )  # fmt: skip
    return found


def test_each_rung_attacks_who_still_stands_and_the_worst_case_counts() -> None:
    found = climbed("screen", "attack", "front")
    names = [rung.attack["name"] for rung in found.evaluation.ladder]
    assert names == ["pgd", "pgd", "apgd", "square"]
    standing = int(found.images.natural.sum())
    for rung in found.evaluation.ladder:
        assert rung.num_images == standing
        standing -= rung.broken
        assert rung.robust_accuracy == standing / len(SPLIT)
        assert rung.robust_interval.low <= rung.robust_accuracy <= rung.robust_interval.high
    assert found.evaluation.robust_accuracy == standing / len(SPLIT)
    assert found.evaluation.robust_accuracy == found.images.robust.double().mean().item()
    assert 0 < found.evaluation.robust_accuracy < found.evaluation.natural_accuracy


def test_an_image_that_fell_below_stays_fallen_above() -> None:
    screened, attacked = climbed("screen"), climbed("screen", "attack")
    assert (attacked.images.robust <= screened.images.robust).all()
    alone = climbed("attack")
    assert torch.equal(attacked.images.robust, alone.images.robust & screened.images.robust)
    assert attacked.evaluation.instability == alone.evaluation.instability, "x̂ is that of the full attack"
    assert attacked.evaluation.attack == alone.evaluation.attack


def test_the_final_rung_brings_the_attack_and_the_strongest_ones() -> None:
    found = climbed("final").evaluation
    assert [rung.attack["name"] for rung in found.ladder] == ["pgd", "apgd", "square"]
    assert found.ladder[1].attack["loss"] == "targeted_dlr"
    assert found.fidelity == "final"
    assert found.attack == SETTINGS.attack.describe(THREAT)


def test_shallow_checks_come_with_every_rung_and_deep_ones_with_the_upper_two() -> None:
    asked = {rung: len(climbed(rung).evaluation.checks) for rung in ("screen", "attack", "front", "final")}
    assert asked["screen"] == asked["attack"] < asked["front"] == asked["final"]


def test_a_ladder_says_what_a_search_climbs() -> None:
    assert Ladder().search_rungs == ("screen", "attack", "front")
    assert Ladder(screen=None).search_rungs == ("attack", "front")
    assert Ladder(screen=None, front=(), trust_images=0).search_rungs == ("attack",)


@pytest.mark.parametrize(("classes", "loss"), [(2, "margin"), (3, "margin"), (4, "targeted_dlr")])
def test_targeted_dlr_needs_four_classes_and_gives_way_to_the_margin(classes: int, loss: str) -> None:
    _, others = attacks_of(Ladder(), Pgd(), "final", classes)
    assert [attack.loss for attack in others if isinstance(attack, Apgd)] == ["cross_entropy", loss]


@pytest.mark.parametrize("loss", ["dlr", "margin"])
def test_with_two_classes_every_rung_takes_the_margin(loss: str) -> None:
    ladder = Ladder(screen=Pgd(steps=2, loss="dlr"), front=(Pgd(loss=loss),), final=(Apgd(loss="dlr"),))  # type: ignore[arg-type]
    for rung in RUNGS:
        first, others = attacks_of(ladder, Pgd(loss="dlr"), rung, 2)
        assert {attack.loss for attack in (first, *others) if attack is not None} == {"margin"}  # type: ignore[union-attr]


def test_autoattack_with_three_classes_is_refused_before_anything_is_trained() -> None:
    check_attacks(Ladder(final=(AutoAttack(),)), Pgd(), 4)
    with pytest.raises(ConfigError, match="apgd with loss margin"):
        check_attacks(Ladder(final=(AutoAttack(),)), Pgd(), 3)


def test_the_batch_size_changes_no_verdict_of_linf_gradient_attacks() -> None:
    whole, parts = climbed("attack", batch_size=40), climbed("attack", batch_size=7)
    assert torch.equal(whole.images.robust, parts.images.robust)


def test_scores_of_images_survive_the_disk(tmp_path) -> None:  # type: ignore[no-untyped-def]
    images = climbed("attack").images
    save_scores(tmp_path / "images.safetensors", images)
    found = load_scores(tmp_path / "images.safetensors")
    assert all(torch.equal(getattr(images, name), getattr(found, name)) for name in FIELDS)


def test_an_evaluation_with_its_ladder_and_checks_survives_json() -> None:
    found = climbed("screen", "attack", "front").evaluation
    assert from_json(Evaluation, to_json(found)) == found


def test_a_failed_check_of_a_lower_rung_is_not_forgotten_on_a_higher_one() -> None:
    network = tiny_network().eval()
    network.features[1].train()
    below = score(network, SPLIT, THREAT, SETTINGS, generator(1), split_name="validation", fidelity="screen")
    above = score(
        network.eval(), SPLIT, THREAT, SETTINGS, generator(1), split_name="validation", fidelity="attack", before=below
    )
    assert [check.name for check in above.evaluation.failed_checks] == ["eval_mode"]
