"""Run folders: what may change, who may write, what is refused before any work."""

import dataclasses
import json
import math
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from nas.base.errors import ConfigError, EmptyBudget, RunLocked, RunMismatch, UsageError
from nas.base.files import exclusive
from nas.base.machine import available_cores, resolve_device
from nas.base.records import TrialState
from nas.data.datasets import load_search_data
from nas.data.split import Split
from nas.measures.closed_form import lipschitz_bound_log10
from nas.runs import costs_of, make_problem, make_space, open_run, reference_point
from nas.runs.config import RunConfig, load_config
from nas.runs.placement import workers_and_threads
from nas.runs.work import search
from tests.builders import tiny_data
from tests.tiny_run import write_config


def _config(folder: Path, *overrides: str) -> RunConfig:
    return load_config(write_config(folder), overrides)


def _ignore(_: object) -> None:
    pass


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_folder_holds_what_the_later_verbs_need(here: Path) -> None:
    folder = here / "runs" / "tiny"
    run = open_run(folder)
    assert run.config == load_config(here / "tiny.yaml")
    assert [record.number for record in run.records] == list(range(len(run.records)))
    trained = [record for record in run.records if record.state is TrialState.COMPLETE and record.reused_from is None]
    assert len(trained) == 3
    for record in trained:
        files = {path.name for path in (folder / "trials" / f"{record.number:05d}").iterdir()}
        assert {"evaluation.json", "log.jsonl", "model.safetensors"} <= files
    started = json.loads((folder / "environment.json").read_text())
    assert started[0]["packages"]["torch"] == version("torch")
    assert {"python", "system", "processor", "cores", "git_revision", "workers"} <= started[0].keys()


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("training.epochs=2", "training.epochs"),
        ("threat.epsilon=0.08", "threat.epsilon"),
        ("data.limit=300", "data.limit"),
        ("search.seed=1", "search.seed"),
        ("search.sampler=random", "search.sampler"),
        ("objectives=[params]", "objectives"),
        ("budget.params=99999", "budget.params"),
        ("space.width_multipliers=[0.5]", "space.width_multipliers"),
    ],
)
def test_another_config_is_refused_by_the_field_that_differs(copy: Path, override: str, field: str) -> None:
    before = _contents(copy / "runs")
    with pytest.raises(RunMismatch) as caught:
        search(_config(copy, override), copy / "runs" / "tiny", _ignore)
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:-1]] == [field]
    assert "--run NAME" in lines[-1]
    assert _contents(copy / "runs") == before, "a refused search changes nothing"


def test_more_trials_go_on_from_the_finished_ones(copy: Path) -> None:
    folder = copy / "runs" / "tiny"
    before = open_run(folder).records
    config = _config(copy, "search.trials=4", "search.max_failures=9", "retrain.epochs=9", "search.trial_timeout=60")
    search(config, folder, _ignore)
    after = open_run(folder)
    assert after.records[: len(before)] == before
    assert sum(r.state is TrialState.COMPLETE and r.reused_from is None for r in after.records) == 4
    assert after.config.search.trials == 4
    assert after.config.retrain.epochs == 9
    assert len(json.loads((folder / "environment.json").read_text())) == 2


