"""Trials of a tied space with known scores."""

from nas.base.records import TrialRecord, TrialState
from nas.budgets import Deployment, count_costs
from search_spaces import Genotype, NetworkSpec, SearchSpace
from search_spaces.mobilenet_tiny import MobileNetTiny, Row, mobilenet_tiny
from tests.builders import evaluation

SPACE = mobilenet_tiny(
    MobileNetTiny(
        blocks=(Row(8, expand_ratio=1), Row(16, stride=2)), stem_channels=8, head_channels=16, tie="both", divisor=2,
        width_multipliers=(0.25, 0.5, 0.75, 1.0, 1.25, 1.5), expand_ratios=(1, 2, 3, 4, 6),
    ), (1, 8, 8), 10,
)  # fmt: skip


def spec_of(record: TrialRecord) -> NetworkSpec:
    return SPACE.spec(record.genotype)


def record_of(space: SearchSpace, genotype: Genotype, number: int = 0, **scores: object) -> TrialRecord:
    costs = count_costs(space.spec(genotype), Deployment())
    return TrialRecord(number, genotype, 1000 + number, TrialState.COMPLETE, costs, evaluation(**scores))  # type: ignore[arg-type]


def trained(number: int, width: float, expand: float = 2, **scores: object) -> TrialRecord:
    return record_of(SPACE, SPACE.genotype({"width": width, "expand": expand}), number, **scores)
