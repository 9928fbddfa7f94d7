"""What a front is made of, runs compared, attacks transferred: known answers."""

import dataclasses

import pytest
import torch
from torch import nn

from nas.attacks import Pgd
from nas.attacks.threat import ThreatModel
from nas.base.errors import UsageError
from nas.base.records import TrialRecord, TrialState
from nas.data.split import Split
from nas.evaluation import wilson_interval
from nas.pareto import MEASURES
from nas.report.one_shot import (
    comparison_png,
    comparison_table,
    composition_png,
    composition_table,
    transfer_png,
    transfer_table,
)
from nas.studies import comparison, compositions, mean_scores
from nas.studies.transfer import transfer_matrix
from search_spaces.space import Value
from tests.builders import evaluation, generator, tiny_blocks_space, tiny_images, tiny_network
from tests.nas.studies.records import SPACE, record_of, trained

KINDS = tiny_blocks_space()


def of_kinds(number: int, *values: Value) -> TrialRecord:
    names = [choice.name for choice in KINDS.choices]
    return record_of(KINDS, KINDS.genotype(dict(zip(names, values, strict=True))), number)


def test_shares_of_every_option_by_hand() -> None:
    records = [trained(number, width) for number, width in enumerate((0.25, 0.25, 0.5, 1.0, 1.5))]  # one twice
    rows = compositions(SPACE, records, records[2:4])
    widths = {row["option"]: row for row in rows if row["choice"] == "width"}
    assert [widths[w]["evaluated"] for w in (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)] == [1, 1, 0, 1, 0, 1]
    assert widths[0.5]["evaluated_share"] == 0.25
    assert (widths[0.5]["front"], widths[0.5]["front_share"]) == (1, 0.5)
    interval = wilson_interval(1, 2)
    assert (widths[0.5]["low"], widths[0.5]["high"]) == (interval.low, interval.high)
    assert sum(row["front"] for row in widths.values()) == 2


def test_what_is_frequent_on_the_front_differs() -> None:
    records = [trained(number, width, expand) for number, (width, expand) in enumerate(
        (w, e) for w in (0.25, 0.5, 0.75, 1.0, 1.25, 1.5) for e in (1, 2, 3, 4, 6)
    )]  # fmt: skip
    front = [record for record in records if record.genotype.values["width"] == 0.25]
    said = {(row["choice"], row["option"]): row["differs"] for row in compositions(SPACE, records, front)}
    assert said["width", 0.25] == "more"
    assert all(said["expand", expand] == "" for expand in (1, 2, 3, 4, 6))
    large = [record for record in records if record.genotype.values["width"] != 0.25]
    assert {row["option"]: row["differs"] for row in compositions(SPACE, records, large) if row["choice"] == "width"}[
        0.25
    ] == "less"


def test_the_width_of_a_skipped_layer_is_not_counted() -> None:
    records = [of_kinds(0, "skip", "inverted_3", "residual", 0.5, 1.0, 1.0),
               of_kinds(1, "inverted_3", "inverted_3", "residual", 1.0, 1.0, 1.0)]  # fmt: skip
    rows = {(row["choice"], row["option"]): row for row in compositions(KINDS, records, records)}
    assert [rows["width_1", width]["evaluated"] for width in (0.5, 1.0)] == [0, 1]
    assert rows["width_2", 1.0]["evaluated"] == 2
    assert rows["block_1", "skip"]["evaluated_share"] == 0.5


def test_an_empty_front_and_unknown_shares_are_shown_as_such() -> None:
    rows = compositions(SPACE, [trained(0, 0.5)], [])
    assert {row["front_share"] for row in rows} == {None}
    assert composition_table(rows).row_count == 11
    assert composition_png(rows, "title", "note").startswith(b"\x89PNG")


def test_what_was_not_trained_is_not_counted() -> None:
    rejected = dataclasses.replace(trained(1, 1.0), state=TrialState.REJECTED)
    reused = dataclasses.replace(trained(2, 1.5), reused_from=0)
    rows = compositions(SPACE, [trained(0, 0.5), rejected, reused], [trained(0, 0.5)])
    assert sum(row["evaluated"] for row in rows if row["choice"] == "width") == 1


OBJECTIVES, WORST = (MEASURES["robust_accuracy"], MEASURES["params"]), (0.0, 4000.0)


