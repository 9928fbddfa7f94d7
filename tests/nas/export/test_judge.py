"""Scores of a file: those of its parent where it is its parent, and never better than what was broken."""

from dataclasses import replace

import pytest
import torch

from nas.attacks import Apgd, Pgd, Square
from nas.attacks.threat import ThreatModel
from nas.evaluation import EvaluationSettings, Ladder
from nas.export.integers import IntNetwork
from nas.export.judge import UNSEEN, _attacks, judged
from nas.export.running import BorrowedView, ForwardView, simulated_view
from nas.networks.view import view_of
from nas.runs.checkpoint import Checkpoint
from tests.builders import generator


def test_a_file_that_is_its_parent_scores_as_it_does(trained: Checkpoint) -> None:
    file = ForwardView(lambda x: trained.network(x), {})
    found = judged(file, trained, split_name="test")
    assert found.natural_accuracy == found.parent_natural_accuracy
    assert found.robust_accuracy == found.parent_robust_accuracy, "the same starts, the same iterates"
    assert [rung.attack["name"] for rung in found.ladder] == ["transfer", "transfer", "borrowed", "square"]
    assert [rung.attack["attack"]["name"] for rung in found.ladder[:2]] == ["pgd", "apgd"]
    square = found.ladder[-1]
    assert square.attack["queries"] == 4


def test_an_integer_network_loses_to_examples_of_its_parent(integers: IntNetwork, trained: Checkpoint) -> None:
    names: list[str] = []
    found = judged(simulated_view(integers), trained, split_name="validation", queries=2, report=names.append)
    assert names == ["transfer pgd", "transfer apgd", "borrowed pgd", "square"]
    assert found.split == "validation"
    assert found.ladder[-1].attack["queries"] == 2
    assert found.natural_accuracy > 0.8
    assert found.robust_accuracy < 0.6 * found.natural_accuracy, "epsilon is large for a network trained naturally"
    standing = found.natural_accuracy * found.num_images
    for rung in found.ladder:
        assert rung.num_images == round(standing)
        standing -= rung.broken
        assert rung.robust_accuracy == pytest.approx(standing / found.num_images)
    assert found.robust_accuracy == found.ladder[-1].robust_accuracy
    assert found.robust_interval.low < found.robust_accuracy < found.robust_interval.high
    assert UNSEEN in found.warnings
    again = judged(simulated_view(integers), trained, split_name="validation", queries=2)
    assert again == found, "chance follows from the parent's seed"


def test_what_only_square_breaks_is_said(trained: Checkpoint) -> None:
    """A file that is wrong about everything as soon as Square looks at it."""
    attacks: list[str] = []

    def logits(x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = trained.network(x)
        return -found if "square" in attacks else found

    easy = replace(trained, threat=ThreatModel(norm="linf", epsilon=0.01))
    found = judged(ForwardView(logits, {}), easy, split_name="validation", queries=1, report=attacks.append)
    assert found.robust_accuracy < found.ladder[2].robust_accuracy
    assert any("the parent's gradients mislead" in text for text in found.warnings)


def test_the_attacks_are_the_protocols_and_always_have_auto_pgd_and_square() -> None:
    plain = EvaluationSettings(attack=Pgd(steps=7), ladder=Ladder(final=()))
    transferred, direct = _attacks(plain, 10, None)
    assert (transferred, direct) == ((Pgd(steps=7), Apgd()), (Square(),))
    default = EvaluationSettings(attack=Pgd())
    transferred, direct = _attacks(default, 10, 50)
    assert transferred == (Pgd(), Apgd(loss="cross_entropy"), Apgd(loss="targeted_dlr"))
    assert direct == (Square(queries=50),)


def test_a_borrowed_gradient_is_the_parents(trained: Checkpoint, integers: IntNetwork) -> None:
    file, parent = simulated_view(integers), view_of(trained.network)
    x = torch.rand(3, 1, 8, 8, generator=generator())
    logits, gradient = BorrowedView(file, parent).gradient(x, torch.sign)
    assert torch.equal(logits, file.logits(x))
    assert torch.equal(gradient, parent.gradient(x, torch.sign)[1])
