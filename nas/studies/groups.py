"""Trials of one network, from several seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

from nas.base.errors import UsageError
from nas.base.records import TrialRecord, TrialState, by_network
from search_spaces import Genotype


@dataclass(frozen=True)
class Group:
    """Trained trials of one genotype."""

    label: str
    """What sets it apart from the others: W = 0.65, E = 6."""
    genotype: Genotype
    records: tuple[TrialRecord, ...]


def groups_of(records: Sequence[TrialRecord]) -> list[Group]:
    """Groups in the order of their first trials. Raises UsageError where nothing was trained."""
    trained = [r for r in records if r.state is TrialState.COMPLETE and r.reused_from is None]
    if not trained:
        raise UsageError("no network of this run is trained yet; run `nas sweep` or `nas search` first")
    names = list(trained[0].genotype.values)
    differing = [name for name in names if len({r.genotype.values[name] for r in trained}) > 1] or names
    return [
        Group(_label(same[0].genotype, differing), same[0].genotype, tuple(same))
        for same in by_network(trained).values()
    ]


def _label(genotype: Genotype, names: Sequence[str]) -> str:
    values = [(_short(name), genotype.values[name]) for name in names]
    return ", ".join(f"{name} = {value if isinstance(value, str) else format(value, 'g')}" for name, value in values)


def _short(name: str) -> str:
    return name.replace("width", "W").replace("expand", "E")
