"""Statistics with known answers: τ against scipy, planted change points, intervals that contain the truth."""

import dataclasses
import json
from importlib import import_module
from math import asin, pi

import numpy as np
import pytest
from scipy.stats import kendalltau

from nas.base.records import Evaluation, TrialRecord
from nas.report.study_tables import insight_tables
from nas.studies import insights
from nas.studies.insights import scored, threshold
from tests.nas.studies.records import SPACE, spec_of, trained

module = import_module("nas.studies.insights")  # the package has a function of this name
kendall = import_module("nas.studies.kendall")
WIDTHS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
NAMES = [name for name in scored() if name in {field.name for field in dataclasses.fields(Evaluation)}]
"""What is measured of a float network."""


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESAMPLES", 200)
    monkeypatch.setattr(kendall, "RESAMPLES", 200)


def _names(x: np.ndarray) -> list[str]:  # type: ignore[type-arg]
    """A network for each trial."""
    return [str(number) for number in range(len(x))]


def _random_trials(count: int, seed: int = 0, **fixed: object) -> list[TrialRecord]:
    rng = np.random.default_rng(seed)
    return [
        trained(number, float(rng.choice(WIDTHS)), float(rng.choice((1, 2, 4))), **{
            "robust": round(rng.uniform(0.1, 0.6), 1), "natural": rng.uniform(0.6, 0.9), "bound": rng.uniform(3, 9),
            "instability": rng.uniform(0, 1), "lipschitz_empirical": rng.uniform(1, 9),
            "lipschitz_maximised": rng.uniform(1, 9), "lipschitz_certified_log10": rng.uniform(1, 9), **fixed,
        }) for number in range(count)
    ]  # fmt: skip


def test_taus_are_those_of_scipy() -> None:
    trials = _random_trials(25)
    found = insights(trials, spec_of)
    score = {name: [getattr(r.evaluation, name) for r in trials] for name in NAMES}
    factor = {"W": [r.genotype.values["width"] for r in trials], "E": [r.genotype.values["expand"] for r in trials]}
    params = [r.costs.params for r in trials]
    assert found["effects"].keys() == {"W", "E", "depth"}, "E = 1 has one convolution less"
    assert found["effects"]["W"].keys() == set(NAMES)
    for name in NAMES:
        for which, values in factor.items():
            cell = found["effects"][which][name]
            assert cell["tau"] == pytest.approx(kendalltau(values, score[name]).statistic)
            assert -1 <= cell["low"] <= cell["tau"] <= cell["high"] <= 1
        assert found["predictors"]["params"][name]["tau"] == pytest.approx(kendalltau(params, score[name]).statistic)
    assert (found["trials"], found["networks"]) == (25, len({r.genotype.key for r in trials}))
    assert found["warnings"] == []


def test_an_interval_contains_the_truth_in_most_data_sets() -> None:
    rng, rho, hits = np.random.default_rng(3), 0.6, 0
    for _ in range(50):
        x, noise = rng.normal(size=(2, 40))
        cell = module._kendall(x, rho * x + np.sqrt(1 - rho**2) * noise, _names(x))
        assert cell["low"] is not None
        assert cell["high"] is not None
        hits += cell["low"] <= 2 / pi * asin(rho) <= cell["high"]
    assert hits >= 42, f"{hits} of 50 intervals of 95 %"


@pytest.mark.parametrize("scale", [1.0, 1e6], ids=["multipliers", "parameters"])
@pytest.mark.parametrize("slopes", [(0.3, 0.0), (0.2, -0.1), (-0.4, 0.2)])
def test_a_planted_change_point_is_found(slopes: tuple[float, float], scale: float) -> None:
    x = scale * np.repeat(WIDTHS, 5)
    bent = 0.4 + (slopes[0] * np.minimum(x, scale) + slopes[1] * np.maximum(x - scale, 0)) / scale
    exact = threshold(x, bent, _names(x))
    assert exact["at"] == scale
    assert (exact["before"], exact["after"]) == pytest.approx(tuple(s / scale for s in slopes), abs=1e-9 / scale)
    assert exact["improvement"] == pytest.approx(1)
    noisy = threshold(x, bent + np.random.default_rng(1).normal(0, 0.01, len(x)), _names(x))
    assert noisy["low"] <= scale <= noisy["high"]  # type: ignore[operator]
    assert (noisy["before"], noisy["after"]) == pytest.approx(tuple(s / scale for s in slopes), abs=0.04 / scale)
    assert 0.5 < noisy["improvement"] < 1  # type: ignore[operator]


def test_the_interval_of_a_change_point_contains_it_in_most_data_sets() -> None:
    rng, hits = np.random.default_rng(5), 0
    x = np.repeat(WIDTHS, 4)
    for _ in range(20):
        found = threshold(x, 0.3 * np.minimum(x, 0.75) + rng.normal(0, 0.02, len(x)), _names(x))
        hits += found["low"] <= 0.75 <= found["high"]  # type: ignore[operator]
    assert hits >= 17


EIGHT = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]


