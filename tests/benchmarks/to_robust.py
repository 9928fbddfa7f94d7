"""Time to robustness: `python -m tests.benchmarks.to_robust CONFIG --out FILE [--recipe R] [--epochs N] [--workers W]`.

One network is trained by a plain TRADES loop (autograd through the module, as public code has it) and by the engine
with a recipe of few_steps.py, from the same seeds, for the epochs of the config and for N. After every epoch the scored
network meets PGD-20 on validation images; the clock stands meanwhile. The target of a seed is the robust accuracy of
its plain training at the end, smoothed: the mean of the last SMOOTH epochs. Both sides are charged the seconds until
their own smoothed accuracy reaches it. With W workers, W seeds of one side run at once, a thread each; with one, a side
has all cores. The final networks meet the ladder.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from nas.attacks import Pgd
from nas.base.machine import available_cores, claim_threads
from nas.base.seeding import make_generator
from nas.data.datasets import load_search_data
from nas.evaluation.evaluate import evaluate
from nas.networks.build import new_network
from nas.runs.config import load_config
from nas.training.alarm import held_out
from nas.training.loop import scored_network, start_training, train_epoch
from tests.benchmarks.equal_accuracy import plain_steps
from tests.benchmarks.few_steps import RECIPES, SIZES, ladder, read, settings_of, spec_of

SMOOTH = 3
"""Epochs whose robust accuracies are averaged."""
Curve = list[tuple[float, float]]
"""Seconds of training and robust accuracy after every epoch."""


def trained(arguments: argparse.Namespace, threads: int, side: str, seed: int) -> dict[str, Any]:
    """Curve of one training of the `plain` or the `engine` side, and its final scores under the ladder."""
    claim_threads(threads)
    config = load_config(arguments.config, arguments.set)
    data = load_search_data(config.data)
    plain = side == "plain"
    recipe = RECIPES[arguments.plain if plain else arguments.recipe]
    epochs = config.training.epochs if plain else arguments.epochs or config.training.epochs
    settings = settings_of(config, recipe | {"epochs": epochs})
    if settings.attack.step_size is None:  # the plain loop wants it written
        length = settings.attack.length(config.threat.epsilon)
        settings = settings.model_copy(update={"attack": settings.attack.model_copy(update={"step_size": length})})
    network = new_network(
        spec_of(config, data, arguments.network), make_generator(seed, "weights"), data.mean, data.std
    )
    state = start_training(network, settings, make_generator(seed, "training"))
    quick = config.evaluation.model_copy(update={"attack": Pgd(steps=20), "ladder": ladder(50, 200)})
    watched = held_out(data.validation, len(data.train))
    seconds, curve = 0.0, []
    for _ in range(epochs):
        began = time.perf_counter()
        with plain_steps(state) if plain else nullcontext():
            train_epoch(state, data.train, settings, config.threat, None if plain else watched)
        seconds += time.perf_counter() - began
        scored = scored_network(state, data.train, settings)
        generator = make_generator(seed, "evaluation")
        images = data.validation[: arguments.images]
        found = evaluate(scored, images, config.threat, quick, generator, split_name="validation")
        curve.append((seconds, found.robust_accuracy))
    final = evaluate(
        scored, data.validation, config.threat, quick, make_generator(seed, "final"), split_name="validation",
        fidelity="final",
    )  # fmt: skip
    return {"side": side, "seed": seed, "curve": curve, "natural": final.natural_accuracy,
            "robust": final.robust_accuracy, "images": len(data.validation)}  # fmt: skip


def smoothed(curve: Curve) -> list[float]:
    """Mean of the last SMOOTH robust accuracies, after every epoch."""
    values = [robust for _, robust in curve]
    return [statistics.mean(values[max(0, end - SMOOTH) : end]) for end in range(1, len(values) + 1)]


def seconds_to(curve: Curve, target: float) -> float:
    """Seconds of training until the smoothed accuracy reaches `target`; infinite where it never does."""
    reached = (seconds for (seconds, _), value in zip(curve, smoothed(curve), strict=True) if value >= target)
    return next(reached, math.inf)


def summary(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Seconds of both sides and their ratio, median (lowest to highest) over the seeds, and their final accuracies."""
    sides = {side: {one["seed"]: one for one in found if one["side"] == side} for side in ("plain", "engine")}
    seeds = sorted(sides["plain"].keys() & sides["engine"].keys())
    target = {seed: smoothed(sides["plain"][seed]["curve"])[-1] for seed in seeds}
    seconds = {
        side: [seconds_to(sides[side][seed]["curve"], target[seed]) for seed in seeds] for side in sides
    }  # fmt: skip
    whole = {side: {seed: found["curve"][-1][0] for seed, found in runs.items()} for side, runs in sides.items()}
    ratios = [plain / engine for plain, engine in zip(seconds["plain"], seconds["engine"], strict=True)]
    differences = [sides["engine"][seed]["robust"] - sides["plain"][seed]["robust"] for seed in seeds]
    natural = [sides["engine"][seed]["natural"] - sides["plain"][seed]["natural"] for seed in seeds]
    return {
        "seeds": len(seeds), "target": statistics.mean(target.values()),
        **{f"seconds_{side}": _spread(values) for side, values in seconds.items()}, "ratio": _spread(ratios),
        "whole_trainings": _spread([whole["plain"][seed] / whole["engine"][seed] for seed in seeds]),
        "robust_engine_minus_plain": _mean(differences), "natural_engine_minus_plain": _mean(natural),
    }  # fmt: skip


def _spread(values: Sequence[float]) -> list[float]:
    return [statistics.median(values), min(values), max(values)]


def _mean(values: Sequence[float]) -> list[float]:
    """Mean and its standard error."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else math.nan
    return [statistics.mean(values), error]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", choices=RECIPES, default="madry-1-noise")
    parser.add_argument("--plain", choices=RECIPES, default="trades-10", help="what the plain loop trains with")
    parser.add_argument("--network", choices=SIZES, default="middle")
    parser.add_argument("--epochs", type=int, default=0, help="of the engine; 0: those of the config")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--images", type=int, default=1000, help="validation images of every epoch")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], help="FIELD=VALUE of the config")
    arguments = parser.parse_args()
    threads = max(1, available_cores() // arguments.workers)
    done = {(one["side"], one["seed"]) for one in read(arguments.out)}
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        for side in ("plain", "engine"):
            seeds = [seed for seed in range(arguments.seeds) if (side, seed) not in done]
            for found in pool.map(partial(trained, arguments, threads, side), seeds):
                with arguments.out.open("a") as file:
                    file.write(json.dumps(found) + "\n")
    print(json.dumps(summary(read(arguments.out)), indent=1))


if __name__ == "__main__":
    main()
