"""Groups of retrained networks: known means and intervals, and what is refused."""

import json
from pathlib import Path

import pytest

from tests.benchmarks.retrained import Group, difference, mean, table


def retrained(
    folder: Path, robust: float, params: int = 100, steps: int = 20, seed: int = 0, **changes: object
) -> Path:
    """A folder as `nas retrain` leaves it, as far as it is read."""
    folder.mkdir()
    scores = {"natural_accuracy": robust + 0.2, "robust_accuracy": robust, "num_images": 1000,
              "ladder": [{"attack": {"name": "pgd", "steps": steps}, "robust_accuracy": robust}]}  # fmt: skip
    (folder / "evaluation.json").write_text(json.dumps(scores))
    described = {"costs": {"params": params, "macs": 5}, "genotype": {"width": 1}, "threat": {"epsilon": 0.1},
                 "data_fingerprint": "a", "begun_with": "scratch", "seed": seed,
                 "training": {"epochs": 12, "teacher": None, "seed": seed}}  # fmt: skip
    (folder / "genotype.json").write_text(json.dumps(described | changes))
    return folder


def test_means_and_differences_are_those_of_student_and_welch() -> None:
    assert mean([0.30, 0.32, 0.34]) == "32.00 ± 4.97"  # 4.303 · 2 / √3
    assert difference([0.30, 0.32, 0.34], [0.20, 0.22, 0.24]) == "+10.00 (+5.47 to +14.53)"  # 2.776 · √(4/3 + 4/3)
    assert difference([0.30], [0.20, 0.22]) == "+9.00"


def test_a_table_compares_later_groups_with_the_first(tmp_path: Path) -> None:
    groups = [
        Group.read(name, [retrained(tmp_path / f"{name}{seed}", robust + seed / 100, seed=seed) for seed in range(3)])
        for name, robust in (("searched", 0.3), ("uniform", 0.2))
    ]
    *_, first, second, under = table(groups).splitlines()
    assert first.startswith("| searched | 100 | 5 | 3 | 51.00 ± 2.48 | 31.00 ± 2.48 |")
    assert "+10.00 (+7.73 to +12.27)" in second
    assert under.startswith("1,000 images")


def test_other_networks_attacks_and_unfinished_folders_are_refused(tmp_path: Path) -> None:
    one = retrained(tmp_path / "one", 0.3)
    taught = {"training": {"epochs": 12, "teacher": "large", "seed": 1}}
    for name, other in (
        ("larger", retrained(tmp_path / "larger", 0.3, params=200, seed=1)),
        ("wider", retrained(tmp_path / "wider", 0.3, seed=1, genotype={"width": 2})),
        ("taught", retrained(tmp_path / "taught", 0.3, seed=1, **taught)),
        ("begun", retrained(tmp_path / "begun", 0.3, seed=1, begun_with="supernet")),
    ):
        with pytest.raises(ValueError, match=f"{name}: networks, trainings, attacks or images differ"):
            Group.read(name, [one, other])
    with pytest.raises(ValueError, match="the same seed"):
        Group.read("twice", [one, retrained(tmp_path / "again", 0.3)])
    with pytest.raises(ValueError, match="no finished retraining"):
        Group.read("none", [tmp_path])
    longer = Group.read("longer", [retrained(tmp_path / "longer", 0.3, steps=40)])
    with pytest.raises(ValueError, match="the groups met different attacks"):
        table([Group.read("one", [one]), longer])