@pytest.mark.parametrize(
    ("x", "y", "networks", "words"),
    [
        (EIGHT, [0.3] * 8, 8, "robust accuracy does not vary"),
        ([1, 2, 3, 1, 2, 3, 1, 2], EIGHT, 8, "fewer than four different values"),
        (EIGHT * 3, [1, 2, 3, 4, 4, 4, 4, 4] * 3, 7, "7 different networks, at least 8 are needed"),
    ],
    ids=["constant accuracy", "three values", "seven networks"],
)
def test_no_change_point_where_none_could_be_told(x: list[float], y: list[float], networks: int, words: str) -> None:
    found = threshold(np.array(x, float), np.array(y, float), [str(n % networks) for n in range(len(x))])
    assert str(found.pop("words")).startswith(words)
    assert set(found.values()) == {None}


def test_further_seeds_of_the_same_networks_make_no_interval_narrower() -> None:
    rng = np.random.default_rng(2)
    x, y, keys = np.arange(12.0), rng.normal(size=12), [str(n) for n in range(12)]
    once, thrice = (module._kendall(np.tile(x, k), np.tile(y, k), keys * k) for k in (1, 3))
    assert thrice == pytest.approx(once, abs=0.1), "pairs of one network are ties, which changes tau-b itself a little"
    bent = 0.1 * np.minimum(x, 6) + rng.normal(0, 0.1, 12)
    single, triple = threshold(x, bent, keys), threshold(np.tile(x, 3), np.tile(bent, 3), keys * 3)
    assert [triple[end] for end in ("at", "low", "high")] == [single[end] for end in ("at", "low", "high")]


def test_a_factor_without_effect_is_told_from_0_in_one_of_twenty_data_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "threshold", lambda *_: None)
    scores, told, all_of_them = ("robust", "natural", "instability", "lipschitz_empirical"), 0, 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        networks = [(float(rng.choice(WIDTHS)), expand) for expand in (1, 2, 3, 4, 6) for _ in range(2)]
        own = {network: rng.normal(size=4) for network in networks}
        trials = [
            trained(n, *network, **dict(zip(scores, own[network] + rng.normal(0, 0.5, 4), strict=True)))
            for n, network in enumerate(3 * networks)
        ]
        effects = insights(trials, spec_of)["effects"]
        for factor in ("W", "E"):
            cells = [cell for cell in effects[factor].values() if cell["low"] is not None]
            told += sum(cell["low"] > 0 or cell["high"] < 0 for cell in cells)
            all_of_them += len(cells)
    assert all_of_them > 200
    assert told / all_of_them <= 0.08, f"{told} of {all_of_them} intervals of 95 % exclude 0"


def test_below_eight_networks_there_are_no_intervals_however_many_seeds() -> None:
    networks = [(0.25, 2), (0.5, 2), (1.0, 2), (0.25, 4), (0.25, 6)]
    found = insights([trained(n, *network, robust=n / 20) for n, network in enumerate(3 * networks)], spec_of)
    assert (found["trials"], found["networks"]) == (15, 5)
    ends = [cell[end] for table in (found["effects"], found["predictors"]) for row in table.values()
            for cell in row.values() for end in ("low", "high")]  # fmt: skip
    assert set(ends) == {None}
    assert [one["at"] for one in found["thresholds"].values()] == [None, None, None]
    assert found["warnings"] == [
        "no intervals and no change points: 5 different networks, at least 8 are needed (more seeds of one add none)"
    ]


def test_a_straight_line_has_no_error_to_remove() -> None:
    x = np.repeat(WIDTHS, 3)
    found = threshold(x, 0.1 + 0.3 * x, _names(x))
    assert found["improvement"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    "trials",
    [
        _random_trials(12, robust=0.5, bound=3.0, lipschitz_certified_log10=None),
        _random_trials(1),
        _random_trials(3),
        [trained(number, 0.5, robust=number / 10) for number in range(6)],
        [trained(number, 0.5) for number in range(6)],
        [trained(number, WIDTHS[number], robust=0.0) for number in range(6)],
    ],
    ids=["constant scores", "one trial", "three trials", "one network", "nothing varies", "no robustness"],
)
def test_what_cannot_be_told_is_none_and_never_nan(trials: list[TrialRecord]) -> None:
    found = insights(trials, spec_of)
    json.dumps(found, allow_nan=False)
    constant = {name for name in NAMES if len({getattr(r.evaluation, name) for r in trials}) == 1}
    for table in (found["effects"], found["predictors"]):
        for row in table.values():
            assert {name for name, cell in row.items() if cell["tau"] is None} >= constant & row.keys()
            assert all((cell["low"] is None) == (cell["high"] is None) for cell in row.values())
    few = len({r.genotype.key for r in trials}) < 8
    if few:
        assert all(cell["low"] is None for row in found["effects"].values() for cell in row.values())
    assert bool(found["warnings"]) == few
    assert insight_tables(found)


@pytest.mark.parametrize("missing", [slice(None), slice(0, 1), slice(5, 9)], ids=["all", "the first", "some"])
def test_records_from_before_the_certified_constant_are_read(missing: slice) -> None:
    trials = _random_trials(12)
    for record in trials[missing]:
        assert record.evaluation is not None
        old = dataclasses.replace(record.evaluation, lipschitz_certified_log10=None)
        trials[record.number] = dataclasses.replace(record, evaluation=old)
    assert "lipschitz_certified_log10" not in insights(trials, spec_of)["effects"]["W"]
    assert "lipschitz_certified_log10" in insights(_random_trials(12), spec_of)["effects"]["W"]


def test_the_same_trials_give_the_same_intervals() -> None:
    assert insights(_random_trials(12), spec_of) == insights(_random_trials(12), spec_of)
    assert SPACE.size == len(WIDTHS) * 5
