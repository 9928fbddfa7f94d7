"""Where a search begins: which genotypes, in which order, and what is refused. On the toy problem, without training."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from nas.base.errors import ConfigError, UsageError
from nas.base.records import Candidate, Outcome, TrialRecord, TrialState
from nas.budgets import Deployment, count_costs
from nas.search.engine import MAX_BARREN
from nas.search.finished import read_predictions
from nas.search.problem import Problem
from nas.search.samplers import SAMPLERS
from nas.search.settings import StartFrom
from nas.search.start import first_genotypes, frozen, starts_of
from search_spaces import Choice, Genotype, SearchSpace
from search_spaces.mlperf_tiny import DsCnn, ResnetTiny, Stack, ds_cnn, resnet_tiny
from search_spaces.mobilenet_tiny import MobileNetTiny, Row, mobilenet_tiny
from search_spaces.space import Value
from tests.builders import trial
from tests.toy import Batched, ToyEvaluate, search, settings, toy_costs, toy_problem, toy_space, toy_spec

USABLE = sorted(name for name in SAMPLERS if name != "pymoo_agemoea" or find_spec("numba"))
each_sampler = pytest.mark.parametrize("sampler", USABLE)
SPACE = toy_space(3)
SMALLEST, LARGEST = SPACE.smallest(), SPACE.largest()
LISTED = tuple(SPACE.decode(indices) for indices in ((1, 0, 3), (2, 2, 0), (0, 3, 1), (3, 1, 2), (0, 0, 2)))
PROBLEM = replace(toy_problem(SPACE), first=LISTED)
BOUNDED = replace(toy_problem(SPACE, params=800), first=LISTED)
"""Two are over the budget: the largest genotype and the fourth listed one, of 900 parameters."""


def _genotypes(records: Sequence[TrialRecord]) -> list[Genotype]:
    return [record.genotype for record in records]


@each_sampler
def test_they_come_first_whatever_the_sampler(tmp_path: Path, sampler: str) -> None:
    """Seven trials are a generation of four that nobody bred, and most of the next one."""
    result = search(tmp_path / "j", BOUNDED, settings(12, sampler=sampler))
    assert _genotypes(result.records[:7]) == [SMALLEST, LARGEST, *LISTED]
    over = [number for number, record in enumerate(result.records[:7]) if record.costs.params > 800]
    assert over == [1, 5]
    assert [r.number for r in result.records[:7] if r.state is TrialState.REJECTED] == over
    assert len(result.trained) == len({candidate.genotype.key for candidate in result.trained}) == 12
    assert [candidate.number for candidate in result.trained[:5]] == [0, 2, 3, 4, 6]


def test_without_anchors_they_are_the_very_first(tmp_path: Path) -> None:
    result = search(tmp_path / "j", PROBLEM, settings(5, anchors=False))
    assert _genotypes(result.records) == list(LISTED)


def test_each_architecture_is_proposed_once(tmp_path: Path) -> None:
    space = toy_space(2, shared=2)  # 1 and 2 are one size, so are 3 and 4
    listed = tuple(space.decode(indices) for indices in ((1, 1), (0, 3), (2, 2), (1, 2), (3, 0)))
    problem = replace(toy_problem(space), first=listed)
    assert first_genotypes(problem, anchors=True) == (space.smallest(), space.largest(), listed[1], listed[4])
    assert first_genotypes(problem, anchors=False) == (listed[0], listed[1], listed[2], listed[4])
    result = search(tmp_path / "j", problem, settings(4))
    assert _genotypes(result.records) == list(first_genotypes(problem, anchors=True))


def test_the_ends_of_a_space_of_one_architecture_are_one() -> None:
    assert len(first_genotypes(toy_problem(toy_space(2, (1, 2), shared=2)), anchors=True)) == 1


def test_more_of_them_over_the_budget_than_barren_proposals_are_all_rejected(tmp_path: Path) -> None:
    space = toy_space(4)
    large = tuple(space.decode((3, row, a, b)) for row in (3, 2) for a in range(4) for b in range(4))
    problem = replace(toy_problem(space, params=500), first=large)
    assert all(toy_costs(genotype).params > 500 for genotype in large)
    result = search(tmp_path / "j", problem, settings(4))
    proposed = first_genotypes(problem, anchors=True)
    assert len(proposed) == 33 > MAX_BARREN
    assert _genotypes(result.records[:33]) == list(proposed)
    assert [r.number for r in result.records[:33] if r.state is not TrialState.REJECTED] == [0]
    assert len(result.trained) == 4


def test_a_search_of_fewer_trials_takes_the_first_of_them_and_goes_on_with_the_others(tmp_path: Path) -> None:
    short = search(tmp_path / "j", PROBLEM, settings(3))
    assert _genotypes(short.records) == [SMALLEST, LARGEST, LISTED[0]]
    assert _genotypes(search(tmp_path / "j", PROBLEM, settings(7)).records) == [SMALLEST, LARGEST, *LISTED]


@pytest.mark.parametrize("capacity", [2, 3, 8])
def test_with_several_workers_each_has_its_number(tmp_path: Path, capacity: int) -> None:
    evaluate = ToyEvaluate()
    result = search(tmp_path / "j", PROBLEM, settings(9), evaluate, Batched(evaluate, capacity))
    assert _genotypes(result.records[:7]) == [SMALLEST, LARGEST, *LISTED]


@pytest.mark.parametrize("sampler", ["pymoo_nsga2", "pymoo_nsga3", "pymoo_smsemoa"])
def test_a_generation_of_them_has_children(tmp_path: Path, sampler: str) -> None:
    """Without mutations, all that follows is made of the first generation's options."""
    space = toy_space(8)
    parents = tuple(space.decode([index] * 8) for index in (1, 2))
    chosen = settings(8, sampler=sampler, population=2, anchors=False, mutation_probability=0.0,
                      crossover_probability=1.0)  # fmt: skip
    result = search(tmp_path / "j", replace(toy_problem(space), first=parents), chosen)
    assert _genotypes(result.records[:2]) == list(parents)
    children = [set(record.genotype.values.values()) for record in result.records[2:8]]
    assert children.count({2, 3}) > 0
    assert all(child <= {2, 3} for child in children)


