"""A whole run folder made in a moment: any number of trials with scores image by image, without training."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from nas.base.files import write_json
from nas.base.records import Candidate, Costs, Interval, Outcome, Rung, TrialRecord, TrialState, to_json
from nas.budgets import count_costs
from nas.evaluation import wilson_interval
from nas.evaluation.scores import ImageScores, save_scores
from nas.measures.closed_form import lipschitz_bound_log10
from nas.runs.config import RunConfig, dump_config, load_config
from nas.runs.problem import make_space
from nas.runs.trial_files import LOG, RESULT, images_path, trial_folder
from nas.search.journal import COMPLETE, CREATE_STUDY, CREATE_TRIAL, STUDY_NAME
from search_spaces import Genotype, SearchSpace
from tests.builders import evaluation
from tests.conftest import ROOT

IMAGES = 288
PGD = {"name": "pgd", "steps": 20, "step_size": 0.025}
Change = Callable[[TrialRecord], TrialRecord]


def made_run(
    folder: Path, trials: int, *, config: Path = ROOT / "configs" / "digits.yaml", overrides: Sequence[str] = (),
    classes: Sequence[str] = (), seed: int = 0, change: Change = lambda record: record,
) -> Path:  # fmt: skip
    """`folder` as a finished run of `config`: larger networks are more robust, with some luck.

    `change` may alter records before they are written.
    """
    loaded = load_config(config, [f"search.trials={trials}", *overrides])
    names = list(classes) or [str(digit) for digit in range(10)]
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump_config(loaded), encoding="utf-8")
    write_json(folder / "data.json", {"input_shape": [1, 8, 8], "num_classes": len(names), "class_names": names,
                                      "train": 1149, "validation": IMAGES, "fingerprint": "made"})  # fmt: skip
    space = make_space(loaded, (1, 8, 8), len(names))
    records = [change(record) for record in _trained(folder, loaded, space, trials, seed)]
    write_study(folder / "study.journal", records)
    return folder


def write_study(path: Path, records: Sequence[TrialRecord]) -> None:
    """A journal with finished `records`."""
    lines: list[dict[str, Any]] = [
        {"op_code": CREATE_STUDY, "worker_id": "made", "study_name": STUDY_NAME, "directions": [1]}
    ]
    for record in records:
        lines.append({"op_code": CREATE_TRIAL, "worker_id": "made", "study_id": 0, "state": COMPLETE, "values": [0.0],
                      "user_attrs": {"record": to_json(record)}})  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _trained(folder: Path, config: RunConfig, space: SearchSpace, trials: int, seed: int) -> list[TrialRecord]:
    rng, random = np.random.default_rng(seed), Random(seed)
    hard = rng.normal(size=IMAGES)
    records, known = [], set()
    while len(records) < trials:
        genotype = space.sample(random)
        if genotype.key not in known:
            known.add(genotype.key)
            records.append(_trial(folder, len(records), genotype, config, space, hard, rng))
    return records


def _trial(
    folder: Path, number: int, genotype: Genotype, config: RunConfig, space: SearchSpace,
    hard: np.ndarray[Any, Any], rng: np.random.Generator,
) -> TrialRecord:  # fmt: skip
    spec = space.spec(genotype)
    costs: Costs = count_costs(spec, config.deployment)
    record = TrialRecord(number, genotype, number, TrialState.COMPLETE, costs, seconds=20 + costs.macs / 5e4)
    if not config.budget.allows(costs):
        return replace(record, state=TrialState.REJECTED, seconds=0.0)
    skill = 1.1 * np.log10(costs.params / 2000) + rng.normal(0, 0.25)
    own = rng.normal(0, 0.6, IMAGES)
    natural = torch.tensor(hard + own < 1.6 + skill)
    robust = natural & torch.tensor(hard + own < 0.2 + skill)
    instability = torch.tensor(
        np.exp(0.7 * hard + 0.3 * own - 1.5 - 0.8 * skill + rng.normal(0, 0.1)), dtype=torch.float32
    )
    scores = ImageScores(
        natural, robust, natural & ~robust, torch.zeros_like(natural), torch.ones_like(natural), instability,
        10 * instability, 2 + instability, 20 + instability, torch.zeros(IMAGES),
    )  # fmt: skip
    save = trial_folder(folder / "trials", number)
    save.mkdir(parents=True)
    save_scores(images_path(save, "front"), scores)
    made = int(natural.sum()), int(robust.sum())
    found = evaluation(
        robust=made[1] / IMAGES, natural=made[0] / IMAGES, instability=float(instability.double().mean()),
        bound=lipschitz_bound_log10(spec), num_images=IMAGES, natural_interval=wilson_interval(made[0], IMAGES),
        robust_interval=wilson_interval(made[1], IMAGES), warnings=(), attack=PGD, lipschitz_maximised=None,
        lipschitz_certified_log10=4.5 + float(rng.normal(0, 0.2)),
        lipschitz_empirical=float(scores.lipschitz.double().mean()),
        lipschitz_empirical_scaled=float(scores.lipschitz_scaled.double().mean()), fidelity="front",
        ladder=(Rung(PGD, made[0], made[0] - made[1], made[1] / IMAGES, wilson_interval(made[1], IMAGES)),),
    )  # fmt: skip
    violations = {"natural_accuracy >= 0.5": (0.5 - found.natural_accuracy) / 0.5}
    record = replace(record, evaluation=found, violations=violations)
    outcome = Outcome(found, record.seconds)
    write_json(
        save / RESULT, {"candidate": to_json(Candidate(number, genotype, number, "front")), "outcome": to_json(outcome)}
    )
    log = [{"epoch": epoch, "loss": 2.3 / epoch, "train_accuracy": 1 - 0.9 / epoch} for epoch in range(1, 11)]
    (save / LOG).write_text("".join(json.dumps(line) + "\n" for line in log), encoding="utf-8")
    return record


__all__ = ["IMAGES", "Interval", "made_run", "write_study"]
