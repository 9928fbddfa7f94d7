"""Two trials of a run against each other: the answer to `nas show RUN A B`, JSON-ready."""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

from nas.base.errors import UsageError
from nas.base.records import TrialRecord
from nas.budgets import COSTS
from nas.measures import MEASURES, Measure
from nas.pareto import ParetoFront
from nas.report.evaluations import protocols_of
from nas.runs import Run
from nas.studies.common_rung import at_common_rung
from nas.studies.pairs import Difference, front_pairs, measures_compared, paired

SAME_IMAGES = "both saw the same images, so their difference is surer than two intervals look; every row by itself"


def two_trials(run: Run, front: ParetoFront, a: TrialRecord, b: TrialRecord) -> dict[str, Any]:
    """A − B in every objective of `front`, in natural accuracy and in every cost, with paired 95 % intervals.

    Members of `front` are compared as on the page of the run (`front_pairs`); two others under the attacks that both
    have met. `rows` have the values `a` and `b`, `difference`, `low`, `high`, the `verdict` on A, and `better`: A, B,
    same or, where it cannot be told, None; `words` say it; `notes`, `compared_under`. Raises UsageError for one trial
    named twice.
    """
    if a.number == b.number:
        raise UsageError(f"A and B are both trial {a.number}: name two different trials")
    scores, notes, compared = _compared(run, front, a, b)
    known = {one.measure.name for one in scores}
    differences = [*scores, *(_exact(MEASURES[name], a, b) for name in COSTS if name not in known)]
    rows = [_row(one) for one in differences]
    if any(row["low"] is not None and row["verdict"] != "exact" for row in rows):
        notes = [*notes, SAME_IMAGES]
    return {
        "a": _facts(a), "b": _facts(b), "rows": rows, "words": _words(rows, a, b), "notes": notes,
        "compared_under": protocols_of(compared),
    }  # fmt: skip


def _compared(
    run: Run, front: ParetoFront, a: TrialRecord, b: TrialRecord
) -> tuple[tuple[Difference, ...], list[str], Sequence[TrialRecord]]:
    """Differences of the scores, what must be said of them, and the two trials as they were scored for it."""
    if {a.number, b.number} <= {record.number for record in front.records}:
        pairs = front_pairs(run, front, (a.number, b.number))
        return pairs.between(a.number, b.number), list(pairs.notes), (a, b)
    reason = next(filter(None, map(_why_unscored, (a, b))), None)
    if reason is None:
        try:
            common = at_common_rung([(run.trials_folder, (a, b))])
        except UsageError as error:
            reason = str(error)
        else:
            records = common.runs[0]
            pairs = paired(run, records, measures_compared(records, front.objectives))
            more = f" ({common.words})" if common.words else ""
            note = f"not both are on the front: compared under the attacks that both have met{more}"
            return pairs.between(a.number, b.number), [note, *pairs.notes], records
    return (), [f"only costs can be compared: {reason}"], ()


def _why_unscored(record: TrialRecord) -> str | None:
    if record.reused_from is not None:
        return f"trial {record.number} has the architecture, and the training, of trial {record.reused_from}"
    if record.state.value != "complete" or record.evaluation is None:
        return f"trial {record.number} is {record.state.value}, and was not trained to its end"
    return None


def _exact(cost: Measure, a: TrialRecord, b: TrialRecord) -> Difference:
    of_a, of_b = (float(getattr(one.costs, cost.name)) for one in (a, b))
    return Difference(cost, of_a, of_b, of_a - of_b, of_a - of_b, "exact")


def _facts(record: TrialRecord) -> dict[str, Any]:
    return {"trial": record.number, "state": record.state.value, "key": record.genotype.key,
            "genotype": dict(record.genotype.values)}  # fmt: skip


def _row(found: Difference) -> dict[str, Any]:
    a, b, value = (number if isfinite(number) else None for number in (found.a, found.b, found.value))
    return {"measure": found.measure.name, "title": found.measure.title, "a": a, "b": b, "difference": value,
            "low": found.low, "high": found.high, "verdict": found.verdict, "better": _better(found)}  # fmt: skip


def _better(found: Difference) -> str | None:
    if found.verdict == "exact":
        return "same" if found.value == 0 else "A" if found.measure.loss(found.value) < 0 else "B"
    return {"better": "A", "worse": "B"}.get(found.verdict)


def _words(rows: Iterable[Mapping[str, Any]], a: TrialRecord, b: TrialRecord) -> list[str]:
    """Sentences: in what each of the two is better, and in what they cannot be told apart."""
    found = []
    for name, record in (("A", a), ("B", b)):
        if better := [row["title"] for row in rows if row["better"] == name]:
            found.append(f"{name} (trial {record.number}) is better in {', '.join(better)}")
    for verdict, words in (("tied", "cannot be told apart"), ("unknown", "no interval can be given")):
        if open_ := [row["title"] for row in rows if row["verdict"] == verdict]:
            found.append(f"{words}: {', '.join(open_)}")
    return found
