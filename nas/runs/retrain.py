"""From a picked trial to a finished network: long training, selection on validation, one test evaluation."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nas.assets.supernet.keeping import has_supernet
from nas.assets.supernet.weights import begin_with
from nas.base.errors import CheckpointError, UsageError
from nas.base.files import exclusive, read_json, write_atomic, write_json
from nas.base.machine import available_cores, claim_threads, resolve_device
from nas.base.records import Evaluation, Interval, from_json, to_json
from nas.base.seeding import derive_seed, make_generator
from nas.data.datasets import SearchData, load_search_data
from nas.data.facts import check_same_data
from nas.evaluation import EvaluationSettings
from nas.evaluation.course import AttackReport
from nas.evaluation.evaluate import evaluate
from nas.networks.build import new_network, stored_network
from nas.networks.stored import save_weights
from nas.networks.view import view_of
from nas.pareto import Pick
from nas.report.plots import training_curve_png
from nas.runs import Run
from nas.runs.checkpoint import (
    DESCRIPTION,
    RESULT,
    WEIGHTS,
    Checkpoint,
    evaluate_checkpoint,
    load_checkpoint,
    manifold_in,
    save_checkpoint,
)
from nas.runs.config import differences
from nas.runs.manifolds import data_on_manifold
from nas.runs.needs import check_attacks_of
from nas.runs.work import supernet_of
from nas.training.alarm import alarm_warnings, held_out
from nas.training.loop import TrainingState, scored_network, start_training, train_epoch
from nas.training.methods import Teacher
from nas.training.resumable import EpochFile, Facts, Saved, resume_, train_until
from nas.training.settings import naming_facts
from search_spaces.network import Network


@dataclass(frozen=True)
class CurvePoint:
    """One epoch of a retraining; what is validated is None between validations."""

    epoch: int
    loss: float
    train_accuracy: float
    learning_rate: float
    natural_accuracy: float | None = None
    robust_accuracy: float | None = None
    robust_interval: Interval | None = None
    instability: float | None = None
    lipschitz_empirical: float | None = None
    attack_steps: int = 0
    """Of the inner maximisation."""
    undone: tuple[float, ...] = ()
    """Gaps of attempts at this epoch that the alarm undid (nas/training/alarm.py)."""


def retrain(
    run: Run,
    picked: Pick,
    report: Callable[[CurvePoint, int], None],
    inherited: bool = False,
    name: str = "",
    *,
    foresee: Callable[[SearchData, int], None] = lambda *_: None,
    report_attack: Callable[[AttackReport], None] = lambda _: None,
) -> tuple[Path, Evaluation]:
    """Folder of the network that `picked` became, and its evaluation on the test set.

    Trains with the run's `retrain` settings, from random weights or, if `inherited`, from its part of the run's
    supernet; keeps the weights of the best validated robust accuracy, then evaluates these once on the test images.
    Everything goes to RUN/retrained/NUMBER (or NUMBER-inherited; with a `name`, NUMBER-NAME): model.safetensors,
    genotype.json, evaluation.json, curve.csv, curve.png. The state is saved after every epoch, and so is what each
    attack of the evaluation gave: a killed retraining goes on from there; a finished one is only read. `foresee` gets
    the data and the epochs to come before the first of them, `report` every epoch and the total, `report_attack` every
    attack as it begins and ends. Sets torch's number of threads to the cores. Raises UsageError where weights are to be
    inherited and the run has no supernet, or the teacher does not fit the data, and CheckpointError where the
    folder holds a retraining with other settings.
    """
    kind = f"{'-inherited' if inherited else ''}{f'-{name}' if name else ''}"
    folder = run.folder / "retrained" / f"{picked.record.number:05d}{kind}"
    if inherited and not has_supernet(run.folder):
        raise UsageError(f"{run.folder} has no supernet to inherit weights from; retrain --from scratch")
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder):
        data = load_search_data(run.config.data, survey_test=True)
        check_same_data(data, run.folder / "data.json")
        supernet = supernet_of(run, data) if inherited else None
        data = data_on_manifold(data, run.config, run.folder)
        if (folder / RESULT).exists():
            return folder, _finished(run, picked, data, folder)
        check_attacks_of(run.config, data.num_classes)
        claim_threads(available_cores())
        device = resolve_device(run.config.device)
        data = data.to(device)
        seed = _seed(run, picked)
        network = _new_network(run, picked, data, seed).to(device)
        if supernet is not None:
            begin_with(supernet, network, data.train, run.config.retrain)
        curve = _train(run, picked, data, network, seed, folder, report, foresee)
        checkpoint = _finish(run, picked, data, seed, folder, curve, "supernet" if inherited else "scratch")
        evaluation = evaluate_checkpoint(
            checkpoint, split_name="test", attack=None, device=device, report=report_attack, kept=folder / _SCORING
        )
        write_json(folder / RESULT, to_json(evaluation))  # last: a folder with it is finished
        for leftover in (_STATE, _BEST, _CURVE, _SETTINGS, _SCORING):
            (folder / leftover).unlink(missing_ok=True)
        return folder, evaluation


_STATE, _BEST, _CURVE, _SETTINGS = "state.safetensors", "best.safetensors", "curve.jsonl", "settings.json"
_SCORING = "scoring.safetensors"
"""What the attacks of the final evaluation gave so far."""


def _new_network(run: Run, picked: Pick, data: SearchData, seed: int) -> Network:
    spec = run.space.spec(picked.record.genotype)
    return new_network(spec, make_generator(seed, "weights"), data.mean, data.std, run.config.treatments)


def _teacher(run: Run, data: SearchData) -> Teacher | None:
    """What `retrain.teacher` names, on the device of `data`. Raises UsageError where it does not fit."""
    folder = run.config.retrain.teacher
    if folder is None:
        return None
    found = load_checkpoint(folder)
    if (found.class_names, tuple(found.network.spec.input_shape)) != (data.class_names, data.input_shape):
        raise UsageError(
            f"retrain.teacher: {folder} was trained on images of other classes or another shape; take a network that "
            "was retrained on this data set"
        )
    return Teacher(view_of(found.network.to(data.train.images.device)), run.config.retrain.teacher_weight)


def _train(
    run: Run,
    picked: Pick,
    data: SearchData,
    network: Network,
    seed: int,
    folder: Path,
    report: Callable[[CurvePoint, int], None],
    foresee: Callable[[SearchData, int], None],
) -> list[CurvePoint]:
    """Trains `network` to the end, from the saved state where there is one; leaves best.safetensors."""
    settings, threat, device = run.config.retrain, run.config.threat, data.train.images.device
    state = start_training(network, settings, make_generator(seed, "training", device=device), _teacher(run, data))
    named = _fingerprint(run, picked, data, _teacher_weights(run))
    log, saved = EpochFile(folder / _CURVE), Saved(folder / _STATE, named)
    if not saved.path.exists():
        write_json(folder / _SETTINGS, _settings(run))
    elif (folder / _SETTINGS).exists():
        _check_settings(run, read_json(folder / _SETTINGS, dict, "remove it; the training goes on"), folder)
    resume_(state, saved, log)
    curve = _read_curve(log, state.epoch)
    foresee(data, settings.epochs - state.epoch)
    watched = held_out(data.validation, len(data.train))

    def train() -> Facts:
        found = train_epoch(state, data.train, settings, threat, watched)
        point = CurvePoint(found.epoch, found.loss, found.train_accuracy, found.learning_rate,
                           attack_steps=found.attack_steps, undone=found.undone)  # fmt: skip
        if state.epoch % settings.validate_every == 0 or state.epoch == settings.epochs:
            point = _validate(run, state, data, seed, device, point, curve, folder)
        curve.append(point)
        return to_json(point)

    train_until(state, settings.epochs, train, log, saved, lambda _: report(curve[-1], settings.epochs))
    return curve


def _read_curve(log: EpochFile, epochs: int) -> list[CurvePoint]:
    """Points of the first `epochs` epochs. Raises CheckpointError where the file lacks one."""
    try:
        curve = [from_json(CurvePoint, point) for point in log.read()]
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{log.path} is damaged ({error}); {_ANEW.format(log.path.parent)}") from error
    if len(curve) != epochs:
        raise CheckpointError(f"{log.path} has {len(curve)} of {epochs} epochs; {_ANEW.format(log.path.parent)}")
    return curve


_ANEW = "restore it, or remove {} to begin this retraining anew; the run and its trials are kept"


def _validate(
    run: Run,
    state: TrainingState,
    data: SearchData,
    seed: int,
    device: torch.device,
    point: CurvePoint,
    curve: list[CurvePoint],
    folder: Path,
) -> CurvePoint:
    """`point` with its validation scores; saves the weights where they are the best so far."""
    settings = run.config.retrain
    scored = scored_network(state, data.train, settings)
    protocol = EvaluationSettings(attack=settings.validation_attack, batch_size=run.config.evaluation.batch_size)
    generator = make_generator(seed, "validation", device=device)  # the same noise at every validation
    scores = evaluate(scored, data.validation, run.config.threat, protocol, generator, split_name="validation")
    earlier = [p.robust_accuracy for p in curve if p.robust_accuracy is not None]
    if scores.robust_accuracy >= max(earlier, default=0.0):
        save_weights(folder / _BEST, scored)
    return dataclasses.replace(
        point,
        natural_accuracy=scores.natural_accuracy,
        robust_accuracy=scores.robust_accuracy,
        robust_interval=scores.robust_interval,
        instability=scores.instability,
        lipschitz_empirical=scores.lipschitz_empirical,
    )


def _finish(
    run: Run, picked: Pick, data: SearchData, seed: int, folder: Path, curve: list[CurvePoint], begun: str
) -> Checkpoint:
    """Writes the selected network and its curve."""
    record, config = picked.record, run.config
    network = stored_network(run.space.spec(record.genotype), folder / _BEST, config.treatments)
    checkpoint = Checkpoint(
        network, record.genotype.values, data.class_names, data.settings or config.data, config.threat,
        config.scoring, seed, data.fingerprint, config.treatments, alarm_warnings(to_json(point) for point in curve),
        manifold_in(run.folder),
    )  # fmt: skip
    validated = [p for p in curve if p.robust_accuracy is not None]
    best = max(validated, key=lambda p: (p.robust_accuracy or 0.0, p.epoch))
    weights = _teacher_weights(run)
    save_checkpoint(folder, checkpoint, ({} if weights is None else {_TEACHER: weights}) | {
        "trial": record.number,
        "plugins": config.plugins,
        "plugin_folder": str(config.plugin_folder) if config.plugin_folder else None,
        "fingerprint": _fingerprint(run, picked, data, weights),
        "picked": picked.reason,
        "costs": to_json(record.costs),
        "deployment": config.deployment.model_dump(mode="json"),
        "training": config.retrain.model_dump(mode="json"),
        "begun_with": begun,
        "selected_epoch": best.epoch,
        "selected_on": "validation",
    })  # fmt: skip
    write_atomic(folder / "curve.csv", _csv(curve).encode())
    write_atomic(folder / "curve.png", training_curve_png([dataclasses.asdict(p) for p in curve], best.epoch))
    return checkpoint


def _finished(run: Run, picked: Pick, data: SearchData, folder: Path) -> Evaluation:
    """Evaluation in `folder`. Raises CheckpointError where it is of another retraining."""
    try:
        described = json.loads((folder / DESCRIPTION).read_bytes())
        found, settings = described["fingerprint"], {"retrain": described["training"], **described}
        evaluation = from_json(Evaluation, json.loads((folder / RESULT).read_bytes()))
        ours = _fingerprint(run, picked, data, _teacher_weights(run, described))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder} is damaged ({error}); remove it to retrain") from error
    if found != ours:
        _check_settings(run, settings, folder)
        raise CheckpointError(f"{folder} is of other images, another network or another search.seed; {_KEEP_BOTH}")
    return evaluation


_KEEP_BOTH = "--name NAME retrains into a folder of its own; or move the folder away"


def _check_settings(run: Run, stored: Mapping[str, Any], folder: Path) -> None:
    """Raises CheckpointError where the `stored` settings of the retraining in `folder` are not those of `run`.

    Folders of teachers are not compared: the fingerprint has the weights.
    """
    ours = _settings(run)
    differing = differences(_common(ours, stored), _common(stored, ours))
    if changed := [one for one in differing if one[0] != "retrain.teacher" or None in one[1:]]:
        fields = "; ".join(f"{field} was {json.dumps(old)}, is {json.dumps(new)}" for field, new, old in changed)
        raise CheckpointError(f"{folder} was retrained with other settings ({fields}); {_KEEP_BOTH}")


def _common(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Of `ours`, what `theirs` has a value of, too: versions differ in the settings that they have."""
    both = {name: (value, theirs[name]) for name, value in ours.items() if name in theirs}
    mappings = {name for name, (own, other) in both.items() if isinstance(own, dict) and isinstance(other, dict)}
    return {name: _common(own, other) if name in mappings else own for name, (own, other) in both.items()}


