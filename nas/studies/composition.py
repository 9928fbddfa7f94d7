"""What the networks on a front are made of, against all that were evaluated: the statistics that end TAM-NAS (2021)."""

from collections.abc import Sequence
from typing import Any

from nas.base.records import TrialRecord, TrialState
from nas.evaluation import wilson_interval
from search_spaces import Choice, Genotype, SearchSpace


def compositions(
    space: SearchSpace, records: Sequence[TrialRecord], front: Sequence[TrialRecord]
) -> list[dict[str, Any]]:
    """A row for each option of each choice: how often networks evaluated, and those of the front, have it.

    Every architecture counts once, and for a choice only where another option would make another network (the width of
    a skipped layer is none). `low` and `high` are the 95 % Wilson interval of the front's share: where the population's
    share lies outside, `differs` says more or less. With dozens of options one in twenty differs by chance alone.
    Shares are None where nothing counts.
    """
    everything = _different([r for r in records if r.state is TrialState.COMPLETE and r.reused_from is None])
    best = _different(front)
    rows = []
    for choice in space.choices:
        all_have, front_have = ([g.values[choice.name] for g in genotypes if _matters(space, g, choice)]
                                for genotypes in (everything, best))  # fmt: skip
        for option in choice.options:
            seen, hits = all_have.count(option), front_have.count(option)
            share = seen / len(all_have) if all_have else None
            interval = wilson_interval(hits, len(front_have)) if front_have else None
            more = interval is not None and share is not None and share < interval.low
            less = interval is not None and share is not None and share > interval.high
            rows.append({
                "choice": choice.name, "option": option, "evaluated": seen, "evaluated_share": share, "front": hits,
                "front_share": hits / len(front_have) if front_have else None,
                "low": interval.low if interval else None, "high": interval.high if interval else None,
                "differs": "more" if more else "less" if less else "",
            })  # fmt: skip
    return rows


def _different(records: Sequence[TrialRecord]) -> list[Genotype]:
    return list({record.genotype.key: record.genotype for record in reversed(records)}.values())


def _matters(space: SearchSpace, genotype: Genotype, choice: Choice) -> bool:
    others = ({**genotype.values, choice.name: option} for option in choice.options)
    return any(space.network_spec(values).key != genotype.key for values in others)