def scored(gain: float, seeds: int = 1) -> list[TrialRecord]:
    networks = [(width, 2) for width in (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)] + [(1.5, 3), (1.5, 4)]
    return [
        trained(i + len(networks) * seed, *network, robust=0.3 + 0.05 * i + gain + 0.01 * (-1) ** seed)
        for seed in range(seeds)
        for i, network in enumerate(networks)
    ]


def test_means_differences_and_ranks_by_hand() -> None:
    first, second = comparison({"one": scored(0, 2), "other": scored(0.1, 2)}, OBJECTIVES, WORST)
    assert (first["networks"], first["trainings"]) == (8, 16)
    assert first["robust_accuracy"] == pytest.approx(0.475)
    assert "robust_accuracy_difference" not in first
    assert second["robust_accuracy_difference"] == pytest.approx(0.1)
    assert second["robust_accuracy_low"] == pytest.approx(0.1), "the same for every network"
    assert (second["tau"], second["tau_low"]) == (1, 1)
    assert second["hypervolume"] > first["hypervolume"] > 0
    worse = [dataclasses.replace(r, evaluation=evaluation(robust=0.5 - 0.05 * r.number)) for r in scored(0)]
    _, turned = comparison({"one": scored(0), "other": worse}, OBJECTIVES, WORST)
    assert (turned["tau"], turned["tau_params"]) == (-1, -1), "here the larger is the more robust, in the first run"
    assert (first["tau_params"], first["tau_params_low"]) == (1, 1)


def test_only_common_networks_are_compared() -> None:
    first, second = comparison({"one": scored(0), "other": scored(0.1)[:2]}, OBJECTIVES, WORST)
    assert first["networks"] == second["networks"] == 2
    assert first["robust_accuracy"] == pytest.approx((0.31 + 0.36) / 2)
    assert second["tau_low"] is second["robust_accuracy_low"] is None, "two networks have no interval"
    assert second["robust_accuracy_difference"] == pytest.approx(0.1)
    assert comparison_table([first, second]).row_count == 2
    with pytest.raises(UsageError, match="no trained network in common"):
        comparison({"one": scored(0)[:2], "other": scored(0)[3:]}, OBJECTIVES, WORST)


def test_the_comparison_is_shown() -> None:
    runs = {"one": scored(0, 2), "other": scored(0.1, 2)}
    rows = comparison(runs, OBJECTIVES, WORST)
    assert comparison_table(rows).row_count == 2
    assert comparison_png(mean_scores(runs), rows, "title", "288 images").startswith(b"\x89PNG")


class Constant(nn.Module):
    """Says class 0, whatever the image."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[1.0, 0.0, 0.0]]).expand(len(x), 3) + 0 * x.sum((1, 2, 3))[:, None]


def test_transfer_between_known_networks() -> None:
    split = tiny_images(30, num_classes=3)
    network, threat = tiny_network(num_classes=3).eval(), ThreatModel(epsilon=0.2)
    rows = transfer_matrix(
        {"a": network, "twin": network, "constant": Constant()}, split, threat, Pgd(steps=10), lambda _: generator()
    )
    cells = {(row["source"], row["target"]): row for row in rows}
    assert len(cells) == 9
    assert cells["a", "constant"]["accuracy"] == cells["constant", "constant"]["accuracy"] == pytest.approx(1 / 3)
    assert cells["a", "twin"]["accuracy"] >= cells["a", "a"]["accuracy"], "the last iterate alone"
    with torch.no_grad():
        right = (network(split.images.float() / 255).argmax(1) == split.labels).double().mean().item()
    assert cells["a", "a"]["accuracy"] <= cells["constant", "a"]["accuracy"] <= right
    interval = wilson_interval(10, 30)
    assert (cells["a", "constant"]["low"], cells["a", "constant"]["high"]) == (interval.low, interval.high)


def test_the_matrix_is_shown() -> None:
    split = Split(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(4, dtype=torch.long))
    seen: list[str] = []
    networks, threat = {"a": Constant(), "b": Constant()}, ThreatModel(epsilon=0.1)
    rows = transfer_matrix(networks, split, threat, Pgd(steps=1), lambda _: generator(), seen.append)
    assert seen == ["a", "b"]
    assert transfer_table(rows, "title").row_count == 2
    assert transfer_png(rows, "title", "note").startswith(b"\x89PNG")
