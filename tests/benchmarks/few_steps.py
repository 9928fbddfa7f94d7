"""Methods of adversarial training against each other: natural and robust accuracy, seconds of training.

`python -m tests.benchmarks.few_steps CONFIG --out FILE [--recipes trades-10 …] [--networks small middle large]`. Each
training is a line of FILE and is not made again. Networks have one width multiplier and one expand ratio everywhere;
all recipes train the same networks from the same seeds on the same images, with the settings of the config but for
the attack. Scored on the validation images by the whole ladder (Auto-PGD on cross-entropy and targeted DLR, Square).
Seconds are CPU seconds of training on one thread, the alarm included. `undone`: epochs that
it undid; `under_own_attack`: accuracy of the last weights under the attack of the training; `gap`: share of these
images that PGD-10 fools.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.attacks import Apgd, Square
from nas.base.machine import claim_threads
from nas.base.seeding import make_generator
from nas.budgets import Deployment, count_costs
from nas.data.datasets import SearchData, load_search_data
from nas.evaluation import Ladder
from nas.evaluation.evaluate import evaluate
from nas.networks.build import new_network
from nas.runs import make_space
from nas.runs.config import RunConfig, load_config
from nas.training import Training
from nas.training.alarm import held_out, measure_gap
from nas.training.loop import scored_network, start_training, train_epoch
from search_spaces import NetworkSpec

KL, CE = {"loss": "kl"}, {"loss": "cross_entropy"}
RECIPES: dict[str, dict[str, Any]] = {
    "own": {},
    "trades-5-long": {"attack": {"steps": 5, "step_size": 0.04, "start": "normal"} | KL},
    "trades-10": {"attack": {"steps": 10, "start": "normal"} | KL},
    "trades-5": {"attack": {"steps": 5, "start": "normal"} | KL},
    "trades-3": {"attack": {"steps": 3, "start": "normal"} | KL},
    "trades-3-uniform": {"attack": {"steps": 3, "start": "uniform"} | KL},
    "trades-2-uniform": {"attack": {"steps": 2, "start": "uniform"} | KL},
    "trades-2-uniform-ce": {"attack": {"steps": 2, "start": "uniform"} | CE},
    "trades-2-carried-ce": {"attack": {"steps": 2, "start": "carried"} | CE},
    "trades-1-uniform-kl": {"attack": {"steps": 1, "start": "uniform"} | KL},
    "trades-1-uniform-ce": {"attack": {"steps": 1, "start": "uniform"} | CE},
    "trades-1-noise-ce": {"attack": {"steps": 1, "start": "noise"} | CE},
    "trades-1-carried-kl": {"attack": {"steps": 1, "start": "carried"} | KL},
    "trades-1-carried-kl-b9": {"attack": {"steps": 1, "start": "carried"} | KL, "beta": 9},
    "trades-1-carried-kl-b12": {"attack": {"steps": 1, "start": "carried"} | KL, "beta": 12},
    "trades-1-carried-kl-b4": {"attack": {"steps": 1, "start": "carried"} | KL, "beta": 4},
    "trades-1-carried-kl-smooth": {"attack": {"steps": 1, "start": "carried"} | KL, "label_smoothing": 0.1},
    "trades-2-carried-kl": {"attack": {"steps": 2, "start": "carried"} | KL},
    "trades-2-carried-kl-b9": {"attack": {"steps": 2, "start": "carried"} | KL, "beta": 9},
    "trades-1-noise-kl": {"attack": {"steps": 1, "start": "noise"} | KL},
    "trades-1-carried-ce": {"attack": {"steps": 1, "start": "carried"} | CE},
    "trades-1-carried-ce-fixed": {"attack": {"steps": 1, "start": "carried", "follow": False} | CE},
    "trades-1-universal-ce": {"attack": {"steps": 1, "start": "universal"} | CE},
    "madry-10": {"method": "madry", "attack": {"steps": 10}},
    "madry-1-noise": {"method": "madry", "attack": {"steps": 1, "start": "noise"}},
    "madry-1-carried": {"method": "madry", "attack": {"steps": 1, "start": "carried"}, "consistency": 10},
    "madry-1-universal": {"method": "madry", "attack": {"steps": 1, "start": "universal"}, "consistency": 10},
}


def ladder(steps: int, queries: int) -> Ladder:
    """What a trained network meets after PGD-20: Auto-PGD of so many `steps`, Square of so many `queries`."""
    targeted = Apgd(loss="targeted_dlr", steps=steps, targets=3)
    attacks = (Apgd(loss="cross_entropy", steps=steps), targeted, Square(queries=queries))
    return Ladder(final=attacks, trust_images=0)


SIZES = ("small", "middle", "large")


def spec_of(config: RunConfig, data: SearchData, size: str) -> NetworkSpec:
    """The smallest, the middle or the largest option of every choice."""
    space = make_space(config, data.input_shape, data.num_classes)
    if size == "middle":
        return space.spec(space.genotype({c.name: c.options[len(c.options) // 2] for c in space.choices}))
    return space.spec(space.smallest() if size == "small" else space.largest())


def settings_of(config: RunConfig, recipe: Mapping[str, Any]) -> Training:
    return Training.model_validate(config.training.model_dump() | dict(recipe))


def train_and_score(
    config: RunConfig, data: SearchData, spec: NetworkSpec, settings: Training, seed: int, final: Ladder
) -> dict[str, Any]:
    """Scores of one training, JSON-ready."""
    network = new_network(spec, make_generator(seed, "weights"), data.mean, data.std)
    state = start_training(network, settings, make_generator(seed, "training"))
    began = time.process_time()
    watched, undone = held_out(data.validation, len(data.train)), 0
    for _ in range(settings.epochs):
        undone += len(train_epoch(state, data.train, settings, config.threat, watched).undone)
    seconds = time.process_time() - began
    attack, gap = state.method.attack, None
    if attack is not None:
        gap = measure_gap(state.view, data.validation, attack, config.threat, state.memory, settings.epochs)
    scored = scored_network(state, data.train, settings)
    evaluation = config.evaluation.model_copy(update={"ladder": final})
    found = evaluate(
        scored, data.validation, config.threat, evaluation, make_generator(seed, "evaluation"),
        split_name="validation", fidelity="final",
    )  # fmt: skip
    return {
        "natural": found.natural_accuracy, "robust": found.robust_accuracy, "instability": found.instability,
        "training": seconds,
        "ladder": [[rung.attack["name"], rung.robust_accuracy] for rung in found.ladder],
        "undone": undone, "under_own_attack": None if gap is None else gap.withstood / len(data.validation),
        "gap": None if gap is None else gap.share,
        "params": count_costs(spec, Deployment()).params, "images": len(data.validation),
    }  # fmt: skip


def work(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every training of `arguments` that is not in its file."""
    overrides = arguments.set
    config = load_config(arguments.config, overrides)
    data = load_search_data(config.data)
    final = ladder(arguments.steps, arguments.queries)
    shown = " ".join(change for change in overrides if not change.startswith("data.root="))
    done = {(one["recipe"], one["network"], one["seed"], one["changes"]) for one in read(arguments.out)}
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        for size in arguments.networks:
            for recipe in arguments.recipes:
                named = (recipe, size, seed, shown)
                if named not in done:
                    spec, settings = spec_of(config, data, size), settings_of(config, RECIPES[recipe])
                    found = train_and_score(config, data, spec, settings, seed, final)
                    yield dict(zip(("recipe", "network", "seed", "changes"), named, strict=True)) | found


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(found: Sequence[Mapping[str, Any]], reference: str) -> str:
    """For every change of the config a table: a row for each recipe, robust accuracy by network.

    That of `reference` is shown itself, of others the paired difference to it; means with standard errors over seeds.
    Natural accuracy and seconds (the median) are those of the networks in turn.
    """
    lines = []
    for changes in sorted({one["changes"] for one in found}):
        runs: dict[tuple[str, str], dict[int, Mapping[str, Any]]] = {}
        for one in found:
            if one["changes"] == changes:
                runs.setdefault((one["recipe"], one["network"]), {})[one["seed"]] = one
        sizes = {size: next((of["params"] for (_, name), own in runs.items() if name == size for of in own.values()), 0)
                 for size in SIZES}  # fmt: skip
        shown = [size for size, params in sizes.items() if params]
        heads = [f"{sizes[size]:,} parameters" for size in shown]
        lines += [f"| {changes} | " + " | ".join([*heads, "natural, %", "seconds", "seeds"]) + " |",
                  "|---" * (len(shown) + 4) + "|"]  # fmt: skip
        for recipe in RECIPES:
            own = [runs.get((recipe, size), {}) for size in shown]
            if any(own):
                cells = [_robust(one, runs.get((reference, size), {}), recipe == reference)
                         for one, size in zip(own, shown, strict=True)]  # fmt: skip
                natural = [
                    f"{100 * statistics.fmean(r['natural'] for r in one.values()):.1f}" if one else "–" for one in own
                ]
                seconds = [
                    f"{statistics.median(r['training'] for r in one.values()):.3g}" if one else "–" for one in own
                ]
                seeds = [str(len(one)) for one in own]
                cells += [" / ".join(parts) for parts in (natural, seconds, seeds)]
                lines.append(f"| {recipe} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _robust(runs: Mapping[int, Mapping[str, Any]], others: Mapping[int, Mapping[str, Any]], is_reference: bool) -> str:
    """Robust accuracy in percent, or its difference to that of the same seeds of `others`."""
    if is_reference:
        return _mean([100 * run["robust"] for run in runs.values()])
    both = sorted(runs.keys() & others.keys())
    if not both:
        return "–"
    return _mean([100 * (runs[seed]["robust"] - others[seed]["robust"]) for seed in both], sign=True)


def _mean(values: Sequence[float], sign: bool = False) -> str:
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):{'+' if sign else ''}.1f} ± {error:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--networks", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--steps", type=int, default=50, help="steps of Auto-PGD")
    parser.add_argument("--queries", type=int, default=200, help="queries of Square")
    parser.add_argument("--set", action="append", default=[], help="FIELD=VALUE of the config")
    parser.add_argument("--reference", default="trades-10", choices=RECIPES)
    arguments = parser.parse_args()
    claim_threads(1)
    for found in work(arguments):
        with arguments.out.open("a") as file:
            file.write(json.dumps(found) + "\n")
    print(table(read(arguments.out), arguments.reference))


if __name__ == "__main__":
    main()
