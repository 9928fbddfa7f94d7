"""A manifold in a config and through a run: what is refused, and a search with on-manifold accuracy as an objective."""

import json
import re
from pathlib import Path

import pytest

from nas.base.errors import UsageError
from nas.evaluation.scores import load_scores
from nas.measures import MEASURES
from nas.runs import open_run
from nas.runs.config import load_config
from nas.runs.manifolds import check_epsilons
from nas.runs.trial_files import images_path, trial_folder
from tests.tiny_run import Refusal, nas, write_config

Capture = pytest.CaptureFixture[str]
THREAT = "evaluation.threats={codes: {acts_on: manifold, epsilon: 0.3}}"
PCA = "manifold={name: pca, dimensions: 6}"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ((THREAT,), "evaluation.threats.codes: there is no manifold"),
        (("training.on_manifold.weight=0.5",), "training.on_manifold: there is no manifold"),
        ((PCA, "objectives=[on_manifold_accuracy, params]"), "on_manifold_accuracy is not measured"),
        (("threat={acts_on: manifold, epsilon: 0.3}", PCA), "put this threat under evaluation.threats"),
        (("manifold={name: pcb}",), "unknown manifold 'pcb' (allowed: pca, vae, known)"),
        (("evaluation.threats={codes: {acts_on: manifold, epsilon: 40}}", PCA), "largest distance of two codes, 32"),
    ],
)
def test_what_does_not_go_together_is_refused(refusal: Refusal, overrides: tuple[str, ...], words: str) -> None:
    assert words in refusal(*overrides)


def test_a_radius_that_reaches_codes_of_another_class_is_refused(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path), (PCA, THREAT, "training.on_manifold={weight: 0.5, epsilon: 0.6}"))
    check_epsilons(config, 0.61)
    with pytest.raises(UsageError, match=r"training\.on_manifold\.epsilon 0\.6 reaches .* less than 0\.5"):
        check_epsilons(config, 0.5)
    with pytest.raises(UsageError, match=r"evaluation\.threats\.codes\.epsilon 0\.3 reaches"):
        check_epsilons(config, 0.3)


def test_a_known_manifold_of_unknown_data_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path)
    found = nas(capsys, "search", "tiny.yaml", "--set", "manifold={name: known}", "--set", THREAT)
    assert found.code
    assert "the map behind the data set digits is not known" in " ".join(found.err.split())


def test_a_search_for_on_manifold_accuracy_and_sparse_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path)
    sets = (
        PCA, THREAT, "training={method: natural, on_manifold: {weight: 0.5}}",
        "treatments=[{name: prune, sparsity: 0.5, start: 0}]",
        "objectives=[on_manifold_accuracy, sparse_weight_bytes]",
    )  # fmt: skip
    options = [part for one in sets for part in ("--set", one)]
    assert nas(capsys, "check", "tiny.yaml", *options).code == 0
    assert nas(capsys, "search", "tiny.yaml", *options).code == 0
    run = open_run(Path("runs/tiny"))
    assert (run.folder / "manifold" / "reconstructions.png").read_bytes().startswith(b"\x89PNG")
    said = " ".join(nas(capsys, "front", "runs/tiny").out.split())
    match = re.search(r"manifold pca, (\d+) dimensions: root mean squared error (\S+) of reconstructed", said)
    assert match is not None
    assert 1 <= int(match[1]) <= 64
    assert 0 < float(match[2]) < 0.2
    assert re.search(r"also linf ε = \S+ standard deviations of the codes, on the manifold: pgd", said)
    for record in run.records:
        assert record.evaluation is not None
        folder = trial_folder(run.trials_folder, record.number)
        of_images = load_scores(images_path(folder, record.evaluation.fidelity)).of(MEASURES["on_manifold_accuracy"])
        assert of_images is not None, "kept image by image, so that intervals can be drawn"
        assert of_images.mean() == pytest.approx(record.evaluation.scores["on_manifold_accuracy"])
        found = record.evaluation.by_threat["codes"]
        assert found.natural_accuracy is not None
        assert found.robust_accuracy <= found.natural_accuracy
    rows = json.loads(nas(capsys, "front", "runs/tiny", "--format", "json").out)
    assert all(0 <= row["on_manifold_accuracy"] <= 1 and row["sparse_weight_bytes"] > 0 for row in rows)
    shown = " ".join(nas(capsys, "show", "runs/tiny", "0").out.split())
    assert "standard deviations of the codes, on the manifold" in shown
    assert nas(capsys, "retrain", "runs/tiny", "--pick", "0").code == 0
    folder = Path("runs/tiny/retrained/00000")
    stored = json.loads((folder / "evaluation.json").read_bytes())
    again = json.loads(nas(capsys, "evaluate", str(folder), "--format", "json").out)
    assert again["by_threat"]["codes"]["robust_accuracy"] == stored["by_threat"]["codes"]["robust_accuracy"]
