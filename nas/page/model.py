"""Everything that a page shows of a run, as one JSON-ready value: a function of the run's files alone."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nas.attacks.threat import threat_text
from nas.base.records import Evaluation, TrialRecord, TrialState
from nas.data.facts import read_facts
from nas.measures import Measure
from nas.page.columns import Column, all_rounded, columns_of, intervals_of, rounded, values_of
from nas.page.facts import baseline_of, choices_of, curves_of, networks_of, retrained_of
from nas.page.progress import progress_of
from nas.page.questions import budgets_of, pairs_of
from nas.page.words import MEANINGS, found_sentences, searched_sentences, tiles_of
from nas.pareto import Condition, Member, ParetoFront, Pick, meeting, pick
from nas.report.evaluations import WEIGHTS, attack_text, protocols_of, trust_text
from nas.report.tables import broken_texts, genotype_text, tie_notes, warnings_of
from nas.runs import Run
from nas.runs.config import dump_config
from nas.runs.members import SureFront, front_notes, sure_front

ERROR_LENGTH = 2000
"""Characters of a trial's error that are shown, its end."""


@dataclass(frozen=True)
class Asked:
    """What of a run is to be shown; by default all of it."""

    objectives: tuple[Measure, ...] = ()
    """Of the front; empty: the run's."""
    conditions: tuple[Condition, ...] = ()
    """Only trials that hold these."""
    picked: Pick | None = None
    """Shown first; None: the knee."""
    baseline: Run | None = None
    """Uniform networks: one width multiplier and one expand ratio for all layers."""
    refresh: int | None = None
    """Seconds after which the page reads its file again."""


def page_model(run: Run, asked: Asked = Asked()) -> dict[str, Any]:  # frozen
    """All values of the page of `run`. Raises NasError where the run's study cannot be read."""
    objectives = asked.objectives or run.config.parsed_objectives
    records = meeting(asked.conditions, run.records) if asked.conditions else list(run.records)
    front = run.front(objectives, records)
    sure = sure_front(run, front) if front.records else SureFront((), ())
    members = {member.record.number: member for member in sure.members}
    shown = [record for record in records if record.reused_from is None]
    columns = columns_of(run, shown, objectives)
    knee = pick("knee", front) if front.records else None
    first = asked.picked or knee
    progress = progress_of(run, records, objectives)
    share = progress["hypervolume"][-1] if progress["hypervolume"] else None
    conditions = [f"Only trials with {condition} are shown." for condition in asked.conditions]
    notes = front_notes(run, front, [condition.metric for condition in asked.conditions])
    weights = WEIGHTS[run.config.search.evaluator]
    return {
        "title": run.folder.name,
        "folder": str(run.folder),
        "refresh": asked.refresh,
        "state": {"done": _spent(records), "target": run.config.search.trials},
        "tiles": tiles_of(run, records, front, share),
        "searched": searched_sentences(run, run.records) + conditions,
        "found": found_sentences(front, knee, members),
        "warnings": warnings_of(front.records),
        "ties": (ties := tie_notes(front)),
        "notes": [text for text in dict.fromkeys([weights, *sure.notes, *notes]) if text and text not in ties],
        "protocols": protocols_of(front.records or [r for r in records if r.evaluation]),
        "columns": [asdict(column) | {"meaning": MEANINGS.get(column.name, column.note)} for column in columns],
        "objectives": [one.name for one in objectives],
        "trials": _trials(run, shown, columns, front, sure),
        "intervals": intervals_of(shown, members),
        "picked": {"trial": first.record.number, "reason": first.reason} if first else None,
        "knee": knee.record.number if knee else None,
        "budgets": budgets_of(front),
        "pairs": pairs_of(run, front, [first.record.number] if first else ()),
        "progress": progress,
        "choices": choices_of(run, objectives),
        "baseline": baseline_of(run, asked.baseline) if asked.baseline else None,
        "networks": networks_of(run, shown),
        "curves": curves_of(run, shown, set(members)),
        "retrained": retrained_of(run),
        "classes": read_facts(run.folder / "data.json").get("class_names", []),
        "config": dump_config(run.config),
        "command": {"retrain": f"nas retrain {shlex.quote(str(run.folder))} --pick ",
                    "export": f"nas export --front {shlex.quote(str(run.folder))} --format tflite"},
    }  # fmt: skip


def _spent(records: Sequence[TrialRecord]) -> int:
    done = (TrialState.COMPLETE, TrialState.HALTED, TrialState.FAILED)
    return sum(record.state in done and record.reused_from is None for record in records)


def _trials(
    run: Run, records: Sequence[TrialRecord], columns: Sequence[Column], front: ParetoFront, sure: SureFront
) -> dict[str, Any]:
    """A list of each fact, with a place for every trial; `warnings` are places in `texts`."""
    members = {member.record.number: member for member in sure.members}
    numbers = {record.number for record in front.records}
    texts: dict[str, int] = {}
    evaluated = [record.evaluation for record in records]
    return {
        "number": [record.number for record in records],
        "group": [_group(record, numbers) for record in records],
        "key": [record.genotype.key for record in records],
        "genotype": [genotype_text(record.genotype.values) for record in records],
        "values": values_of(run, records, columns, members),
        "warnings": [[texts.setdefault(text, len(texts)) for text in (e.all_warnings if e else ())]
                     for e in evaluated],
        "trust": [texts.setdefault(trust_text(e), len(texts)) if e else None for e in evaluated],
        "attacks": [texts.setdefault(_attacks(e.ladder), len(texts)) if e else None for e in evaluated],
        "threats": [_threats(e) if e and e.by_threat else None for e in evaluated],
        "broken": [broken_texts(record) for record in records],
        "error": [(record.error or "").strip()[-ERROR_LENGTH:] for record in records],
        "rank": [list(m.rank) if (m := members.get(r.number)) and m.rank else None for r in records],
        "seeds": [_seeds(members.get(record.number)) for record in records],
        "texts": list(texts),
    }  # fmt: skip


def _seeds(member: Member | None) -> dict[str, Any] | None:
    """Scores of every training of a member of the front that has several."""
    if member is None or member.seeds < 2:
        return None
    return {"count": member.seeds, "values": {name: all_rounded(values) for name, values in member.values.items()}}


def _threats(evaluation: Evaluation) -> list[list[Any]]:
    """Name, threat, robust accuracy and its interval under each further threat."""
    return [
        [name, threat_text(one.threat), rounded(one.robust_accuracy), rounded(one.robust_interval.low),
         rounded(one.robust_interval.high)]
        for name, one in evaluation.by_threat.items()
    ]  # fmt: skip


def _attacks(ladder: Sequence[Any]) -> str:
    steps = [f"{attack_text(rung.attack, brief=True)} leaves {rung.robust_accuracy:.3f}" for rung in ladder]
    return "; then ".join(steps) or "the attacks were not recorded"


def _group(record: TrialRecord, front: set[int]) -> str:
    """`front`, `dominated`, `infeasible` (beyond a limit that training showed), or how the trial ended."""
    if record.number in front:
        return "front"
    if record.state is not TrialState.COMPLETE:
        return record.state.value
    return "dominated" if record.is_feasible else "infeasible"
