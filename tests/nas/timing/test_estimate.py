"""How long a search takes: the arithmetic from measured speeds, and the verbs that print it."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from nas.assets.manifold.pca import estimated_dimensions, fitted_pca
from nas.assets.manifold.settings import Pca
from nas.budgets import Deployment, count_costs
from nas.data.datasets import load_search_data
from nas.report.tables import _time_text
from nas.runs import make_problem
from nas.runs.config import load_config
from nas.search.problem import Problem
from nas.search.settings import SearchSettings
from nas.timing import estimate
from nas.timing.bench import Speed, Workload, _once, engine_speed
from nas.timing.estimate import coverage, retraining_time, search_time
from nas.timing.forecast import ForecastTrial
from tests.conftest import ROOT
from tests.tiny_run import nas, write_config

Capture = pytest.CaptureFixture[str]
A_PASS = 1 / (400 * (2 + 1 / 3 + 1))
"""Seconds of a pass forward and backward of an image at 400 images a second under PGD-2."""
ALARM = 32 * (2 + 10 + 2 / 3) * A_PASS
"""Seconds of a look of the alarm: 32 images under 2 steps and PGD-10."""


def _fixed(workload: Workload) -> Speed:
    """100 images a second in training, 400 in scoring."""
    return {"training": 100.0, "scoring": 400.0, "memory_bytes": 5e6}


def _quick(workload: Workload) -> Speed:
    return _once(engine_speed, dataclasses.replace(workload, seconds=0.01))


def _whole(problem: Problem, settings: SearchSettings, rehearsal: int = 0) -> list[ForecastTrial]:
    """Random candidates, each trained to the end and scored under `evaluation.attack` alone."""
    rng = Random(0)
    return [ForecastTrial(problem.space.sample(rng), problem.epochs, ["attack"]) for _ in range(settings.trials)]


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Workload], Speed]], list[Workload]]:
    """Measures in this process with a given function; returns the list of what is measured."""

    def use(measure: Callable[[Workload], Speed]) -> list[Workload]:
        seen: list[Workload] = []

        @contextmanager
        def pool(workers: int, threads: int) -> Iterator[Callable[[Workload], list[Speed]]]:
            def measured(workload: Workload) -> list[Speed]:
                seen.append(workload)
                return [measure(workload)] * workers

            yield measured

        monkeypatch.setattr(estimate, "worker_pool", pool)
        monkeypatch.setattr(estimate, "engine_speed", lambda workload: lambda: measure(workload))
        monkeypatch.setattr(estimate, "forecast", _whole)
        return seen

    return use


@pytest.mark.parametrize(("evaluator", "supernet", "candidate"), [
    ("scratch", 0, 5 * 1.6 + 0.1 + 2 * ALARM), ("fine_tuned", 3 * 4 * 1.6, 5 * 1.6 + 0.1 + 2 * ALARM),
    ("supernet", 3 * 4 * 1.6, 0.1),
])  # fmt: skip
def test_a_supernet_takes_its_own_time_and_saves_that_of_candidates(
    tmp_path: Path, pools: Callable[..., list[Workload]], evaluator: str, supernet: float, candidate: float
) -> None:
    pools(_fixed)
    overrides = (f"search.evaluator={evaluator}", "training.epochs=5", "supernet={epochs: 3, subnets: 2}")
    config = load_config(write_config(tmp_path), overrides)
    found = search_time(config, load_search_data(config.data))  # 160 images to train on, 40 to score
    assert found["supernet_seconds"] == pytest.approx(supernet)
    assert found["seconds_per_candidate"] == pytest.approx(candidate)
    assert found["search_seconds"] - found["startup_seconds"] == pytest.approx(supernet + 3 * candidate)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("tracked", [False, True])
def test_the_time_follows_from_the_speeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pools: Callable[..., list[Workload]], workers: int, tracked: bool
) -> None:
    monkeypatch.setattr("nas.runs.placement.available_cores", lambda: 2)
    overrides = ["training.epochs=5", f"training.track_every_epoch={str(tracked).lower()}", "search.trials=6",
                 "search.executor=processes", f"search.workers={workers}"]  # fmt: skip
    config = load_config(write_config(tmp_path), overrides)
    data = load_search_data(config.data)
    workloads = pools(_fixed)
    found = search_time(config, data)
    scorings = 1 + 5 * tracked
    seconds = 5 * 160 / 100 + scorings * 40 / 400 + 2 * ALARM  # behind epochs 4 and 5
    assert found["seconds_per_candidate"] == pytest.approx(seconds)
    assert found["candidates_per_hour"] == pytest.approx(3600 * workers / seconds)
    waiting = (workers - 1) * seconds / 2  # at the end, for the others
    assert found["search_seconds"] - found["startup_seconds"] == pytest.approx((6 * seconds + waiting) / workers)
    assert found["startup_seconds"] > 0
    assert found["memory_bytes"] == workers * 5e6
    assert (found["workers"], found["threads_per_worker"], found["device"]) == (workers, 2 // workers, "cpu")
    macs = [one["macs"] for one in found["networks"]]
    assert len(workloads) == len(macs) == 3
    low, high = coverage(config, data)["costs"]["macs"]
    assert low <= macs[0] < macs[1] < macs[2] <= high
    assert {w.training.attack.steps for w in workloads} == {2}
    assert {w.evaluation.batch_size for w in workloads} == {40}, "the validation images, in one batch"


def test_the_time_is_that_of_the_steps_that_are_made(tmp_path: Path, pools: Callable[..., list[Workload]]) -> None:
    workloads = pools(_fixed)
    overrides = ("search.evaluator=fine_tuned", "training={epochs: 5, batch_size: 150, alarm: false}",
                 "supernet={epochs: 3, subnets: 2, batch_size: 300}")  # fmt: skip
    config = load_config(write_config(tmp_path), overrides)
    found = search_time(config, load_search_data(config.data))  # 160 images to train on: 150, and in one batch all
    assert found["seconds_per_candidate"] == pytest.approx(5 * 1.5 + 0.1)
    assert found["supernet_seconds"] == pytest.approx(3 * 4 * 1.6)
    config = load_config(write_config(tmp_path), ("training.batch_size=300",))
    search_time(config, load_search_data(config.data))
    assert [w.training.batch_size for w in workloads] == [150] * 3 + [160] * 3, "a batch is never larger than the data"


def test_the_time_is_that_of_the_images_that_candidates_have(
    tmp_path: Path, pools: Callable[..., list[Workload]]
) -> None:
    pools(_fixed)
    overrides = ("training={epochs: 5, alarm: false}", "search.train_images=80", "retrain.epochs=3")
    config = load_config(write_config(tmp_path), overrides)
    data = load_search_data(config.data)  # 160 images to train on
    assert search_time(config, data)["seconds_per_candidate"] == pytest.approx(5 * 0.8 + 0.1)
    assert retraining_time(config, data)["training_seconds"] > 3 * 1.28, "in batches of 128"


def test_the_time_is_that_of_the_candidates_that_a_search_would_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pools: Callable[..., list[Workload]]
) -> None:
    def slower_by_macs(workload: Workload) -> Speed:
        return {"training": 1e7 / count_costs(workload.spec, Deployment()).macs, "scoring": 400.0, "memory_bytes": 5e6}

    config = load_config(write_config(tmp_path), ("training.epochs=5", "evaluation.seeds=3", "search.trials=2"))
    data = load_search_data(config.data)
    pools(slower_by_macs)
    space = make_problem(config, data).space
    small, large = (
        ForecastTrial(space.smallest(), 2, ["attack"], weight=3),
        ForecastTrial(space.largest(), 5, ["attack", "attack"]),
    )
    large.is_on_front = True
    monkeypatch.setattr(estimate, "forecast", lambda *_: [small, large])
    macs = [count_costs(space.spec(one.genotype), Deployment()).macs for one in (small, large)]
    seconds = [2 * 160 * macs[0] / 1e7 + 0.1, 5 * 160 * macs[1] / 1e7 + 0.2 + 2 * ALARM]
    found = search_time(config, data)
    assert found["seconds_per_candidate"] == pytest.approx((3 * seconds[0] + seconds[1]) / 4)
    working = found["search_seconds"] - found["startup_seconds"]
    assert working == pytest.approx(3 * seconds[0] + 3 * seconds[1]), "a member trains from three seeds"


def test_a_real_measurement_has_the_same_keys(tmp_path: Path, pools: Callable[..., list[Workload]]) -> None:
    config = load_config(write_config(tmp_path))
    pools(_quick)
    found = search_time(config, load_search_data(config.data))
    assert found.keys() == {
        "seconds_per_candidate", "candidates_per_hour", "startup_seconds", "supernet_seconds", "manifold_seconds",
        "search_seconds", "memory_bytes", "workers", "threads_per_worker", "device", "networks",
    }  # fmt: skip
    for one in found["networks"]:
        assert one.keys() == {"macs", "training", "scoring", "seconds", "memory_bytes"}
        assert min(one.values()) > 0
    each = [one["seconds"] for one in found["networks"]]
    assert min(each) <= found["seconds_per_candidate"] <= max(each)


QUANTIZE = "treatments=[{name: quantize, weights: 4, activations: 4}]"
PCA = ("manifold={name: pca, dimensions: 6}", "training.on_manifold.weight=0.5")
VAE = ("manifold={name: vae, dimensions: 3, epochs: 7}", "training.on_manifold.weight=0.5")


@pytest.mark.parametrize("changes", [(QUANTIZE,), PCA, VAE, (QUANTIZE, *PCA)])
def test_treatments_and_the_manifold_are_part_of_what_is_measured(
    tmp_path: Path, pools: Callable[..., list[Workload]], changes: tuple[str, ...]
) -> None:
    config = load_config(write_config(tmp_path), changes)
    measured = pools(_quick)
    found = search_time(config, load_search_data(config.data))
    assert {one.treatments for one in measured} == {config.treatments}
    assert {one.manifold for one in measured} == {config.manifold}
    assert (found["manifold_seconds"] > 0) == (config.manifold is not None and config.manifold.name == "vae")
    assert ("for the manifold" in _time_text(found)) == (found["manifold_seconds"] > 0)


def test_the_float_twin_of_a_quantized_network_is_counted_once(
    tmp_path: Path, pools: Callable[..., list[Workload]]
) -> None:
    pools(_fixed)  # 400 images a second, each attacked twice: the network and its twin
    config = load_config(write_config(tmp_path), (QUANTIZE, "training.epochs=5", "training.alarm=false"))
    assert search_time(config, load_search_data(config.data))["seconds_per_candidate"] == pytest.approx(5 * 1.6 + 0.1)


def test_a_subspace_of_unknown_size_is_measured_with_about_as_many_dimensions() -> None:
    data = load_search_data(load_config(ROOT / "configs" / "digits.yaml").data)
    exact = len(fitted_pca(Pca(), data.train).decoder.centre)
    assert estimated_dimensions(Pca(), data.train) == pytest.approx(exact, abs=2)
    assert estimated_dimensions(Pca(dimensions=5), data.train) == 5


def test_the_time_of_a_retraining_follows_from_the_speeds_and_its_attacks(
    tmp_path: Path, pools: Callable[..., list[Workload]]
) -> None:
    pools(_fixed)
    overrides = ("retrain.epochs=6", "retrain.validate_every=4", "evaluation.final_images=50")
    config = load_config(write_config(tmp_path), overrides)  # 160 images to train on, 40 to validate, 100 to test
    found = retraining_time(config, load_search_data(config.data), standing=0.5)
    first, apgd, square, checks = 50 * (2 + 1 / 3 + 1), 25 * (2 * 4 + 1 / 3), 25 * 20 / 3, 200 * 20
    assert found["training_seconds"] == pytest.approx(6 * 160 / 100 + 2 * 40 * (2 + 1 / 3 + 1) * A_PASS + 3 * ALARM)
    assert found["evaluation_seconds"] == pytest.approx((first + apgd + square + checks) * A_PASS)
    assert (found["epochs"], found["attacks"], found["test_images"]) == (6, 3, 50)
    resumed = retraining_time(config, load_search_data(config.data), epochs=0)
    assert resumed["training_seconds"] == 0 < found["evaluation_seconds"] < resumed["evaluation_seconds"]


@pytest.mark.parametrize(("counts", "changes", "count"), [
    (None, (), 359), (None, ("data.test_limit=100",), 100), ({"a": 2, "b": 1}, (), 3),
    ({"a": 70, "b": 10}, ("evaluation.final_images=50",), 50),
])  # fmt: skip
def test_the_final_evaluation_meets_the_test_images_that_there_are(
    pools: Callable[..., list[Workload]], counts: dict[str, int] | None, changes: tuple[str, ...], count: int
) -> None:
    pools(_fixed)
    config = load_config(ROOT / "configs" / "digits.yaml", changes)
    data = dataclasses.replace(load_search_data(config.data), test_counts=counts)
    assert retraining_time(config, data)["test_images"] == count


def test_check_measures_unless_told_not_to(here: Path, capsys: Capture, pools: Callable[..., list[Workload]]) -> None:
    measured = pools(_fixed)
    plain = nas(capsys, "check", "tiny.yaml", "--no-time", "--format", "json")
    assert (plain.code, measured) == (0, [])
    timed = nas(capsys, "check", "tiny.yaml", "--time", "--format", "json")
    time, retraining = json.loads(timed.out)["time"], json.loads(timed.out)["retraining"]
    assert json.loads(timed.out) == {**json.loads(plain.out), "time": time, "retraining": retraining}
    assert "for 2 epochs, then at most 0:04 for 3 attacks on 100 test images" in " ".join(
        nas(capsys, "check", "tiny.yaml").out.split()
    )
    assert time["candidates_per_hour"] == pytest.approx(3600 / 1.7)
    assert "candidates an hour" not in nas(capsys, "check", "tiny.yaml", "--no-time").out
    assert "2,118 candidates an hour" in nas(capsys, "check", "tiny.yaml").out


def test_bench_of_a_config(here: Path, capsys: Capture, pools: Callable[..., list[Workload]]) -> None:
    pools(_fixed)
    found = json.loads(nas(capsys, "bench", "--config", "tiny.yaml", "--format", "json").out)
    assert found["candidates_per_hour"] == pytest.approx(3600 / 1.7)
    printed = nas(capsys, "bench", "--config", "tiny.yaml")
    assert (printed.code, "2,118 candidates an hour" in printed.out) == (0, True)
    for one in found["networks"]:
        assert f"{one['macs']:,}" in printed.out
    missing = nas(capsys, "bench", "--config", "none.yaml")
    assert (missing.code, "none.yaml" in missing.message) == (2, True)


def test_bench_of_several_networks(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def compare(workload: Workload, *_: object) -> dict[str, object]:
        seen.append(workload.spec.blocks[3].hidden_channels)
        return {"steps": workload.training.attack.steps}

    monkeypatch.setattr("nas.timing.bench.compare", compare)
    names = ["mousavi_w0.35_e10", "mousavi_w0.35_e6"]
    options = [word for name in names for word in ("--network", name)]
    ended = nas(capsys, "bench", *options, "--steps", "3", "--format", "json")
    assert json.loads(ended.out) == [{"network": name, "steps": 3} for name in names]
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 2
    unknown = nas(capsys, "bench", "--network", "mousavi_w9_e9")
    assert (unknown.code, "mousavi_w0.35_e6" in unknown.message) == (2, True)