def _seed(run: Run, picked: Pick) -> int:
    further = (run.config.retrain.seed,) if run.config.retrain.seed else ()
    return derive_seed(run.config.search.seed, "retrain", picked.record.genotype.key, *further)


def _fingerprint(run: Run, picked: Pick, data: SearchData, weights: str | None) -> str:
    """Names what a saved state belongs to: network, data, threat, settings, seed, `weights` of the teacher."""
    facts = naming_facts(run.config.retrain)
    share = facts.pop("teacher_weight")
    del facts["teacher"], facts["seed"]  # older versions have none of the three; the seed is named below
    if weights is not None:
        facts["teacher"] = weights if share == 1 else [weights, share]
    shown = (_settings(run) | {"retrain": facts}).values()
    treated = [one.model_dump(mode="json") for one in run.config.treatments]
    named = [picked.record.genotype.key, _seed(run, picked), data.fingerprint, *shown]
    text = json.dumps([*named, treated] if treated else named)
    return hashlib.sha256(text.encode()).hexdigest()


def _teacher_weights(run: Run, stored: Mapping[str, Any] | None = None) -> str | None:
    """Hash of the teacher's weights, None without one; of a teacher that is gone what `stored` has, a description.

    Raises UsageError where there are no weights.
    """
    folder = run.config.retrain.teacher
    if folder is None:
        return None
    try:
        return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    except OSError as error:
        if stored is not None and stored["training"].get("teacher") == str(folder) and _TEACHER in stored:
            return str(stored[_TEACHER])
        raise UsageError(f"retrain.teacher: no network in {folder} ({error}); `nas retrain RUN` makes one") from error


_TEACHER = "teacher_sha256"
"""In a description: hash of the weights of the teacher."""


def _settings(run: Run) -> dict[str, dict[str, Any]]:
    """Settings that a retraining depends on, by their part of the config."""
    parts = {"data": run.config.data, "threat": run.config.threat, "retrain": run.config.retrain}
    return {name: part.model_dump(mode="json", exclude={"root", "download"}) for name, part in parts.items()}


def _csv(curve: list[CurvePoint]) -> str:
    import pandas as pd

    table = pd.json_normalize([to_json(point) for point in curve])
    return table.drop(columns=[c for c in table if c in ("robust_interval", "undone")]).to_csv(index=False)
