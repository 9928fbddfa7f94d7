"""Sparsity against ways to train, judged by four kinds of accuracy, beside dense networks of as many bytes.

`python -m tests.benchmarks.compressed CONFIG --out FILE [--sparsities 0 50 80 90 95] [--recipes natural trades manifold
both] [--seeds 3] [--part 0/2]`. Each training is a line of FILE and is not made again. The network has one width
multiplier and one expand ratio everywhere; a dense one of equal bytes has the same expand ratio and a smaller width
multiplier, and the bytes of the pruned one of the same seed and recipe. Bytes are those at 8 bits a weight (measure
sparse_weight_bytes). Judged on the test images: PGD-20 and Auto-PGD on cross-entropy and targeted DLR in the pixels,
the same on the codes of the manifold, whose decoder alone costs the `reconstructed` accuracy, and eleven corruptions.
"""

import argparse
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from nas.assets.asset import kept
from nas.assets.manifold.codes import Manifold, on_manifold
from nas.assets.manifold.keeping import ManifoldAsset, with_manifold
from nas.attacks import Apgd, Pgd
from nas.attacks.threat import ThreatModel
from nas.base.machine import claim_threads, resolve_device
from nas.base.seeding import make_generator
from nas.budgets import Deployment, count_costs
from nas.data.datasets import SearchData, load_search_data, load_test_data
from nas.data.split import Split
from nas.evaluation import Ladder
from nas.evaluation.evaluate import evaluate
from nas.measures.sparse import network_bytes
from nas.networks.treatments import Prune
from nas.runs.config import RunConfig, load_config
from nas.training import Training
from search_spaces import NetworkSpec
from search_spaces.mobilenet_tiny import MobileNetTiny, mobilenet_tiny
from search_spaces.network import Network
from tests.benchmarks.few_steps import read
from tests.benchmarks.quantized_robustness import trained
from tests.benchmarks.retrained import groups, mean

BITS = 8
RECIPES: dict[str, tuple[str, float]] = {
    "natural": ("natural", 0.0),
    "trades": ("trades", 0.0),
    "manifold": ("natural", 0.5),
    "both": ("trades", 0.5),
}
"""Method, and share of on-manifold adversarial images in the loss."""


def spec_of(config: RunConfig, data: SearchData, width: float, expand: float) -> NetworkSpec:
    """Network of the config's space with this width multiplier and expand ratio everywhere, whatever its options."""
    assert isinstance(config.space, MobileNetTiny)
    own = dataclasses.replace(config.space, width_multipliers=(width,), expand_ratios=(expand,), divisor=1)
    space = mobilenet_tiny(own, data.input_shape, data.num_classes)
    return space.spec(space.smallest())


def dense_of(config: RunConfig, data: SearchData, size: float, expand: float) -> float:
    """Width multiplier of the dense network that has at most `size` bytes, by bisection."""
    low, high = 0.01, 4.0
    for _ in range(40):
        middle = (low + high) / 2
        bytes_of = count_costs(spec_of(config, data, middle, expand), Deployment(weight_bits=BITS)).weight_bytes
        low, high = (middle, high) if bytes_of <= size else (low, middle)
    return low


def settings_of(config: RunConfig, recipe: str, epsilon: float) -> Training:
    method, weight = RECIPES[recipe]
    changes = {"method": method, "epochs": config.retrain.epochs, "on_manifold": {"weight": weight, "epsilon": epsilon}}
    return Training.model_validate(config.training.model_dump() | changes)


def judged(network: Network, test: Split, config: RunConfig, epsilon: float, seed: int, steps: int) -> dict[str, Any]:
    """Accuracies of a trained network on the test images, which have codes."""
    ladder = Ladder(
        final=(Apgd(loss="cross_entropy", steps=steps), Apgd(loss="targeted_dlr", steps=steps, targets=3)),
        trust_images=0,
    )
    threats = {"manifold": ThreatModel(acts_on="manifold", epsilon=epsilon)}
    evaluation = config.evaluation.model_copy(
        update={"attack": Pgd(steps=20), "ladder": ladder, "threats": threats, "measures": ("corruption_accuracy",)}
    )
    generator = make_generator(seed, "evaluation")
    found = evaluate(network, test, config.threat, evaluation, generator, split_name="test", fidelity="final")
    return {
        "natural": found.natural_accuracy, "linf": found.robust_accuracy,
        "manifold": found.scores["on_manifold_accuracy"], "reconstructed": found.scores["reconstruction_accuracy"],
        "corrupted": found.scores["corruption_accuracy"], "images": len(test),
        "suspected": sorted({check.name for check in found.failed_checks}), "warnings": list(found.all_warnings),
    }  # fmt: skip