_HOLDER = """
import sys
from importlib.metadata import version
from pathlib import Path
from nas.base.files import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunLocked, match="another process"), exclusive(tmp_path):
            pass
        holder.kill()
    with exclusive(tmp_path):
        pass


def test_a_search_in_a_locked_run_is_refused(copy: Path) -> None:
    before = _contents(copy / "runs")
    with exclusive(copy / "runs" / "tiny"), pytest.raises(RunLocked, match="--run NAME"):
        search(_config(copy, "search.trials=9"), copy / "runs" / "tiny", _ignore)
    assert _contents(copy / "runs") == before


def test_an_empty_budget_is_told_the_size_of_the_smallest_network(tmp_path: Path) -> None:
    config = _config(tmp_path, "budget.params=100", "budget.macs=1000000")
    space = make_space(config, (1, 8, 8), 10)
    smallest = costs_of(config, space, space.smallest()).params
    with pytest.raises(EmptyBudget, match=rf"smallest network .* params {smallest:,} \(limit 100\): .* alone holds "):
        search(config, tmp_path / "runs" / "x", _ignore)
    assert not (tmp_path / "runs").exists()


def test_a_file_in_the_way_of_the_run_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises((UsageError, NotADirectoryError), match="taken"):
        search(_config(tmp_path), tmp_path / "taken", _ignore)
    assert (tmp_path / "taken").read_text() == "mine"


def test_opening_what_is_no_run_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nas search CONFIG"):
        open_run(tmp_path / "none")


def test_the_reference_point_is_the_worst_value_of_each_objective(tmp_path: Path) -> None:
    names = ["robust_accuracy", "natural_accuracy", "instability", "instability_scaled", "lipschitz_bound_log10",
             "params", "macs"]  # fmt: skip
    config = _config(tmp_path, f"objectives=[{', '.join(names)}]", "budget.params=5000")
    space = make_space(config, (1, 8, 8), 10)
    found = dict(zip(names, reference_point(config, space, config.parsed_objectives), strict=True))
    largest = space.largest()
    assert found == pytest.approx({
        "robust_accuracy": 0.0,
        "natural_accuracy": 0.0,
        "instability": math.log(10),
        "instability_scaled": math.log(10) / 0.1,
        "lipschitz_bound_log10": 1.1 * lipschitz_bound_log10(space.spec(largest)),
        "params": 5000,
        "macs": 1.1 * costs_of(config, space, largest).macs,
    })  # fmt: skip


def test_the_reference_point_of_the_config_wins(tmp_path: Path) -> None:
    config = _config(tmp_path, "objectives=[robust_accuracy, params]", "search.reference_point={params: 123}")
    space = make_space(config, (1, 8, 8), 10)
    assert reference_point(config, space, config.parsed_objectives) == (0.0, 123.0)


@pytest.mark.parametrize("name", ["lipschitz_empirical", "lipschitz_certified_log10"])
def test_an_objective_without_a_worst_value_needs_one(tmp_path: Path, name: str) -> None:
    config = _config(tmp_path, f"objectives=[{name}]")
    data = load_search_data(config.data)
    with pytest.raises(ConfigError, match=rf"search\.reference_point: \{{{name}: VALUE\}}"):
        make_problem(config, data)
    stated = _config(tmp_path, f"objectives=[{name}]", f"search.reference_point={{{name}: 50}}")
    assert make_problem(stated, data).reference_point == (50.0,)


@pytest.mark.parametrize("cores", [1, 2, 3, 8])
@pytest.mark.parametrize("workers", ["auto", "1", "2", "3", "8"])
@pytest.mark.parametrize("executor", ["processes", "in_process"])
def test_workers_times_threads_never_exceed_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, workers: str, executor: str
) -> None:
    monkeypatch.setattr("nas.runs.placement.available_cores", lambda: cores)
    config = _config(tmp_path, f"search.workers={workers}", f"search.executor={executor}", "search.trials=5")
    if executor == "processes" and workers != "auto" and int(workers) > cores:
        with pytest.raises(ConfigError, match=rf"must be 1 to {cores} .*\[got {workers}\]"):
            workers_and_threads(config)
        return
    chosen, threads = workers_and_threads(config)
    assert 1 <= chosen * threads <= cores
    assert chosen <= 5
    if executor == "processes":
        assert chosen == min(5, cores if workers == "auto" else int(workers))


@pytest.mark.parametrize(("cores", "workers", "expected"), [
    (16, "auto", (4, 4)), (2, "auto", (2, 1)), (1, "auto", (1, 1)), (16, "8", (8, 2)), (9, "2", (2, 4)),
])  # fmt: skip
def test_a_gpu_is_shared_by_four_workers_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, workers: str, expected: tuple[int, int]
) -> None:
    monkeypatch.setattr("nas.runs.placement.available_cores", lambda: cores)
    monkeypatch.setattr("nas.runs.placement.resolve_device", lambda _: torch.device("cuda"))
    config = _config(tmp_path, f"search.workers={workers}", "search.executor=processes", "search.trials=32")
    assert workers_and_threads(config) == expected


def test_cores_are_those_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {3, 5, 6} if pid == 0 else set())
    assert available_cores() == 3


def test_a_missing_gpu_is_refused_before_any_work() -> None:
    with pytest.raises(ConfigError, match="cuda:99 is not there"):
        resolve_device("cuda:99")
    assert resolve_device("cpu") == torch.device("cpu")


DAMAGED = ["", "{", "7", "[1]", "{}", '"text"', "null", "\xff"]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_of_a_run_is_named_with_what_to_do(copy: Path, content: str) -> None:
    folder = copy / "runs" / "tiny"
    whole = (folder / "data.json").read_text()
    for name in ("data.json", "environment.json"):
        (folder / name).write_bytes(content.encode("latin-1"))
    refused = r"data\.json is damaged.*remove it and run `nas search CONFIG`.*all trials are kept"
    with pytest.raises(UsageError, match=refused):
        _ = open_run(folder).space
    with pytest.raises(UsageError, match=refused):
        search(_config(copy), folder, _ignore)
    (folder / "data.json").write_text(whole)
    if content != "[1]":
        with pytest.raises(UsageError, match=r"environment\.json is damaged.*remove it.*all trials are kept"):
            search(_config(copy), folder, _ignore)


def test_a_damaged_config_of_a_run_is_named_with_what_to_do(copy: Path) -> None:
    folder = copy / "runs" / "tiny"
    for content in (b"", b"name: [", b"nam: tiny\n", b"\xff\xfe\x00"):
        (folder / "config.yaml").write_bytes(content)
        with pytest.raises(ConfigError, match=r"(?s)config\.yaml.*restore it from the config.*all trials are kept"):
            open_run(folder)


def test_what_a_damaged_file_asks_for_mends_the_run(copy: Path) -> None:
    folder = copy / "runs" / "tiny"
    before = open_run(folder).records
    for name in ("data.json", "environment.json"):
        (folder / name).unlink()
    search(_config(copy), folder, _ignore)
    assert open_run(folder).records == before
    assert open_run(folder).space.input_shape == (1, 8, 8)


def test_a_data_set_that_has_changed_is_refused(copy: Path) -> None:
    folder = copy / "runs" / "tiny"
    facts = json.loads((folder / "data.json").read_text())
    (folder / "data.json").write_text(json.dumps({**facts, "fingerprint": "0" * 16}))
    with pytest.raises(RunMismatch, match="data set has changed"):
        search(_config(copy), folder, _ignore)


def test_the_fingerprint_names_images_labels_and_classes() -> None:
    data = tiny_data()
    darker = Split(data.train.images // 2, data.train.labels)
    swapped = Split(data.validation.images, data.validation.labels.flip(0))
    names = {
        data.fingerprint,
        dataclasses.replace(data, train=darker).fingerprint,
        dataclasses.replace(data, validation=swapped).fingerprint,
        dataclasses.replace(data, class_names=(*data.class_names[:-1], "other")).fingerprint,
    }
    assert len(names) == 4
    assert tiny_data().fingerprint == data.fingerprint


@pytest.mark.parametrize("point", [{"params": 0.0}, {"params": -5.0}, {"robust_accuracy": 1.0}, {"parms": 5.0}])
def test_a_reference_point_that_is_no_worse_than_the_best_or_unknown_is_refused(
    copy: Path, point: dict[str, float]
) -> None:
    config = _config(copy)
    search_settings = config.search.model_copy(update={"reference_point": point})
    run = open_run(copy / "runs" / "tiny")
    changed = config.model_copy(update={"search": search_settings})
    with pytest.raises(UsageError, match=next(iter(point))):
        reference_point(changed, run.space, config.parsed_objectives)


def test_an_inner_attack_that_cannot_reach_the_border_is_refused(copy: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.attack: 2 steps of 0\.001 cannot reach"):
        _config(copy, "training.attack.step_size=0.001")
