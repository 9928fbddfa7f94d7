"""Ranks at a stage of epochs: a schedule that is cut off against a short one that is whole.

`python -m tests.benchmarks.halting_cycles configs/digits_bench.yaml runs/reference/digits_bench.csv --out FILE`. Random
networks of the table are trained with the config's schedule, scored at every stage (`cut` off there) and at the `end`;
with a whole schedule to the stage (`short`) and another one from its weights to the config's epochs (`restarted`); and
with the config's schedule from another seed, as a second stage that forgets the first (`scratch`: it costs the epochs
of both). Kendall's tau is with the table's robust accuracy, the mean of its own two trainings of the network;
differences of tau are paired, resampling networks.
"""

import argparse
import csv
import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from nas.base.machine import claim_threads
from nas.base.seeding import derive_seed, make_generator
from nas.data.datasets import SearchData, load_search_data
from nas.evaluation.evaluate import evaluate
from nas.networks.build import new_network
from nas.runs import make_space
from nas.runs.config import RunConfig, load_config
from nas.training.loop import scored_network, start_training, train_epoch
from search_spaces import NetworkSpec
from tests.benchmarks.few_steps import read

Key = tuple[str, ...]


def truth_of(table: Path) -> dict[Key, float]:
    """Mean robust accuracy after the last epoch of every network of the table, by its choices as they are written.

    Choices are in the order of their names.
    """
    with table.open() as file:
        rows = list(csv.DictReader(file))
    choices = sorted(name for name in rows[0] if name.startswith(("width_", "expand_")))
    last = max(int(row["epoch"]) for row in rows)
    found: dict[Key, list[float]] = {}
    for row in rows:
        if int(row["epoch"]) == last:
            found.setdefault(tuple(row[name] for name in choices), []).append(float(row["robust_accuracy"]))
    return {key: statistics.fmean(values) for key, values in found.items()}


def trained(
    config: RunConfig, data: SearchData, spec: NetworkSpec, seed: int, at: Sequence[int], restarts: tuple[int, ...] = ()
) -> dict[int, float]:
    """Robust accuracy under PGD-20 `at` epochs of a training to the config's end, and there."""
    settings = config.training.model_copy(update={"restarts": restarts})
    network = new_network(spec, make_generator(seed, "weights"), data.mean, data.std)
    state, scores = start_training(network, settings, make_generator(seed, "training")), {}
    for epoch in range(1, settings.epochs + 1):
        train_epoch(state, data.train, settings, config.threat)
        if epoch in {*at, settings.epochs}:
            found = evaluate(
                scored_network(state, data.train, settings), data.validation, config.threat, config.evaluation,
                make_generator(seed, "evaluation"), split_name="validation",
            )  # fmt: skip
            scores[epoch] = found.robust_accuracy
    return scores


def work(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """All trainings of every drawn network that is not in the file."""
    config = load_config(arguments.config, [])
    data = load_search_data(config.data)
    space = make_space(config, data.input_shape, data.num_classes)
    keys = sorted(truth_of(arguments.table))
    Random(0).shuffle(keys)
    done = {tuple(one["key"]) for one in read(arguments.out)}
    for key in keys[arguments.first : arguments.first + arguments.networks]:
        if key in done:
            continue
        written = dict(zip(sorted(choice.name for choice in space.choices), key, strict=True))
        options = {c.name: next(o for o in c.options if float(o) == float(written[c.name])) for c in space.choices}
        spec, seed = space.spec(space.genotype(options)), derive_seed(7, *key)
        stages, end = arguments.stages, config.training.epochs
        restarted = {stage: trained(config, data, spec, seed, [stage], (stage,)) for stage in stages}
        whole = trained(config, data, spec, seed, stages)
        yield {
            "key": key, "end": whole[end], "scratch": trained(config, data, spec, seed + 1, [])[end],
            "cut": {stage: whole[stage] for stage in stages},
            "short": {stage: restarted[stage][stage] for stage in stages},
            "restarted": {stage: restarted[stage][end] for stage in stages},
        }  # fmt: skip


def summary(found: Sequence[Mapping[str, Any]], truth: Mapping[Key, float]) -> list[str]:
    """Rows of a table: stage, tau of both kinds of stage, their difference with a 95 % interval, then the ends."""
    real = np.array([truth[tuple(one["key"])] for one in found])

    def tau(read_one: Callable[[Mapping[str, Any]], float]) -> "np.ndarray[Any, Any]":
        scores = np.array([read_one(one) for one in found])
        generator = np.random.default_rng(0)
        draws = [np.arange(len(found)), *generator.integers(0, len(found), (2000, len(found)))]
        return np.array([kendalltau(scores[drawn], real[drawn]).statistic for drawn in draws])

    lines = [
        "| stage | cut off | whole | difference | end, restarted | end, from scratch | robust accuracy |",
        "|---" * 7 + "|",
    ]
    scratch = tau(lambda one: one["scratch"])
    for stage in found[0]["short"]:
        cut, short = tau(lambda one: one["cut"][stage]), tau(lambda one: one["short"][stage])  # noqa: B023
        end = tau(lambda one: one["restarted"][stage])  # noqa: B023
        gained = [one["restarted"][stage] - one["end"] for one in found]
        error = statistics.stdev(gained) / len(gained) ** 0.5
        lines.append(f"| {stage} | {_shown(cut)} | {_shown(short)} | {_shown(short - cut)} | {_shown(end)} | "
                     f"{_shown(scratch)} | {100 * statistics.fmean(gained):+.2f} ± {100 * error:.2f} |")  # fmt: skip
    return lines


def _shown(values: "np.ndarray[Any, Any]") -> str:
    low, high = np.quantile(values[1:], (0.025, 0.975))
    return f"{values[0]:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", type=int, default=60)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--stages", type=int, nargs="+", default=[2, 3, 4])
    arguments = parser.parse_args()
    claim_threads(1)
    for found in work(arguments):
        with arguments.out.open("a") as file:
            file.write(json.dumps(found) + "\n")
    print("\n".join(summary(read(arguments.out), truth_of(arguments.table))))


if __name__ == "__main__":
    main()