def work(arguments: argparse.Namespace, config: RunConfig, data: SearchData, test: Split) -> Iterator[dict[str, Any]]:
    """Every training of `arguments` that is not in its file, of its part: the pruned network, then the dense one."""
    done = {(one["sparsity"], one["recipe"], one["seed"], one["dense"]) for one in read(arguments.out)}
    part, parts = map(int, arguments.part.split("/"))
    jobs = [(seed, sparsity, recipe) for seed in range(arguments.seeds) for sparsity in arguments.sparsities
            for recipe in arguments.recipes]  # fmt: skip
    width, expand = arguments.own
    for seed, sparsity, recipe in jobs[part::parts]:
        settings = settings_of(config, recipe, arguments.epsilon)
        size = next((one["bytes"] for one in read(arguments.out)
                     if (one["sparsity"], one["recipe"], one["seed"], one["dense"]) == (sparsity, recipe, seed, False)),
                    None)  # fmt: skip
        for dense in (False, True) if sparsity else (False,):
            if (sparsity, recipe, seed, dense) in done:
                continue
            assert not dense or size is not None
            own = dense_of(config, data, size or 0, expand) if dense else width
            spec = spec_of(config, data, own, expand)
            treatments = () if dense or not sparsity else (Prune(sparsity=sparsity / 100, bits=BITS),)
            network, facts = trained(config, data, spec, settings, seed, treatments)
            size = network_bytes(network, BITS)
            yield {
                "sparsity": sparsity, "recipe": recipe, "seed": seed, "dense": dense, "width": own, "bytes": size,
                "params": sum(p.numel() for p in network.parameters()), **facts,
                **judged(network, test, config, arguments.epsilon, seed, arguments.steps),
            }  # fmt: skip


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """Markdown, a row for each sparsity, recipe and network: means over the seeds in percent, with 95 % intervals."""
    scores = ("natural", "linf", "manifold", "reconstructed", "corrupted")
    lines = [f"| sparsity | training | network | bytes | {' | '.join(scores)} | seeds |", "|---" * 10 + "|"]
    rows = groups(found, ("sparsity", "recipe", "dense"))
    for sparsity, recipe, dense in product(sorted({one["sparsity"] for one in found}), RECIPES, (False, True)):
        if not (own := rows.get((sparsity, recipe, dense))):
            continue
        kind = "dense, as many bytes" if dense else "pruned" if sparsity else "dense"
        size = sum(one["bytes"] for one in own) / len(own)
        means = [mean([one[score] for one in own]) for score in scores]
        lines.append(f"| {sparsity} % | {recipe} | {kind} | {size:,.0f} | {' | '.join(means)} | {len(own)} |")
    return "\n".join(lines)


def manifold_of(arguments: argparse.Namespace, config: RunConfig, data: SearchData) -> Manifold:
    """That of the config, kept in a folder beside the file."""
    assert config.manifold is not None, "the config has a manifold: --set 'manifold={name: vae}'"
    place = arguments.out.with_suffix(".run")
    place.mkdir(parents=True, exist_ok=True)
    return kept(place, ManifoldAsset(config.manifold, data, 0, resolve_device("cpu")), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--own", nargs=2, type=float, default=(1.0, 3.0), metavar=("WIDTH", "EXPAND"))
    parser.add_argument("--sparsities", nargs="+", type=int, default=[0, 50, 80, 90, 95])
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--epsilon", type=float, default=0.3, help="of codes, in standard deviations")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--part", default="0/1", help="this share of the trainings, to run several side by side")
    parser.add_argument("--steps", type=int, default=50, help="steps of Auto-PGD")
    parser.add_argument("--set", action="append", default=[], help="FIELD=VALUE of the config")
    arguments = parser.parse_args()
    config = load_config(arguments.config, arguments.set)
    data, test = load_search_data(config.data), load_test_data(config.data)
    manifold = manifold_of(arguments, config, data)
    claim_threads(1)
    for found in work(arguments, config, with_manifold(data, manifold), on_manifold(test, manifold)):
        with arguments.out.open("a") as file:
            file.write(json.dumps(found) + "\n")
        print(json.dumps(found), flush=True)
    print(table(read(arguments.out)))


if __name__ == "__main__":
    main()
