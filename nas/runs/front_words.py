"""What is said under a front: its warnings, how it was measured, how much of the ideal it covers."""

from collections.abc import Sequence

from nas.base.errors import ConfigError
from nas.base.records import TrialRecord
from nas.pareto import Measure, ParetoFront, hypervolume
from nas.report.evaluations import WEIGHTS, protocols_of
from nas.report.tables import number_text, tie_notes, warnings_of
from nas.runs.folder import Run
from nas.runs.manifolds import manifold_words


def front_summary(run: Run, objectives: tuple[Measure, ...], records: Sequence[TrialRecord]) -> str:
    """Size and hypervolume of the front, with its reference point."""
    found = run.front(objectives, records)
    size = f"{len(found.records)} of {len(run.records)} trials"
    try:
        reference = run.reference_point(objectives)
    except ConfigError as error:
        return f"{size}; no hypervolume: {error}"
    point = ", ".join(f"{o.name} {number_text(v)}" for o, v in zip(objectives, reference, strict=True))
    share = hypervolume(found.records, objectives, reference)
    return f"{size}; hypervolume {share:.4f} of the box between the ideal and the reference point ({point})"


def front_lines(
    run: Run, front: ParetoFront, records: Sequence[TrialRecord], notes: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Warnings of `front`, the front of `records`, numbered as in its table; and what else is to be said of it."""
    warned = [f"[{index}] {text}" for index, text in enumerate(warnings_of(front.records), 1)]
    warned += [f"warning: {text}" for text in tie_notes(front)]
    measured = [*protocols_of(front.records), WEIGHTS[run.config.search.evaluator], manifold_words(run.folder)]
    said = [text for text in measured if text]
    return warned, [*said, front_summary(run, front.objectives, records), *notes]