def test_a_surrogate_learns_from_them_and_does_not_choose_them(tmp_path: Path) -> None:
    chosen = settings(12, sampler="random", prescreen={"proposals": 4, "trees": 4, "refit": 4})
    result = search(tmp_path / "j", PROBLEM, chosen)
    assert _genotypes(result.records[:7]) == [SMALLEST, LARGEST, *LISTED]
    told = [[r.evaluation.robust_accuracy, r.costs.params] for r in result.records[7:] if r.reused_from is None]
    assert [values for _, values in read_predictions(tmp_path / "j").values()] == told
    assert len(told) == 5


@each_sampler
def test_killed_before_any_line_of_the_journal_it_goes_on_the_same(tmp_path: Path, sampler: str) -> None:
    chosen = settings(7, sampler=sampler)
    whole = search(tmp_path / "whole", BOUNDED, chosen)
    lines = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
    for count in range(0, len(lines), {"pymoo_nsga2": 1, "gp": 17}.get(sampler, 7)):  # gp: 0.1 s a proposal
        path = tmp_path / str(count)
        path.write_bytes(b"".join(lines[:count]))
        assert search(path, BOUNDED, chosen).records == whole.records, f"cut before line {count + 1} of {len(lines)}"


def test_killed_among_several_running_ones_each_keeps_its_number(tmp_path: Path) -> None:
    evaluate = ToyEvaluate()

    def interrupted(candidate: Candidate) -> Outcome:
        if len(evaluate.calls) == 2:
            raise KeyboardInterrupt
        return evaluate(candidate)

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "j", PROBLEM, settings(7), executor=Batched(interrupted, 3))
    result = search(tmp_path / "j", PROBLEM, settings(7))
    assert _genotypes(result.records) == [SMALLEST, LARGEST, *LISTED]


TINY = mobilenet_tiny(
    MobileNetTiny(
        blocks=(Row(4, expand_ratio=1), Row(4), Row(8, stride=2)), stem_channels=4, head_channels=8,
        width_multipliers=(0.35, 0.65, 1.0), expand_ratios=(2.0, 6.0, 10.0), divisor=1,
    ),
    (1, 8, 8), 10,
)  # fmt: skip
WIDTHS, EXPANDS = ("width_1", "width_2", "width_3"), ("expand_2", "expand_3")


def _problem(space: SearchSpace, **limits: int) -> Problem:
    return replace(toy_problem(space, **limits), costs=lambda genotype: count_costs(space.spec(genotype), Deployment()))


