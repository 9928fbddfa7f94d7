"""The course of a scoring: every attack is reported, and a killed scoring goes on after the last one bit for bit."""

from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from nas.attacks import Apgd, AutoAttack, Fgsm, Noise, Pgd, Square
from nas.attacks.result import Attack
from nas.attacks.threat import ThreatModel
from nas.attacks.transfer import Transfer
from nas.base.records import Interval, Rung
from nas.evaluation import EvaluationSettings
from nas.evaluation.course import AttackReport, Course, Made, rung_passes, scoring_passes
from nas.evaluation.evaluate import Scored, score
from nas.evaluation.ladder import RUNGS, Ladder
from nas.evaluation.scores import FIELDS, ImageScores
from nas.report.live import attack_lines
from tests.builders import TINY_LADDER, generator, tiny_images, tiny_network

SETTINGS = EvaluationSettings(attack=Pgd(steps=2), batch_size=16, ladder=TINY_LADDER)
ATTACKS = ["pgd", "apgd", "square"]


def scored(course: Course | None = None, seed: int = 0) -> Scored:
    return score(
        tiny_network().eval(), tiny_images(40), ThreatModel(epsilon=0.05), SETTINGS, generator(seed), split_name="test",
        fidelity="final", course=course,
    )  # fmt: skip


class Killed(Exception):
    """Stands for a kill."""


def killed_after(attacks: int, path: Path, name: str = "") -> None:
    """A scoring that ends as soon as so many attacks have been kept."""
    ended = 0

    def report(found: AttackReport) -> None:
        nonlocal ended
        ended += found.rung is not None
        if ended == attacks:
            raise Killed

    with pytest.raises(Killed):
        scored(Course(report, path, name))


def begun_by(course: Course) -> list[str]:
    """Attacks that `course` reports as they begin, in a list that fills."""
    names: list[str] = []
    course.report = lambda found: names.append(found.attack["name"]) if found.rung is None else None
    return names


@pytest.mark.parametrize("attacks", [1, 2, 3])
def test_a_killed_scoring_repeats_no_attack_and_ends_the_same_bit_for_bit(tmp_path: Path, attacks: int) -> None:
    whole = scored()
    killed_after(attacks, tmp_path / "kept")
    course = Course(path=tmp_path / "kept")
    names = begun_by(course)
    again = scored(course, seed=99)  # all chance comes from the state that was kept
    assert names == ATTACKS[attacks:]
    assert again.evaluation == whole.evaluation
    for field in FIELDS:
        assert torch.equal(getattr(again.images, field), getattr(whole.images, field)), field


@pytest.mark.parametrize("spoilt", ["other name", "cut", "not a file of ours"])
def test_results_of_another_scoring_and_damaged_ones_are_not_gone_on_with(tmp_path: Path, spoilt: str) -> None:
    path = tmp_path / "kept"
    killed_after(2, path, "other" if spoilt == "other name" else "")
    if spoilt == "cut":
        path.write_bytes(path.read_bytes()[:-50])
    if spoilt == "not a file of ours":
        path.write_bytes(b"{}")
    course = Course(path=path)
    names = begun_by(course)
    assert scored(course).evaluation == scored().evaluation
    assert names == ATTACKS


def test_every_attack_is_reported_as_it_begins_and_as_it_ends_with_the_time_left() -> None:
    reports: list[AttackReport] = []
    found = scored(Course(reports.append))
    assert [(r.attack["name"], r.rung is not None) for r in reports] == [
        (name, ended) for name in ATTACKS for ended in (False, True)
    ]
    assert tuple(r.rung for r in reports if r.rung) == found.evaluation.ladder
    assert reports[0].seconds_left is None, "nothing is measured yet"
    assert all(r.seconds_left is not None and r.seconds_left > 0 for r in reports[1:]), "the checks come last"


def test_the_time_left_is_the_work_left_at_the_speed_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 4.0])
    monkeypatch.setattr("nas.evaluation.course.perf_counter", lambda: next(clock))
    reports: list[AttackReport] = []
    course = Course(reports.append)
    images = ImageScores(*[torch.zeros(1)] * len(FIELDS))
    rung = Rung({"name": "pgd"}, 1, 1, 0.0, Interval(0.0, 1.0))
    course.begin(rung.attack, 300.0)
    course.end(Made(images, (rung,), 0.0, 0.0, torch.zeros(1)), 100.0, 150.0)
    assert [r.seconds_left for r in reports] == [None, 6.0]


def test_an_attack_is_a_line_as_it_begins_and_one_as_it_ends() -> None:
    console = Console(width=60, record=True, file=StringIO())
    rung = Rung({"name": "square", "queries": 5000}, 300, 12, 0.8, Interval(0.7, 0.9))
    for report in (AttackReport(rung.attack, None, None), AttackReport(rung.attack, rung, 754.0)):
        attack_lines(console)(report)
    assert console.export_text().splitlines() == [
        "attacking with square (queries 5000) …",
        "square (queries 5000): 12 of 300 images broken, robust 0.800; about 12:34 left",
    ]


@pytest.mark.parametrize(
    ("attack", "passes"),
    [
        (Pgd(steps=20, restarts=2), 2 * (20 + 1 / 3)), (Fgsm(), 4 / 3), (Apgd(steps=100), 100 + 1 / 3),
        (Apgd(loss="targeted_dlr", steps=100), 900 + 1 / 3), (Square(queries=300, restarts=2), 200),
        (Noise(draws=30), 10), (AutoAttack(), 28 * 100 + 5000 / 3), (Transfer(tiny_network(), Fgsm()), 4 / 3),
    ],
)  # fmt: skip
def test_the_work_of_an_attack_is_counted_in_passes(attack: Attack, passes: float) -> None:
    assert attack.passes(10) == pytest.approx(passes)


def test_the_work_of_a_scoring_is_that_of_its_attacks_and_checks() -> None:
    settings = EvaluationSettings(lipschitz_steps=5, lipschitz_restarts=1)
    attacks = (Pgd(steps=20), Square(queries=300))
    found = scoring_passes(attacks, settings, 10, 1000, 400, has_first=True, check_steps=20)
    assert found == pytest.approx(200 * 64 + 1000 * (20 + 1 / 3 + 1 + 10) + 400 * 100)
    later = scoring_passes(attacks[1:], settings, 10, 1000, 400, has_first=False, check_steps=0)
    assert later == pytest.approx(40_000)


def test_the_work_of_a_rung_is_that_of_its_own_attacks() -> None:
    ladder = Ladder(screen=Pgd(steps=4), front=(Apgd(loss="dlr", steps=8), Square(queries=30)), trust_images=11,
                    final=(Noise(draws=3),))  # fmt: skip
    settings = EvaluationSettings(attack=Pgd(steps=5, restarts=2), ladder=ladder, lipschitz_steps=3)
    work = {rung: rung_passes(rung, settings, 10, 90, 30) for rung in RUNGS}
    slopes = 3 * (1 + settings.lipschitz_restarts)
    whole = 90 * (2 * (5 + 1 / 3) + 1 + slopes)
    assert work == pytest.approx({
        "screen": 90 * (4 + 1 / 3 + 1 + slopes), "attack": whole, "front": 30 * (8 + 1 / 3 + 10) + 100 * 11,
        "final": whole + 30 * 1 + 200 * 11,
    })  # fmt: skip
