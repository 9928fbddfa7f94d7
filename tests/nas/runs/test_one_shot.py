"""Searches, sweeps and retrainings that begin with a supernet's weights, by the verbs."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.assets.supernet.weights import copied
from nas.base.errors import ConfigError
from nas.data.datasets import load_search_data, load_test_data
from nas.pareto import hypervolume
from nas.runs import open_run
from nas.runs.config import load_config
from nas.runs.work import supernet_of, trained_network
from nas.training.loop import TrainingState, start_training
from search_spaces.network import Network, build_network
from tests.benchmarks.front_on_test import measure
from tests.builders import generator
from tests.tiny_run import TINY, call, nas, write_config

Capture = pytest.CaptureFixture[str]
SETS = ("--set", "search.evaluator=supernet", "--set", "supernet.epochs=2", "--set", "search.trials=6")
ROOT = Path("runs")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run `tiny`, searched with a supernet."""
    folder = tmp_path_factory.mktemp("one_shot")
    write_config(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert call(["search", "tiny.yaml", *SETS]) == 0
    return folder


@pytest.fixture
def inside(searched: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(searched)
    return searched


def test_candidates_are_scored_with_the_supernets_weights_and_nothing_is_trained(inside: Path) -> None:
    run = open_run(ROOT / "tiny")
    data = load_search_data(run.config.data)
    shared = supernet_of(run, data)
    scored = [record for record in run.records if record.evaluation and record.reused_from is None]
    assert len(scored) == 6
    for record in scored:
        assert not (run.trials_folder / f"{record.number:05d}" / "log.jsonl").exists(), "no epoch was trained"
        expected = build_network(run.space.spec(record.genotype), generator())
        copied(shared, expected)
        found = trained_network(run, record)
        for name, parameter in expected.named_parameters():
            assert torch.equal(found.get_parameter(name), parameter), (record.number, name)
        statistics = [b for n, b in found.named_buffers() if n.endswith("running_var")]
        assert all((variance != 1).any() for variance in statistics), "batch-norm is re-estimated"


def test_a_second_start_trains_no_supernet(inside: Path, capsys: Capture) -> None:
    before = (ROOT / "tiny" / "supernet" / "supernet.safetensors").stat().st_mtime_ns
    said = nas(capsys, "search", "tiny.yaml", *SETS)
    assert said.code == 0, said.err
    assert "supernet epoch" not in said.err
    assert (ROOT / "tiny" / "supernet" / "supernet.safetensors").stat().st_mtime_ns == before
    assert "scored with the weights of the supernet" in " ".join(said.out.split())


def begun(module: str, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Statistics of the stem that every training of `module` begins with."""
    found, plain = list[torch.Tensor](), start_training

    def start(network: Network, *others: Any) -> TrainingState:
        found.append(network.features[0][1].running_mean.clone())
        return plain(network, *others)

    monkeypatch.setattr(f"{module}.start_training", start)
    return found


def test_the_front_is_measured_again_after_fine_tuning_and_from_scratch(
    inside: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    statistics = begun("nas.runs.trial", monkeypatch)
    front = [record.genotype.key for record in open_run(ROOT / "tiny").front().records]
    for evaluator in ("fine_tuned", "scratch"):
        said = nas(
            capsys, "sweep", "tiny.yaml", "--run", evaluator, "--set", "sweep={front_of: runs/tiny, seeds: 1}",
            "--set", f"search.evaluator={evaluator}", "--set", "supernet={epochs: 2, taken_from: runs/tiny}",
        )  # fmt: skip
        assert said.code == 0, said.err
        assert statistics, "it runs in this process"
        assert all(mean.any() == (evaluator == "fine_tuned") for mean in statistics), "0 from random weights alone"
        statistics.clear()
        assert "supernet epoch" not in said.err, "it is taken from the search"
        run = open_run(ROOT / evaluator)
        assert [record.genotype.key for record in run.records] == front
        assert len((run.trials_folder / "00000" / "log.jsonl").read_text().splitlines()) == run.config.training.epochs
    tuned, scratch = (trained_network(open_run(ROOT / name), open_run(ROOT / name).records[0]) for name in
                      ("fine_tuned", "scratch"))  # fmt: skip
    shared = supernet_of(open_run(ROOT / "tiny"), load_search_data(open_run(ROOT / "tiny").config.data))
    start = build_network(tuned.spec, generator())
    copied(shared, start)

    def distance(network: torch.nn.Module) -> float:
        pairs = zip(network.parameters(), start.parameters(), strict=True)
        return sum(((a - b) ** 2).sum().item() for a, b in pairs)

    assert 0 < distance(tuned) < distance(scratch) / 4, "fine-tuning stays near the inherited weights"
    shown = nas(capsys, "front", "runs/fine_tuned")
    assert "trained on from the weights of a supernet" in " ".join(shown.out.split())


def test_retrain_begins_with_inherited_weights_where_asked(
    inside: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, statistics = {}, begun("nas.runs.retrain", monkeypatch)
    for start in ("scratch", "inherited"):
        said = nas(capsys, "retrain", "runs/tiny", "--from", start, "--format", "json", "--pick", "best:params")
        assert said.code == 0, said.err
        results[start] = json.loads(said.out)
        described = json.loads((Path(results[start]["folder"]) / "genotype.json").read_text())
        assert described["begun_with"] == ("supernet" if start == "inherited" else "scratch")
        assert results[start]["from"] == start
    assert [bool(mean.any()) for mean in statistics] == [False, True], "statistics of images belong to the weights"
    assert results["scratch"]["folder"] + "-inherited" == results["inherited"]["folder"]
    repeated = nas(capsys, "evaluate", results["inherited"]["folder"], "--format", "json")
    assert json.loads(repeated.out) == results["inherited"]["evaluation"]


def test_a_run_without_a_supernet_has_nothing_to_inherit(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path)
    assert nas(capsys, "search", "tiny.yaml", "--set", "search.trials=2").code == 0
    said = nas(capsys, "retrain", "runs/tiny", "--from", "inherited")
    assert said.code == 2
    assert "has no supernet to inherit weights from" in " ".join(said.err.split())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("search.inherit=true",), "inherit: with evaluator supernet"),
        (("training.epochs=3", "search.halting.epochs=[1]"), "halting: with evaluator supernet"),
        (("supernet.method=madry",), "supernet.method: a supernet is trained by trades alone"),
        (("training.lipschitz_penalty=0.1",), "supernet.lipschitz_penalty"),
        (("training.jacobian.weight=0.1",), "supernet.jacobian.weight"),
        (("evaluation.seeds=2",), "evaluation.seeds: must be 1"),
        (("supernet.width=0.5",), "supernet.width"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(write_config(tmp_path), ("search.evaluator=supernet", *overrides))
    assert message in str(error.value)


def test_the_supernet_of_a_run_cannot_become_another_one(inside: Path, capsys: Capture) -> None:
    said = nas(capsys, "search", "tiny.yaml", *SETS, "--set", "supernet.epochs=3")
    assert said.code == 2
    assert "supernet.epochs: the run has 2, the config has 3" in said.message


def test_without_a_supernet_other_methods_are_as_free_as_ever(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path, TINY.replace("training:", "training:\n  method: madry")), ())
    assert config.training.method == "madry"


def test_what_the_supernet_does_not_set_is_that_of_training(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path), ("supernet.epochs=7",))
    assert config.supernet.epochs == 7
    assert config.supernet.batch_size == config.training.batch_size
    assert config.supernet.attack == config.training.attack


def test_attacks_transfer_between_the_supernet_and_its_subnets(inside: Path, capsys: Capture) -> None:
    said = nas(capsys, "study", "transfer", "runs/tiny", "--subnets", "2", "--format", "json", "--png", "transfer.png")
    assert said.code == 0, said.err
    rows = json.loads(said.out)["matrix"]
    names = list(dict.fromkeys(row["source"] for row in rows))
    assert names[:2] == ["supernet", "smallest"]
    assert len(rows) == len(names) ** 2
    assert Path("transfer.png").read_bytes().startswith(b"\x89PNG")
    again = nas(capsys, "study", "transfer", "runs/tiny", "--subnets", "2", "--format", "json")
    assert rows == json.loads(again.out)["matrix"]
    shown = nas(capsys, "study", "transfer", "runs/tiny", "--subnets", "1")
    assert "images made against" in shown.out
    assert "white box" in " ".join(shown.out.split())


def test_runs_are_compared_network_by_network(inside: Path, capsys: Capture) -> None:
    sweep = ("sweep", "tiny.yaml", "--set", "sweep={sample: 5, seeds: 1}")
    assert nas(capsys, *sweep, "--run", "alone").code == 0
    taken = ("--set", "search.evaluator=supernet", "--set", "supernet={epochs: 2, taken_from: runs/tiny}")
    assert nas(capsys, *sweep, "--run", "shared", *taken).code == 0
    said = nas(capsys, "compare", "runs/alone", "runs/shared", "--format", "json", "--png", "compare.png")
    first, second = json.loads(said.out)
    assert (first["run"], second["run"]) == ("alone", "shared")
    assert first["networks"] == second["networks"] == 5
    assert second["seconds"] < first["seconds"] * 2
    assert Path("compare.png").read_bytes().startswith(b"\x89PNG")
    agreed = nas(capsys, "study", "agreement", "runs/shared", "--with", "runs/alone", "--format", "json")
    taus = {row["metric"]: row["tau"] for row in json.loads(agreed.out)["agreement"]}
    assert taus.get("robust_accuracy") == second["tau"]
    assert nas(capsys, "compare", "runs/alone").code == 2
    assert nas(capsys, "compare", "runs/alone", "runs/alone").code == 2


def test_insights_say_what_the_front_is_made_of(inside: Path, capsys: Capture) -> None:
    said = nas(capsys, "study", "insights", "runs/tiny", "--format", "json", "--png", "made.png")
    rows = json.loads(said.out)["composition"]
    run = open_run(ROOT / "tiny")
    assert [(row["choice"], row["option"]) for row in rows] == [
        (choice.name, option) for choice in run.space.choices for option in choice.options
    ]
    front = len(run.front().records)
    assert sum(row["front"] for row in rows if row["choice"] == "width_2") == front
    assert Path("made.png").read_bytes().startswith(b"\x89PNG")


BLOCKS = TINY.replace(TINY[TINY.index("space:") : TINY.index("threat:")], """\
space:
  name: tiny_blocks
  layers: [{channels: 8}, {channels: 8, stride: 2}, {channels: 16}]
  width_multipliers: [0.5, 1.0]
  stem_channels: 8
  head_channels: 16
  divisor: 4
""").replace("name: tiny\n", "name: kinds\n")  # fmt: skip


def test_a_space_of_block_kinds_goes_through_all_verbs(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path, BLOCKS)
    screened = ("--set", "search.prescreen={refit: 4, trees: 4}", "--set", "search.trials=8")
    verbs = [
        ("check", "tiny.yaml", "--no-time"), ("search", "tiny.yaml", "--set", "search.evaluator=supernet", *screened),
        ("front", "runs/kinds"), ("study", "insights", "runs/kinds"), ("study", "transfer", "runs/kinds"),
        ("show", "runs/kinds", "knee"), ("retrain", "runs/kinds", "--from", "inherited"),
        ("front", "runs/kinds", "--html", "front.html"),
        ("sweep", "tiny.yaml", "--run", "swept", "--set", "sweep={sample: 2, seeds: 1}"),
        ("study", "table", "runs/swept"),
    ]  # fmt: skip
    for verb in verbs:
        said = nas(capsys, *verb)
        assert said.code == 0, (verb, said.err)
    assert any("block_1" in r.genotype.values for r in open_run(ROOT / "kinds").records)


def test_a_front_is_scored_by_the_test_images(inside: Path) -> None:
    run = open_run(ROOT / "tiny")
    members, test = run.front().records, load_test_data(run.config.data)
    found = measure(ROOT / "tiny")
    assert (found["members"], found["images"]) == (len(members), len(test))
    expected = hypervolume(members, run.config.parsed_objectives, run.reference_point())
    assert found["hypervolume_validation"] == pytest.approx(expected, abs=1e-4)
    right = [
        float((trained_network(run, r)(test.images.float() / 255).argmax(1) == test.labels).float().mean())
        for r in members
    ]
    assert 0 <= found["robust_test"] <= sum(right) / len(right) + 1e-4, "attacked, no more are right than before"