def _values(width: float, expand: float) -> dict[str, float | str]:
    return {**dict.fromkeys(WIDTHS, width), **dict.fromkeys(EXPANDS, expand)}


def _member(number: int, values: Mapping[str, Value]) -> TrialRecord:
    return replace(trial(number), genotype=Genotype("another", values, f"{number}"))


FRONTS = {
    Path("runs/a"): [_member(7, _values(0.65, 2)), _member(3, _values(0.5, 2)), _member(5, _values(1, 10))],
    Path("runs/b"): [_member(1, _values(0.35, 2))],
    Path("runs/none"): [],
    Path("runs/tied"): [_member(4, {"width": 0.35, "expand": 6}), _member(2, {"width": 1.0, "expand": 6})],
    Path("runs/wide"): [_member(8, _values(1.5, 6)), _member(9, {"width": 0.35})],
}


def _front_in(folder: Path) -> Sequence[TrialRecord]:
    if folder not in FRONTS:
        raise UsageError(f"no run in {folder}")
    return FRONTS[folder]


def _resolved(space: SearchSpace = TINY, **wanted: object) -> list[tuple[str, tuple[Value, ...]]]:
    """Origin and values of what `wanted` names."""
    starts = starts_of(StartFrom(**wanted), _problem(space), _front_in)  # type: ignore[arg-type]
    return [(start.origin, tuple(start.genotype.values.values())) for start in starts]


def test_genotypes_come_before_presets_and_presets_before_runs() -> None:
    found = _resolved(
        runs=("runs/b", "runs/a"), presets=("mousavi_w0.65_e6", "mousavi_w0.35_e10"), genotypes=(_values(1, 2),)
    )
    assert found == [
        ("search.start_from.genotypes.0", (1.0, 1.0, 1.0, 2.0, 2.0)),
        ("mousavi_w0.65_e6", (0.65, 0.65, 0.65, 6.0, 6.0)),
        ("mousavi_w0.35_e10", (0.35, 0.35, 0.35, 10.0, 10.0)),
        ("runs/b, trial 1", (0.35, 0.35, 0.35, 2.0, 2.0)),
        ("runs/a, trial 7", (0.65, 0.65, 0.65, 2.0, 2.0)),
        ("runs/a, trial 5", (1.0, 1.0, 1.0, 10.0, 10.0)),
    ], "members keep the order of their front, and trial 3, of no option of ours, is left out"
    assert _resolved() == []


def test_uniform_networks_come_last_spread_over_the_parameters_of_the_budget() -> None:
    problem = _problem(TINY)
    sizes = [problem.costs(TINY.genotype(_values(width, expand))).params
             for width in (0.35, 0.65, 1.0) for expand in (2.0, 6.0, 10.0)]  # fmt: skip
    found = starts_of(StartFrom(presets=("mousavi_w0.65_e6",), uniform=4), problem, _front_in)
    assert [start.origin for start in found] == ["mousavi_w0.65_e6", *["uniform"] * 4]
    params = [problem.costs(start.genotype).params for start in found[1:]]
    assert params == sorted(params)
    assert (params[0], params[-1]) == (min(sizes), max(sizes))
    assert all(len(set(start.genotype.values.values())) == 2 for start in found[1:])
    middle = sorted(sizes)[4]
    small = starts_of(StartFrom(uniform=1000), _problem(TINY, params=middle), _front_in)
    assert sorted(sizes)[:5] == [problem.costs(start.genotype).params for start in small], "all that fit the budget"
    with pytest.raises(ConfigError, match=r"^search\.start_from\.uniform: 3 uniform networks.*widen the budget"):
        starts_of(StartFrom(uniform=3), _problem(TINY, params=min(sizes) - 1), _front_in)


def test_genotypes_are_in_the_options_of_the_space() -> None:
    (start,) = starts_of(StartFrom(presets=("mousavi_w1.0_e6",)), _problem(TINY), _front_in)
    assert start.genotype == TINY.genotype(_values(1.0, 6.0))
    assert {type(value) for value in start.genotype.values.values()} == {float}


def test_a_preset_fits_a_space_with_tied_rows_or_fixed_expand_ratios() -> None:
    tied = mobilenet_tiny(MobileNetTiny(expand_ratios=(6, 10), tie="both"), (3, 32, 32), 10)
    assert _resolved(tied, presets=("mousavi_w0.35_e6",)) == [("mousavi_w0.35_e6", (0.35, 6))]
    fixed = mobilenet_tiny(MobileNetTiny(blocks=(Row(8, expand_ratio=1),)), (3, 32, 32), 10)
    assert _resolved(fixed, presets=("mousavi_w0.35_e29",)) == [("mousavi_w0.35_e29", (0.35,))]


