"""Chance and balanced accuracy of uneven classes, and what an evaluation says of a constant network."""

import dataclasses

import pytest
import torch
from rich.console import Console, RenderableType
from torch import Tensor

from nas.attacks import Pgd
from nas.attacks.threat import ThreatModel
from nas.base.records import Evaluation, from_json, to_json
from nas.data.split import Split
from nas.evaluation import EvaluationSettings, Ladder
from nas.evaluation.classes import balanced_accuracy, chance_of
from nas.evaluation.evaluate import evaluate
from nas.pareto import MEASURES, ParetoFront
from nas.report.evaluations import audit_html, evaluation_view
from nas.report.rows import front_row
from nas.report.tables import cell, columns_for, front_table
from tests.builders import Linear, evaluation, generator, trial

SETTINGS = EvaluationSettings(attack=Pgd(steps=10), ladder=Ladder(front=(), final=(), trust_images=64))


def printed(view: RenderableType) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(view)
    return capture.get()


def labels_of(*counts: int) -> Tensor:
    """Labels with so many images of class 0, 1, …, mixed."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=generator())]


def of_one_answer(labels: Tensor) -> Evaluation:
    """Final evaluation of a network that answers class 0 to every image of `labels`, with gradients that move it."""
    classes = int(labels.max()) + 1
    weight = 0.01 * torch.randn(classes, 16, generator=generator(1))
    network = Linear(weight, 5.0 * (torch.arange(classes) == 0), 4).eval()
    pixels = torch.randint(0, 256, (len(labels), 1, 4, 4), generator=generator(2), dtype=torch.uint8)
    return evaluate(
        network, Split(pixels, labels), ThreatModel(epsilon=0.05), SETTINGS, generator(), split_name="test",
        fidelity="final",
    )  # fmt: skip


@pytest.mark.parametrize(("counts", "chance"), [((5, 5), 0.5), ((300, 4), 300 / 304), ((0, 2, 6), 0.75), ((7,), 1.0)])
def test_chance_is_the_share_of_the_largest_class(counts: tuple[int, ...], chance: float) -> None:
    assert chance_of(labels_of(*counts)) == chance


@pytest.mark.parametrize(
    ("counts", "correct", "expected"),
    [((300, 4), (300, 0), 0.5), ((300, 4), (150, 3), 0.625), ((0, 10, 30), (0, 10, 15), 0.75), ((5, 3), (5, 0), None),
     ((30, 20), (30, 0), None), ((34, 20), (17, 20), 0.75)],
)  # fmt: skip
def test_balanced_accuracy_is_the_mean_over_uneven_classes(
    counts: tuple[int, ...], correct: tuple[int, ...], expected: float | None
) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    right = torch.cat([torch.arange(n) < k for n, k in zip(counts, correct, strict=True)])
    assert balanced_accuracy(right, labels) == expected


@pytest.mark.parametrize(("counts", "chance"), [((60, 60), 0.5), ((300, 4), 300 / 304), ((20, 20, 90), None)])
def test_a_network_of_one_answer_is_near_chance_and_masks_nothing(
    counts: tuple[int, ...], chance: float | None
) -> None:
    found = of_one_answer(labels_of(*counts))
    assert found.natural_accuracy == found.robust_accuracy == counts[0] / sum(counts)
    assert found.failed_checks == ()
    assert found.chance == (chance or 90 / 130)
    (told,) = found.warnings
    assert told.startswith(f"natural accuracy is near chance, {found.chance:.3f} (always the most frequent class): ")
    assert told.endswith("nothing learned yet: raise retrain.epochs or data.limit")


def test_a_robust_accuracy_that_reaches_chance_is_a_warning_and_one_above_is_none() -> None:
    # Images of the two classes differ by 0.2 in every pixel: half of it fools half of the noisy images.
    labels = labels_of(100, 100)
    pixels = torch.full((200, 1, 4, 4), 0.4) + 0.2 * labels[:, None, None, None]
    split = Split((255 * pixels).round().to(torch.uint8), labels)
    network = Linear(torch.tensor([[-1.0], [1.0]]).expand(2, 16), torch.tensor([8.0, -8.0]), 4).eval()
    chosen = EvaluationSettings(attack=Pgd(steps=3))
    near, above = (
        evaluate(network, split, ThreatModel(epsilon=epsilon), chosen, generator(), split_name="validation")
        for epsilon in (0.11, 0.05)
    )
    assert (near.natural_accuracy, near.robust_accuracy, above.robust_accuracy) == (1, 0, 1)
    assert near.warnings == (
        "robust accuracy is near chance, 0.500 (always the most frequent class): nothing learned yet: raise "
        "training.epochs or data.limit",
    )
    assert above.warnings == ()


def test_uneven_classes_have_balanced_accuracies_beside_the_others() -> None:
    uneven, even = of_one_answer(labels_of(300, 4)), of_one_answer(labels_of(60, 60))
    assert (uneven.balanced_natural_accuracy, uneven.balanced_robust_accuracy) == (0.5, 0.5)
    assert (even.balanced_natural_accuracy, even.balanced_robust_accuracy) == (None, None)
    assert printed(evaluation_view(uneven)).count("balanced") == 2
    assert "balanced" not in printed(evaluation_view(even))
    assert "mean over the classes 0.5000 (robust: 0.5000)" in audit_html(uneven, "it")


def test_a_front_shows_balanced_accuracies_where_classes_are_uneven() -> None:
    record = dataclasses.replace(trial(1), evaluation=evaluation(balanced_robust_accuracy=0.25, chance=0.9))
    front = ParetoFront((record, trial(2)), (MEASURES["robust_accuracy"], MEASURES["params"]))
    columns = columns_for(front)
    assert [name for name in columns if name.startswith("balanced")] == ["balanced_robust_accuracy"]
    table = printed(front_table(front, "uneven"))
    assert "balanced robust" in table
    assert "0.25" in table
    assert cell("balanced_robust_accuracy", record) == "0.25"
    assert "balanced_robust_accuracy" not in columns_for(ParetoFront((trial(1),), (MEASURES["robust_accuracy"],)))
    assert (front_row(record)["chance"], front_row(record)["balanced_robust_accuracy"]) == (0.9, 0.25)


def test_a_record_of_an_older_version_has_no_chance_and_is_read() -> None:
    stored = to_json(evaluation(chance=0.9))
    for name in ("chance", "balanced_natural_accuracy", "balanced_robust_accuracy"):
        del stored[name]
    assert from_json(Evaluation, stored) == evaluation()
