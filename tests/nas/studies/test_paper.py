"""The table of Mousavi 2023: printed numbers, ours beside them, and differences that add up."""

from io import StringIO
from statistics import mean, stdev

import pytest
from rich.console import Console, RenderableType

from nas.base.records import TrialRecord
from nas.budgets import Deployment, count_costs
from nas.pareto import MEASURES, front_of
from nas.report.evaluations import evaluation_view
from nas.report.intervals import seeds_table
from nas.report.names import column_name
from nas.report.study_tables import agreement_tables, paper_markdown, paper_table
from nas.report.tables import front_table
from nas.studies import table_rows
from nas.studies.paper import COLUMNS, PAPER
from search_spaces.mobilenet_tiny import PRESETS, MobileNetTiny, mobilenet_tiny, preset
from tests.nas.studies.records import SPACE, record_of, trained

# Width, expand, 10⁶ MACs, 10⁶ parameters, natural %, robust %, instability, Lipschitz: tables 1 and 2 as printed,
# without the two misprints (W = 0.1 for 1.0, −82.88 for 82.88).
PRINTED = [
    (0.35, 6, 15.98, 0.404, 69.23, 39.91, 3.75, 67.24),
    (0.65, 6, 45.08, 1.088, 78.24, 48.00, 5.63, 80.77),
    (1.0, 6, 90.68, 2.278, 79.15, 47.11, 7.27, 85.03),
    (0.35, 10, 23.73, 0.523, 75.98, 46.81, 4.76, 73.4),
    (0.35, 20, 43.206, 0.8218, 75.54, 46.3, 4.51, 71.26),
    (0.35, 29, 58.63, 1.086, 78.72, 47.83, 6.28, 82.88),
]
PAPERS = MobileNetTiny(width_multipliers=(0.35, 0.65, 1.0), expand_ratios=(6, 10, 20, 29), tie="both")
SCORES = {"natural": 0.75, "robust": 0.45, "instability_scaled": 5.0, "lipschitz_empirical_scaled": 80.0}


def test_the_stored_values_are_the_printed_ones() -> None:
    assert [tuple(one.values()) for one in PAPER["networks"]] == [
        pytest.approx((width, expand, macs * 1e6, params * 1e6, natural / 100, robust / 100, instability, lipschitz))
        for width, expand, macs, params, natural, robust, instability, lipschitz in PRINTED
    ]
    assert [(one["width"], one["expand"]) for one in PAPER["networks"]] == list(PRESETS.values())


@pytest.mark.parametrize("printed", PRINTED, ids=lambda row: f"W {row[0]}, E {row[1]}")
def test_our_counts_are_within_four_percent_of_the_printed_ones(printed: tuple[float, ...]) -> None:
    width, expand, macs, params, *_ = printed
    (name,) = [name for name, values in PRESETS.items() if values == (width, expand)]
    costs = count_costs(preset(name), Deployment())
    assert costs.macs == pytest.approx(macs * 1e6, rel=0.04)
    assert costs.params == pytest.approx(params * 1e6, rel=0.04)


@pytest.mark.parametrize("printed", PRINTED, ids=lambda row: f"W {row[0]}, E {row[1]}")
def test_a_network_of_the_paper_is_shown_beside_its_printed_values(printed: tuple[float, ...]) -> None:
    width, expand, macs, params, natural, robust, instability, lipschitz = printed
    space = mobilenet_tiny(PAPERS, (3, 32, 32), 10)
    record = record_of(space, space.genotype({"width": width, "expand": expand}), **SCORES)
    (row,) = table_rows([record], (3, 32, 32), 10)
    values = (macs * 1e6, params * 1e6, natural / 100, robust / 100, instability, lipschitz)
    assert [row[f"{name}_paper"] for name in COLUMNS] == pytest.approx(values)
    assert [row[f"{name}_difference"] for name in COLUMNS] == pytest.approx([
        record.costs.macs / values[0] - 1, record.costs.params / values[1] - 1, 0.75 - values[2], 0.45 - values[3],
        5.0 - values[4], 80.0 - values[5],
    ])  # fmt: skip
    assert f"paper {robust / 100:.3f}, {0.45 - robust / 100:+.3g}" in paper_markdown([row], "the source")


