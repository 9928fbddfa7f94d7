"""Numbers as people write them."""

from fractions import Fraction

import pytest

from nas.attacks.threat import ThreatModel
from nas.base.settings import amount, ratio_text
from nas.report.evaluations import attack_text, protocol_text, verdict_text
from tests.builders import evaluation


@pytest.mark.parametrize("written", ["8/255", "2/255", "0.5/255", "15/255", "0.1", "0.05", "1", "0.3333", "2/3"])
def test_a_value_is_shown_as_it_was_written(written: str) -> None:
    assert ratio_text(float(amount(written))) == written


@pytest.mark.parametrize(
    ("value", "shown"),
    [(8 / 255 / 4, "2/255"), (2.5 * (8 / 255) / 20, "1/255"), (0.1 * 2.5 / 20, "0.0125"), (0.123456, "0.1235"),
     (0.0, "0"), (float("inf"), "inf")],
)  # fmt: skip
def test_a_value_that_was_computed_is_shown_in_few_characters(value: float, shown: str) -> None:
    assert ratio_text(value) == shown


def test_epsilon_and_step_size_are_shown_as_written_wherever_they_are_shown() -> None:
    threat, attack = {"norm": "linf", "epsilon": 8 / 255}, {"name": "pgd", "steps": 20, "step_size": 2 / 255}
    scored = evaluation(threat=threat, attack=attack)
    assert attack_text(attack) == "pgd (steps 20, step_size 2/255)"
    assert "linf ε = 8/255, pgd (steps 20, step_size 2/255)" in protocol_text(scored)
    assert "linf ε = 8/255" in verdict_text(scored)
    assert str(ThreatModel(epsilon="8/255")) == "linf ε = 8/255"


def test_an_amount_is_exact() -> None:
    assert amount("0.1M") == 100_000
    assert amount("8/255") == Fraction(8, 255)
    assert amount("1.5 KiB", in_bytes=True) == 1536


@pytest.mark.parametrize("text", ["", "k", "1e999999999", "1/0", "1k/2", "one", "--1", "1kk", "nan", "64KB"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"number"):
        amount(text)
