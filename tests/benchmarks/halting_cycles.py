"""Ranks at a stage of epochs: a schedule that is cut off against a short one that is whole.

`python -m tests.benchmarks.halting_cycles configs/digits_bench.yaml runs/reference/digits_bench.csv --out FILE`. Random
networks of the table are trained with a whole schedule to every stage (`short`). Kendall's tau of their scores with the
last ones of a training in the table is set beside that of the table's own scores at the stage, where its schedule is
cut off, with the last ones of its other training; differences are paired, resampling networks. With `--ends`, networks
are also trained on from the weights of the stage to the config's epochs with another whole schedule (`restarted`), with
the config's one schedule (`end`), and so from another seed, as a second stage that forgets the first (`scratch`).
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
from numpy.typing import NDArray
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
Courses = Mapping[Key, Sequence[Mapping[int, float]]]
"""Robust accuracy by epoch of both trainings of every network of the table."""


def courses_of(table: Path) -> Courses:
    """Of the table, by the choices as they are written, in the order of their names."""
    with table.open() as file:
        rows = list(csv.DictReader(file))
    choices = sorted(name for name in rows[0] if name.startswith(("width_", "expand_")))
    found: dict[Key, dict[str, dict[int, float]]] = {}
    for row in rows:
        trainings = found.setdefault(tuple(row[name] for name in choices), {})
        trainings.setdefault(row["seed"], {})[int(row["epoch"])] = float(row["robust_accuracy"])
    return {key: list(trainings.values()) for key, trainings in found.items()}


def trained(config: RunConfig, data: SearchData, spec: NetworkSpec, seed: int, *cycles: int) -> list[float]:
    """Robust accuracy under PGD-20 after every cycle of so many epochs, each a whole schedule from the last weights."""
    network, scores = new_network(spec, make_generator(seed, "weights"), data.mean, data.std), []
    for number, epochs in enumerate(cycles):
        settings = config.training.model_copy(update={"epochs": epochs})
        state = start_training(network, settings, make_generator(seed, "training", number))
        for _ in range(epochs):
            train_epoch(state, data.train, settings, config.threat)
        found = evaluate(
            scored_network(state, data.train, settings), data.validation, config.threat, config.evaluation,
            make_generator(seed, "evaluation"), split_name="validation",
        )  # fmt: skip
        scores.append(found.robust_accuracy)
    return scores


def work(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """All trainings of every drawn network that is not in the file."""
    config = load_config(arguments.config, [])
    data = load_search_data(config.data)
    space = make_space(config, data.input_shape, data.num_classes)
    keys = sorted(courses_of(arguments.table))
    Random(0).shuffle(keys)
    done = {tuple(one["key"]) for one in read(arguments.out)}
    stages, end = arguments.stages, config.training.epochs
    for key in keys[arguments.first : arguments.first + arguments.networks]:
        if key in done:
            continue
        written = dict(zip(sorted(choice.name for choice in space.choices), key, strict=True))
        options = {c.name: next(o for o in c.options if float(o) == float(written[c.name])) for c in space.choices}
        spec, seed = space.spec(space.genotype(options)), derive_seed(7, *key)
        if not arguments.ends:
            yield {"key": key, "short": {stage: trained(config, data, spec, seed, stage)[0] for stage in stages}}
            continue
        both = {stage: trained(config, data, spec, seed, stage, end - stage) for stage in stages}
        yield {
            "key": key, "end": trained(config, data, spec, seed, end)[0],
            "scratch": trained(config, data, spec, seed + 1, end)[0],
            "short": {stage: scores[0] for stage, scores in both.items()},
            "restarted": {stage: scores[1] for stage, scores in both.items()},
        }  # fmt: skip


def summary(found: Sequence[Mapping[str, Any]], courses: Courses) -> list[str]:
    """Rows of a table: stage, tau of both kinds of stage and their difference; then the ends."""
    of = [courses[tuple(one["key"])] for one in found]
    last = max(of[0][0])
    lines = ["| stage | networks | cut off | whole | difference |", "|---" * 5 + "|"]
    for stage in (int(one) for one in found[0]["short"]):
        short = [one["short"][str(stage)] for one in found]
        whole, cut = (
            sum(_taus(scores, [course[end][last] for course in of]) for end, scores in sides) / 2
            for sides in ([(0, short), (1, short)], [(end, [c[1 - end][stage] for c in of]) for end in (0, 1)])
        )
        lines.append(f"| {stage} | {len(found)} | {_shown(cut)} | {_shown(whole)} | {_shown(whole - cut)} |")
    ended = [one for one in found if "end" in one]
    return [*lines, "", *_ends(ended, [courses[tuple(one["key"])] for one in ended], last)] if ended else lines


def _ends(found: Sequence[Mapping[str, Any]], courses: Sequence[Sequence[Mapping[int, float]]], last: int) -> list[str]:
    """Rows: what the last scores are worth where stages restart, beside one schedule from scratch."""
    real = [statistics.fmean(course[last] for course in both) for both in courses]
    lines = ["| end | networks | tau | robust accuracy − one schedule, % |", "|---" * 4 + "|"]
    kinds: dict[str, Callable[[Mapping[str, Any]], float]] = {
        f"restarted at {stage}": lambda one, stage=stage: one["restarted"][stage] for stage in found[0]["restarted"]
    }
    for name, score in (kinds | {"from scratch": lambda one: one["scratch"]}).items():
        gained = [100 * (score(one) - one["end"]) for one in found]
        error = statistics.stdev(gained) / len(gained) ** 0.5
        tau = _shown(_taus([score(one) for one in found], real))
        lines.append(f"| {name} | {len(found)} | {tau} | {statistics.fmean(gained):+.2f} ± {error:.2f} |")
    return lines


def _taus(scores: Sequence[float], real: Sequence[float]) -> NDArray[np.float64]:
    """Kendall's tau-b, then that of 1,000 resamples of the networks, always the same ones."""
    generator, x, y = np.random.default_rng(0), np.array(scores), np.array(real)
    draws = [np.arange(len(x)), *generator.integers(0, len(x), (1000, len(x)))]
    return np.array([kendalltau(x[drawn], y[drawn]).statistic for drawn in draws])


def _shown(values: NDArray[np.float64]) -> str:
    low, high = np.quantile(values[1:], (0.025, 0.975))
    return f"{values[0]:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", type=int, default=150)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--stages", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--ends", action="store_true")
    arguments = parser.parse_args()
    claim_threads(1)
    for found in work(arguments):
        with arguments.out.open("a") as file:
            file.write(json.dumps(found) + "\n")
    print("\n".join(summary(read(arguments.out), courses_of(arguments.table))))


if __name__ == "__main__":
    main()