@pytest.mark.parametrize(
    ("settings", "shape", "classes"),
    [
        (MobileNetTiny(width_multipliers=(0.35,), expand_ratios=(8,), tie="both"), (3, 32, 32), 10),
        (MobileNetTiny(width_multipliers=(0.35,), expand_ratios=(6,), tie="both"), (3, 64, 64), 10),
        (MobileNetTiny(width_multipliers=(0.35,), expand_ratios=(6,), tie="both"), (1, 32, 32), 10),
        (MobileNetTiny(width_multipliers=(0.35,), expand_ratios=(6,), tie="both"), (3, 32, 32), 100),
    ],
    ids=["another expand ratio", "larger images", "grey images", "more classes"],
)
def test_another_network_has_no_printed_values(
    settings: MobileNetTiny, shape: tuple[int, int, int], classes: int
) -> None:
    space = mobilenet_tiny(settings, shape, classes)
    (row,) = table_rows([record_of(space, space.smallest())], shape, classes)
    assert not [name for name in row if name.endswith(("_paper", "_difference"))]
    assert "printed value" not in paper_markdown([row], "the source")


def test_a_row_is_mean_and_deviation_over_seeds() -> None:
    robust, scaled = [0.4, 0.5, 0.45], [3.0, 5.0, 7.0]
    records = [trained(n, 0.5, robust=r, instability_scaled=s) for n, (r, s) in enumerate(zip(robust, scaled))]  # noqa: B905
    records.append(trained(3, 1.0, robust=0.6))
    several, single = table_rows(records, SPACE.input_shape, 10)
    assert (several["network"], several["seeds"], single["network"], single["seeds"]) == ("W = 0.5", 3, "W = 1", 1)
    assert several["robust_accuracy"] == pytest.approx(mean(robust))
    assert several["robust_accuracy_sd"] == pytest.approx(stdev(robust))
    assert (several["instability_scaled"], several["instability_scaled_sd"]) == (5.0, 2.0)
    assert (several["params"], several["params_sd"]) == (records[0].costs.params, None)
    assert {single[f"{name}_sd"] for name in COLUMNS} == {None}
    assert "| W = 0.5 | 3 |" in paper_markdown([several, single], "")
    assert "0.450 ± 0.050" in paper_markdown([several, single], "")
    assert paper_table([several, single], "")


def _printed(shown: RenderableType) -> str:
    console = Console(file=StringIO(), width=400)
    console.print(shown)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_every_quantity_has_one_name_and_no_name_means_two() -> None:
    names = [column_name(name) for name in MEASURES]
    assert len(set(names)) == len(MEASURES)
    assert [name for name in MEASURES if "paper's scale" in column_name(name)] == [
        "instability_scaled", "lipschitz_empirical_scaled"
    ]  # fmt: skip


def test_values_on_the_papers_scale_are_named_so_wherever_they_stand() -> None:
    record: TrialRecord = trained(0, 0.5, instability=0.0966, instability_scaled=0.966,
                                  lipschitz_empirical=1.81, lipschitz_empirical_scaled=30.5)  # fmt: skip
    assert record.evaluation is not None
    head = paper_markdown(table_rows([record], SPACE.input_shape, 10), "").splitlines()[0]
    assert head == ("| network | seeds | MACs | params | natural | robust | instability (paper's scale) | "
                    "empirical Lipschitz (paper's scale) |")  # fmt: skip
    front = _printed(front_table(front_of([record], [MEASURES["robust_accuracy"]]), "front"))
    seeds = _printed(seeds_table({0: record.evaluation, 1: record.evaluation}))
    row = {
        "compared": "rung",
        "epochs": 1,
        "sample": "all",
        "pairs": 1,
        "tau": 0.5,
        "low": None,
        "high": None,
        "words": "",
    }
    ranks = _printed(agreement_tables([{**row, "metric": name} for name in MEASURES], 10))
    for text in (front, seeds, ranks):
        assert "instability" in text
        assert "empirical Lipschitz" in text
    assert "paper's scale" not in front + seeds
    rows = {line.split("  ")[0]: line for line in _printed(evaluation_view(record.evaluation)).splitlines()}
    for name, value in (("instability", "0.0966"), ("instability (paper's scale)", "0.966"),
                        ("empirical Lipschitz", "1.81"), ("empirical Lipschitz (paper's scale)", "30.5")):  # fmt: skip
        assert value in rows[name].split()
