"""What else the page tells of a run: choices that matter, the baseline, curves, retrained networks, how it was made."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.base.errors import NasError
from nas.base.records import Evaluation, TrialRecord, TrialState, from_json, to_json
from nas.budgets import COSTS, block_costs
from nas.measures import Measure
from nas.page.columns import all_rounded, rounded
from nas.report.baselines import baseline_kind, baseline_words, uniform_text
from nas.report.evaluations import protocol_text, trust_text, verdict_text
from nas.report.study_tables import choice_sentences
from nas.report.tables import bits_text
from nas.runs import Run
from nas.runs.pruned import deployed_spec
from nas.runs.trial_files import CURVE, LOG, trial_folder
from nas.studies import at_common_rung, versus
from nas.studies.choices import choice_effects

MAX_POINTS = 60_000
"""Numbers of training curves in a page; beyond it, only the members of the front have theirs."""


def choices_of(run: Run, objectives: Sequence[Measure]) -> list[dict[str, Any]]:
    """`choice_effects` on every objective that training decides, under the attacks that all trials met."""
    scores = [one for one in objectives if not one.is_static and one.name not in COSTS]
    try:
        common = at_common_rung([(run.trials_folder, run.records)])
    except NasError as error:
        return [{"score": one.name, "title": one.title, "words": str(error), "choices": [], "sentences": [
            f"Which choices matter for {one.title} cannot be told: {error}."]} for one in scores]  # fmt: skip
    found = []
    for one in scores:
        effects = choice_effects(common.runs[0], one)
        met = protocol_text(common.evaluation) if any(common.runs) else ""
        sentences = choice_sentences(effects, one.title)
        found.append({**effects, "title": one.title, "sentences": sentences, "compared_under": met})
    return found


def baseline_of(run: Run, baseline: Run) -> dict[str, Any]:
    """`versus` with a label for each network of the baseline, and in words. Both sides met the same attacks."""
    against = versus(run, baseline)
    steps = [{**step, "baseline": {**step["baseline"], "label": uniform_text(step["baseline"]["genotype"])}}
             for step in against.facts["steps"]]  # fmt: skip
    facts = {**against.facts, "steps": steps}
    return {"run": baseline.folder.name, "facts": facts, "words": baseline_words(against.facts),
            "kind": baseline_kind(against.facts)}  # fmt: skip


def networks_of(run: Run, records: Sequence[TrialRecord]) -> dict[str, Any]:
    """Blocks of every architecture by its key, each a list in the order of `fields`."""
    fields = ("kind", "in", "hidden", "out", "height", "width", "params", "macs", "activation_bytes", "kernel",
              "stride", "shortcut", "row")  # fmt: skip
    found: dict[str, list[list[Any]]] = {}
    for record in records:
        if record.genotype.key not in found:
            found[record.genotype.key] = [
                [one.kind, one.in_channels, one.hidden_channels, one.out_channels, *one.size, one.params, one.macs,
                 one.activation_bytes, one.kernel, one.stride, one.shortcut, one.row]
                for one in block_costs(
                    deployed_spec(run.space.spec(record.genotype), run.config.treatments), run.config.deployment
                )
            ]  # fmt: skip
    deployment, chosen = run.config.deployment, run.config.bits
    return {"fields": list(fields), "of": found, "input": list(run.space.input_shape),
            "classes": run.space.num_classes, "weight_bits": bits_text(chosen.weights or (deployment.weight_bits,)),
            "activation_bits": bits_text(chosen.activations or (deployment.activation_bits,))}  # fmt: skip


def curves_of(run: Run, records: Sequence[TrialRecord], front: set[int]) -> dict[str, Any]:
    """Training curves by trial: `epoch`, `loss`, `train` accuracy and, where tracked, `natural` and `robust`.

    What cannot be read is left out: a curve is no reason to do without the page.
    """
    trained = [record for record in records if record.state in (TrialState.COMPLETE, TrialState.HALTED)]
    if 4 * sum(record.epochs or run.config.training.epochs for record in trained) > MAX_POINTS:
        trained = [record for record in trained if record.number in front]
    found = {}
    for record in trained:
        folder = trial_folder(run.trials_folder, record.number)
        lines, tracked = _lines(folder / LOG), {line.get("epoch"): line for line in _lines(folder / CURVE)}
        by_epoch = {line["epoch"]: line for line in lines if isinstance(line.get("epoch"), int)}
        if by_epoch:
            found[str(record.number)] = {
                "epoch": list(by_epoch),
                "loss": all_rounded(line.get("loss") for line in by_epoch.values()),
                "train": all_rounded(line.get("train_accuracy") for line in by_epoch.values()),
                **({"natural": _tracked(tracked, by_epoch, "natural_accuracy"),
                    "robust": _tracked(tracked, by_epoch, "robust_accuracy")} if tracked else {}),
            }  # fmt: skip
    return found


def _tracked(tracked: Mapping[Any, Mapping[str, Any]], epochs: Mapping[int, Any], name: str) -> list[float | None]:
    return all_rounded(tracked.get(epoch, {}).get(name) for epoch in epochs)


def _lines(path: Path) -> list[dict[str, Any]]:
    """Objects of a file of JSON lines, as far as they can be read."""
    found = []
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            data = json.loads(line)
        except ValueError:
            continue
        if isinstance(data, dict):
            found.append(data)
    return found


def retrained_of(run: Run) -> list[dict[str, Any]]:
    """Networks of the run that were retrained, with their scores on the test images; damaged ones are left out."""
    found = []
    for path in sorted((run.folder / "retrained").glob("*/evaluation.json")):
        try:
            evaluation = from_json(Evaluation, json.loads(path.read_bytes()))
            number = int(path.parent.name.partition("-")[0])
        except (OSError, ValueError):
            continue
        found.append({
            "trial": number, "name": path.parent.name, "verdict": verdict_text(evaluation),
            "natural": rounded(evaluation.natural_accuracy), "natural_interval": to_json(evaluation.natural_interval),
            "robust": rounded(evaluation.robust_accuracy), "robust_interval": to_json(evaluation.robust_interval),
            "trusted": evaluation.is_trusted,
            "trust": trust_text(evaluation), "warnings": list(evaluation.all_warnings),
        })  # fmt: skip
    return found