def test_the_networks_of_mlperf_tiny_are_presets_of_their_spaces() -> None:
    narrow = resnet_tiny(ResnetTiny(stacks=(Stack(16), Stack(32, 2)), depths=(1, 2)), (1, 8, 8), 10)
    assert _resolved(narrow, presets=("resnet8",)) == [("resnet8", (1.0, 1.0, 1, 1))]
    assert _resolved(ds_cnn(DsCnn(depths=(1,)), (1, 49, 10), 12), presets=("ds_cnn",)) == [("ds_cnn", (1.0,) * 4)]


KERNELS = SearchSpace(
    "kernels", (Choice("width_1", (0.35, 1.0)), Choice("kernel_1", (3, 5)), Choice("expand_1", (2, 6))),
    (1, 8, 8), 2, toy_spec,
)  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "space", "words"),
    [
        ({"presets": ["mousavi_w0.35_e20"]}, TINY, ["mousavi_w0.35_e20", "expand_2 = 20", "[2.0, 6.0, 10.0]"]),
        ({"presets": ["mousavi_w0.65_e6"]}, KERNELS, ["mousavi_w0.65_e6", "nothing of kernel_1", "[3, 5]"]),
        ({"presets": ["resnet8"]}, TINY, ["resnet8 is not of the space", "a network of the space resnet_tiny"]),
        ({"presets": ["mousavi_w0.35_e6"]}, SPACE, ["mousavi_w0.35_e6", "nothing of size_0", "[1, 2, 3, 4]"]),
        ({"genotypes": [_values(1, 2), _values(0.5, 2)]}, TINY, ["genotypes.1", "width_1 = 0.5", "[0.35, 0.65, 1.0]"]),
        ({"genotypes": [{"width_1": 1.0}]}, TINY, ["genotypes.0", "{'width_1': 1.0}", "'expand_2'"]),
        ({"genotypes": [_values(1, "wide")]}, TINY, ["genotypes.0", "expand_2 = 'wide'"]),  # type: ignore[arg-type]
        ({"runs": ["runs/wide"]}, TINY, ["runs/wide", "trial 8: width_1 = 1.5", "[0.35, 0.65, 1.0]"]),
        ({"runs": ["runs/a", "runs/tied"]}, TINY, ["runs/tied", "trial 4", "['expand', 'width']", "'width_1'"]),
        ({"runs": ["runs/none"]}, TINY, ["runs/none", "its front is empty"]),
        ({"runs": ["runs/typo"]}, TINY, ["search.start_from.runs", "no run in runs/typo"]),
    ],
)
def test_what_is_not_of_the_space_is_refused_by_name(
    wanted: dict[str, object], space: SearchSpace, words: list[str]
) -> None:
    with pytest.raises(ConfigError, match=r"^search\.start_from\.(genotypes|presets|runs)") as caught:
        _resolved(space, **wanted)
    assert [word for word in words if word not in str(caught.value)] == [], caught.value


def test_what_was_named_first_stays(tmp_path: Path) -> None:
    path = tmp_path / "start.json"
    starts = starts_of(StartFrom(runs=(Path("runs/a"),)), _problem(TINY), _front_in)
    first = frozen(path, starts, TINY)
    assert first == tuple(start.genotype for start in starts)
    assert [entry["origin"] for entry in json.loads(path.read_text())] == ["runs/a, trial 7", "runs/a, trial 5"]
    before = path.read_bytes()
    assert frozen(path, starts_of(StartFrom(runs=(Path("runs/b"),)), _problem(TINY), _front_in), TINY) == first
    assert frozen(path, (), TINY) == first
    assert path.read_bytes() == before


def test_a_search_that_starts_from_nothing_writes_nothing(tmp_path: Path) -> None:
    assert frozen(tmp_path / "start.json", (), TINY) == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", ["{", "7", '{"genotype": {}}', '["x"]', "[{}]", '[{"genotype": 3}]', '[{"genotype": {"width_1": 0.35}}]']
)
def test_a_damaged_list_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "start.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"start\.json is damaged"):
        frozen(path, (), TINY)
    assert path.read_text() == content
