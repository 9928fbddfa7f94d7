"""An evaluation in words."""

from dataclasses import replace

from nas.base.records import Check
from nas.report.evaluations import audit_html, evaluation_view, trust_text
from tests.builders import evaluation
from tests.nas.report.test_whole_table import printed

CHECKS = tuple(Check(f"check {index}", True, "") for index in range(15))


def test_passed_checks_are_of_the_attacks_and_no_praise_of_the_network() -> None:
    words = "all 15 sanity checks of the attacks passed (this says nothing about accuracy)"
    assert trust_text(evaluation(checks=CHECKS)) == words


def test_failed_checks_are_counted_and_named() -> None:
    failed = evaluation(checks=(*CHECKS[:14], replace(CHECKS[14], passed=False)))
    assert trust_text(failed) == "1 of 15 sanity checks of the attacks failed: check 14"


def test_what_was_not_measured_has_no_row() -> None:
    text = printed(evaluation_view(evaluation(lipschitz_maximised=None, warnings=())), 80)
    assert "maximised" not in text
    assert "none" not in text
    assert "none" not in audit_html(evaluation(warnings=()), "it").replace("text-decoration:none", "")
