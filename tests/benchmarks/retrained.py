"""Retrained networks in groups: natural and robust accuracy over the seeds, and the difference of two groups.

`python -m tests.benchmarks.retrained searched='RUN/retrained/00012*' uniform='SWEEP/retrained/00003*'`: each group is a
pattern of folders that `nas retrain` made, one network from several seeds (`retrain.seed`). Prints a table: mean and
its 95 % interval by Student's t over the seeds, which tells nothing about other images; then the difference of every
later group to the first, with Welch's interval. Raises ValueError where networks, trainings (but for their seeds) or
attacks of a group differ.
"""

import argparse
import glob
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Group:
    """Seeds of one network."""

    name: str
    params: int
    macs: int
    natural: tuple[float, ...]
    robust: tuple[float, ...]
    images: int
    attacks: str

    @classmethod
    def read(cls, name: str, folders: Sequence[Path]) -> "Group":
        """The finished retrainings among `folders`."""
        finished = [folder for folder in folders if (folder / "evaluation.json").exists()]
        if not finished:
            raise ValueError(f"{name}: no finished retraining")
        scores = [json.loads((folder / "evaluation.json").read_text()) for folder in finished]
        described = [json.loads((folder / "genotype.json").read_text()) for folder in finished]
        made = {json.dumps(_made(one), sort_keys=True) for one in described}
        judged = {json.dumps([_attack(rung) for rung in one["ladder"]]) for one in scores}
        if len(made) > 1 or len(judged) > 1 or len({one["num_images"] for one in scores}) > 1:
            raise ValueError(f"{name}: networks, trainings, attacks or images differ")
        if len({one["seed"] for one in described}) < len(described):
            raise ValueError(f"{name}: two retrainings have the same seed")
        costs = described[0]["costs"]
        return cls(
            name, costs["params"], costs["macs"], tuple(one["natural_accuracy"] for one in scores),
            tuple(one["robust_accuracy"] for one in scores), scores[0]["num_images"], judged.pop(),
        )  # fmt: skip


def _made(described: dict[str, Any]) -> dict[str, Any]:
    """What the retrainings of a group have in common: all but their seeds."""
    training = {key: value for key, value in described["training"].items() if key != "seed"}
    same = ("genotype", "costs", "threat", "data_fingerprint", "begun_with")
    return {"training": training, **{key: described[key] for key in same}}


def _attack(rung: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in rung["attack"].items() if key != "seed"}


def groups(rows: Iterable[Mapping[str, Any]], keys: Sequence[str]) -> dict[tuple[Any, ...], list[Mapping[str, Any]]]:
    """Rows by the values of `keys`, in the order of the first of each."""
    found: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found


def half_width(values: Sequence[float]) -> float:
    """Half of the 95 % interval of their mean by Student's t; nan where there is one value."""
    return float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)) if len(values) > 1 else float("nan")


def mean(values: Sequence[float]) -> str:
    """Mean in percent, ± half of its 95 % interval where there are several values."""
    found = f"{100 * np.mean(values):.2f}"
    return f"{found} ± {100 * half_width(values):.2f}" if len(values) > 1 else found


def difference(first: Sequence[float], second: Sequence[float]) -> str:
    """First − second in points, with the 95 % interval of Welch's t (none where a side has one seed)."""
    found = 100 * (np.mean(first) - np.mean(second))
    if min(len(first), len(second)) < 2:
        return f"{found:+.2f}"
    low, high = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    return f"{found:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"


def table(groups: Sequence[Group]) -> str:
    """Markdown. Raises ValueError where groups met other attacks or another number of images."""
    if len({(group.attacks, group.images) for group in groups}) > 1:
        raise ValueError("the groups met different attacks, or different numbers of images")
    lines = [
        "| | parameters | MACs | seeds | natural, % | robust, % | difference, robust | natural |",
        "|---" * 8 + "|",
    ]
    for group in groups:
        against = ["", ""] if group is groups[0] else [
            difference(groups[0].robust, group.robust), difference(groups[0].natural, group.natural),
        ]  # fmt: skip
        cells = [group.name, f"{group.params:,}", f"{group.macs:,}", str(len(group.robust)), mean(group.natural),
                 mean(group.robust), *against]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, f"{groups[0].images:,} images; differences: first row − this row"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="+", metavar="NAME=PATTERN")
    named = (text.partition("=") for text in parser.parse_args().groups)
    print(table([Group.read(name, [Path(p) for p in sorted(glob.glob(pattern))]) for name, _, pattern in named]))


if __name__ == "__main__":
    main()
