"""Further threats: scored apart, with their own chance, and shown beside the evaluation's number."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from nas.attacks import Pgd
from nas.attacks.threat import ThreatModel
from nas.base.errors import UsageError
from nas.base.records import Evaluation, from_json, to_json
from nas.data.split import Split
from nas.evaluation import EvaluationSettings
from nas.evaluation.course import AttackReport, Course, rung_passes
from nas.evaluation.evaluate import Scored, score
from nas.evaluation.ladder import RUNGS, Ladder
from nas.evaluation.scores import FIELDS
from nas.report.evaluations import attack_text, audit_html, audit_view, evaluation_view
from nas.report.rows import csv_text, front_row
from tests.builders import TINY_LADDER, generator, tiny_images, tiny_network, trial
from tests.nas.evaluation.test_evaluate import grey_images, linear_network
from tests.nas.report.test_whole_table import printed

THREAT, L2, FAR = ThreatModel(epsilon=0.05), ThreatModel(norm="l2", epsilon=0.4), ThreatModel(epsilon=0.3)
SETTINGS = EvaluationSettings(attack=Pgd(steps=2), batch_size=16, ladder=TINY_LADDER, lipschitz_steps=2)
WITH_TWO = SETTINGS.model_copy(update={"threats": {"l2": L2, "far": FAR}})


def scored(settings: EvaluationSettings, fidelity: str = "attack", before: Scored | None = None,
           course: Course | None = None) -> Scored:  # fmt: skip
    return score(
        tiny_network().eval(), tiny_images(40), THREAT, settings, generator(), split_name="validation",
        fidelity=fidelity, before=before, course=course,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize("fidelity", RUNGS)
def test_every_other_score_is_the_same_bit_for_bit(fidelity: str) -> None:
    before = [scored(SETTINGS), scored(WITH_TWO)] if fidelity == "front" else [None, None]
    plain, found = scored(SETTINGS, fidelity, before[0]), scored(WITH_TWO, fidelity, before[1])
    assert found.evaluation.by_threat.keys() == {"l2", "far"}
    assert dataclasses.replace(found.evaluation, by_threat={}) == plain.evaluation
    assert all(torch.equal(getattr(found.images, name), getattr(plain.images, name)) for name in FIELDS)


def test_a_threat_has_the_same_score_whatever_others_there_are() -> None:
    both = scored(WITH_TWO).evaluation.by_threat
    turned = scored(SETTINGS.model_copy(update={"threats": {"far": FAR, "l2": L2}})).evaluation.by_threat
    alone = scored(SETTINGS.model_copy(update={"threats": {"l2": L2}})).evaluation.by_threat
    assert both["l2"] == alone["l2"] == turned["l2"]
    assert both["far"] == turned["far"]
    assert both["far"].robust_accuracy < both["l2"].robust_accuracy, "nothing is shown by equal numbers"


def test_chance_under_a_threat_depends_on_the_seed_and_the_name_alone() -> None:
    threats = {"one": FAR, "two": FAR}
    settings = SETTINGS.model_copy(update={"threats": threats, "ladder": Ladder(), "attack": Pgd(steps=1)})
    first, again = (scored(settings).evaluation.by_threat for _ in range(2))
    assert first == again
    plain = dataclasses.replace(scored(settings).evaluation, by_threat={})
    own = score(
        tiny_network().eval(), tiny_images(40), FAR, settings.model_copy(update={"threats": {}}), generator(),
        split_name="validation",
    )  # fmt: skip
    rungs = [first["one"].ladder[0], first["two"].ladder[0], own.evaluation.ladder[0]]
    assert plain.robust_accuracy != rungs[0].robust_accuracy
    assert len({rung.broken for rung in rungs}) > 1, "each has noise of its own"


@pytest.mark.parametrize(("norm", "epsilon", "dual"), [("linf", 0.04, 1), ("l2", 0.1, 2)])
def test_under_a_further_threat_a_linear_network_has_the_closed_form_of_that_threat(
    norm: str, epsilon: float, dual: int
) -> None:
    network, v = linear_network()
    split = grey_images(300)
    logits = network(split.images.float() / 255).detach()
    margin = (logits[:, 1] - logits[:, 0]) * (2 * split.labels - 1)
    decided = (margin - epsilon * v.norm(p=dual)).abs() > 1e-3
    split, margin = Split(split.images[decided], split.labels[decided]), margin[decided]
    settings = EvaluationSettings(attack=Pgd(steps=60), threats={"other": ThreatModel(norm=norm, epsilon=epsilon)})
    found = score(network.eval(), split, ThreatModel(epsilon=0.01), settings, generator(), split_name="validation")
    other = found.evaluation.by_threat["other"]
    assert other.robust_accuracy == (margin > epsilon * v.norm(p=dual)).double().mean().item()
    assert other.robust_accuracy < found.evaluation.robust_accuracy
    assert other.threat == {"norm": norm, "epsilon": epsilon}
    assert other.num_images == len(split)
    assert other.robust_interval == other.ladder[-1].robust_interval


def test_steps_follow_the_epsilon_of_the_threat_also_where_their_size_is_fixed() -> None:
    ladder = Ladder(screen=Pgd(steps=3, step_size=0.05), front=(Pgd(steps=4, step_size=0.01), Pgd(steps=10)))
    settings = WITH_TWO.model_copy(update={"attack": Pgd(steps=2, step_size=0.025), "ladder": ladder})
    sizes = {
        fidelity: [rung.attack["step_size"] for rung in scored(settings, fidelity).evaluation.by_threat["l2"].ladder]
        for fidelity in ("screen", "front")
    }
    assert sizes == {"screen": [pytest.approx(0.4)], "front": pytest.approx([0.2, 0.08, 0.1])}
    own = scored(settings, "screen").evaluation
    assert own.attack["step_size"] == 0.05, "the config's own threat has the size as it was written"


def test_every_rung_is_made_anew_from_its_first_attack_on() -> None:
    names = {}
    for fidelity in RUNGS:
        ladder = scored(WITH_TWO, fidelity).evaluation.by_threat["l2"].ladder
        names[fidelity] = [rung.attack["name"] for rung in ladder]
    assert names == {
        "screen": ["pgd"], "attack": ["pgd"], "front": ["pgd", "apgd"], "final": ["pgd", "apgd", "square"],
    }  # fmt: skip


def test_the_time_left_and_the_forecast_have_the_further_threats_and_reports_name_them() -> None:
    reports: list[AttackReport] = []
    scored(WITH_TWO, "final", course=Course(reports.append))
    threats = [report.attack.get("threat") for report in reports if report.rung]
    assert threats == [None] * 3 + ["l2: l2 ε = 0.4"] * 3 + ["far: linf ε = 0.3"] * 3
    assert "threat l2: l2 ε = 0.4" in attack_text(reports[6].attack, brief=True)
    plain, more = (rung_passes("final", s, 10, 100, 50) for s in (SETTINGS, WITH_TWO))
    without_slopes = rung_passes("final", SETTINGS.model_copy(update={"lipschitz_steps": 0}), 10, 100, 50)
    assert more == plain + 2 * without_slopes


def test_a_scoring_that_was_killed_under_a_further_threat_ends_the_same(tmp_path: Path) -> None:
    whole = scored(WITH_TWO, "final").evaluation

    def kill(report: AttackReport) -> None:
        if "threat" in report.attack and report.rung:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scored(WITH_TWO, "final", course=Course(kill, tmp_path / "kept"))
    begun: list[str] = []
    course = Course(lambda found: begun.append(str(found.attack.get("threat"))), tmp_path / "kept")
    assert scored(WITH_TWO, "final", course=course).evaluation == whole
    assert "None" not in begun, "no attack of the config's own threat is made again"


def test_records_keep_the_scores_exactly_and_have_nothing_new_where_there_are_none() -> None:
    found = scored(WITH_TWO).evaluation
    text = json.dumps(to_json(found), allow_nan=False)
    assert from_json(Evaluation, json.loads(text)) == found
    assert "by_threat" not in to_json(scored(SETTINGS).evaluation), "such records are those of older versions"
    assert from_json(Evaluation, to_json(scored(SETTINGS).evaluation)).by_threat == {}


def test_warnings_of_a_threat_stay_with_it_and_are_shown_with_its_name() -> None:
    weak = SETTINGS.model_copy(update={"attack": Pgd(steps=1, step_size=0.001), "threats": {"l2": L2}})
    found = scored(weak).evaluation
    own = [text for text in found.by_threat["l2"].warnings if "diameter" in text]
    assert own, "the scaled step is as weak as the config's"
    assert f"warning: l2: {own[0]}" in printed(evaluation_view(found), 300)


def test_each_view_shows_the_accuracy_with_its_threat_and_attacks() -> None:
    found = scored(WITH_TWO, "final").evaluation
    accuracy = f"{found.by_threat['l2'].robust_accuracy:.4f}"
    pages = printed(evaluation_view(found), 300), printed(audit_view(found, "it"), 300), audit_html(found, "it")
    for page in pages:
        (line,) = [line for line in page.replace("<tr>", "\n").splitlines() if "l2: l2 ε = 0.4" in line and
                   "worst" not in line and accuracy in line]  # fmt: skip
        assert "pgd (" in line
        assert "apgd (" in line
        assert "40" in line
    plain = scored(SETTINGS, "final").evaluation
    assert all("urther threat" not in page for page in (printed(evaluation_view(plain), 300), audit_html(plain, "it")))


def test_rows_and_tables_have_the_scores_by_threat_where_there_are_any() -> None:
    record = dataclasses.replace(trial(1), evaluation=scored(WITH_TWO).evaluation)
    assert front_row(record)["by_threat"] == to_json(record)["evaluation"]["by_threat"]
    assert "by_threat.l2.robust_accuracy" in csv_text([record]).splitlines()[0]
    assert "by_threat" not in front_row(trial(1))
    assert "by_threat" not in csv_text([trial(1)])


def test_equal_settings_have_one_hash_whatever_the_order_of_their_threats() -> None:
    turned = WITH_TWO.model_copy(update={"threats": {"far": FAR, "l2": L2}})
    assert len({WITH_TWO, turned, WITH_TWO.model_copy()}) == 1
    assert len({WITH_TWO, SETTINGS}) == 2


def test_a_radius_beyond_the_images_is_refused_with_the_name_of_its_field() -> None:
    with pytest.raises(UsageError, match=r"^evaluation\.threats\.l2\.epsilon: 9 is more than"):
        ThreatModel(norm="l2", epsilon=9).check_fits((1, 8, 8), "evaluation.threats.l2")
