"""What searching bought: the baseline beside the front, against what the files say."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.base.errors import UsageError
from nas.evaluation.scores import load_scores
from nas.report.baselines import baseline_kind, uniform_text
from nas.runs import Run, open_run
from nas.runs.trial_files import images_path, trial_folder
from nas.studies import versus
from tests.tiny_run import call, nas, write_config

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a search of five networks, members from three seeds, and its baseline from two."""
    path = tmp_path_factory.mktemp("baseline")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        write_config(path)
        learned = ("--set", "training.epochs=4", "--set", "training.ema_decay=0")
        assert call(["search", "tiny.yaml", *learned, "--set", "search.trials=5", "--set", "evaluation.seeds=3"]) == 0
        assert call(["sweep", "tiny.yaml", *learned, "--uniform", "--set", "sweep.seeds=2"]) == 0
        yield path


@pytest.fixture
def runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Run, Run]:
    monkeypatch.chdir(folder)
    return open_run(Path("runs/tiny")), open_run(Path("runs/tiny_uniform"))


def standing(run: Run, number: int, repeat: int = 0) -> float:
    """Share of the images that withstand PGD-2 alone, from the files."""
    record = next(one for one in run.records if one.number == number)
    assert record.evaluation is not None
    images = load_scores(images_path(trial_folder(run.trials_folder, number, repeat), record.evaluation.fidelity))
    return float((images.natural & ~images.fell).double().mean())


def test_steps_are_the_best_within_the_cost_of_uniform_networks(runs: tuple[Run, Run]) -> None:
    run, baseline = runs
    facts = versus(run, baseline).facts
    assert (facts["cost"], facts["score"]) == ("params", "robust_accuracy")
    assert facts["networks"] == {"searched": len({r.genotype.key for r in run.records if r.evaluation}), "baseline": 8}
    means: dict[str, list[float]] = {}
    for record in baseline.records:
        means.setdefault(record.genotype.key, []).append(standing(baseline, record.number))
    sizes = {record.genotype.key: record.costs.params for record in baseline.records}
    front = {key for key, values in means.items()
             if not any(sizes[o] <= sizes[key] and np.mean(means[o]) >= np.mean(values) and
                        (sizes[o], np.mean(means[o])) != (sizes[key], np.mean(values)) for o in means)}  # fmt: skip
    searched = [r for r in run.records if r.evaluation and r.evaluation.fidelity == "front" and r.reused_from is None]
    expected = []
    for size, key in sorted((sizes[key], key) for key in front):
        within = [r for r in searched if r.costs.params <= size]
        if within:
            best = max(within, key=lambda r: standing(run, r.number))
            folder = trial_folder(run.trials_folder, best.number)
            repeats = [k for k in (1, 2) if (folder / f"seed_{k}" / "evaluation.json").exists()] or [0]
            fresh = np.mean([standing(run, best.number, repeat) for repeat in repeats])
            expected.append((size, best.number, len(repeats), pytest.approx(fresh - np.mean(means[key]))))
    found = [(s["limit"], s["searched"]["trial"], s["searched"]["trainings"], s["difference"]) for s in facts["steps"]]
    assert found == expected
    assert found
    assert any(count == 2 for _, _, count, _ in found), "a member is judged by its fresh trainings"
    assert all(s["low"] <= s["difference"] <= s["high"] and s["low"] < s["high"] for s in facts["steps"])
    assert all(s["baseline"]["trainings"] == 2 for s in facts["steps"])
    assert 0 < min(facts["hypervolume"].values()) <= max(facts["hypervolume"].values()) < 1


def test_the_front_shows_it(runs: tuple[Run, Run], capsys: Capture, tmp_path: Path) -> None:
    shown = nas(capsys, "front", "runs/tiny", "--baseline", "runs/tiny_uniform", "--png", tmp_path / "front.png")
    assert shown.code == 0
    facts = versus(*runs).facts
    assert "What searching bought" in shown.out
    assert f"hypervolume {facts['hypervolume']['searched']:.4f} of" in shown.out
    for step in facts["steps"]:
        assert f"{step['difference']:+.3f} ({step['low']:+.3f} to {step['high']:+.3f})" in shown.out
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
    printed = json.loads(nas(capsys, "front", "runs/tiny", "--baseline", "runs/tiny_uniform", "--format", "json").out)
    plain = json.loads(nas(capsys, "front", "runs/tiny", "--format", "json").out)
    assert printed == {"front": plain, "baseline": facts}


def test_what_was_selected_says_so(runs: tuple[Run, Run], folder: Path, capsys: Capture) -> None:
    assert nas(capsys, "search", "tiny.yaml", "--run", "lone", "--set", "search.trials=2").code == 0
    notes = versus(open_run(Path("runs/lone")), runs[1]).facts["notes"]
    assert any("by the training that they were selected by" in note for note in notes)


def test_what_cannot_be_compared_is_refused(runs: tuple[Run, Run], capsys: Capture) -> None:
    assert nas(capsys, "front", "runs/tiny", "--baseline", "runs/tiny_uniform", "--format", "csv").code == 2
    assert nas(capsys, "front", "runs/tiny", "--baseline", "runs/none").code == 2
    assert nas(capsys, "search", "tiny.yaml", "--run", "others", "--set", "data.limit=150").code == 0
    with pytest.raises(UsageError, match="different images"):
        versus(runs[0], open_run(Path("runs/others")))
    refused = nas(capsys, "sweep", "tiny.yaml", "--uniform", "--run", "empty", "--set", "budget={params: 10}")
    assert (refused.code, "fits the budget" in refused.message) == (2, True)


def test_a_baseline_is_all_uniform_networks_within_the_budget(runs: tuple[Run, Run]) -> None:
    baseline = runs[1]
    assert baseline.config.sweep.uniform
    assert len(baseline.records) == 2 * 8
    for record in baseline.records:
        assert len({v for name, v in record.genotype.values.items() if name.startswith("width")}) == 1


def test_networks_of_another_search_are_not_called_uniform() -> None:
    def facts(genotype: dict[str, float]) -> dict[str, Any]:
        return {"steps": [{"baseline": {"genotype": genotype}}]}

    uniform, mixed = {"width_1": 0.5, "width_2": 0.5, "expand_1": 2}, {"width_1": 0.5, "width_2": 1.0, "expand_1": 2}
    assert (baseline_kind(facts(uniform)), uniform_text(uniform)) == ("uniform", "W 0.5  E 2")
    assert (baseline_kind(facts(mixed)), uniform_text(mixed)) == ("baseline", "W 0.5 1  E 2")
