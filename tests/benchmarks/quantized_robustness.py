"""Bits, Jacobian term and TRADES against each other and against the networks of MLPerf Tiny: robust accuracy and bytes.

`python -m tests.benchmarks.quantized_robustness CONFIG --out FILE [--networks own resnet8 ds_cnn] [--bits float W8A8 …]
[--recipes natural trades+jacobian …] [--seeds 3] [--part 0/2]`. Each training is a line of FILE and is not made again.
All train on the same images with the settings of the config but for what their names say, as many epochs as it
retrains with, and are judged on its test images, none of which chose anything.

- white: the config's attack, Auto-PGD on cross-entropy and on targeted DLR, PGD-20 with rescaled logits, all through
  the straight-through gradient where there are few bits;
- black: Square from the clean image, and what PGD-20 makes on the float twin of a quantized network;
- robust: images that withstand both.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch

from nas.attacks import Apgd, Square
from nas.attacks.transfer import Transfer
from nas.base.machine import claim_threads
from nas.base.seeding import make_generator
from nas.base.settings import Settings
from nas.budgets import Deployment, count_costs
from nas.data.datasets import SearchData, load_search_data, load_test_data
from nas.data.split import Split
from nas.evaluation import Ladder
from nas.evaluation.evaluate import score
from nas.evaluation.float_twin import ATTACK, TWIN
from nas.networks.build import new_network
from nas.networks.mode import evaluation_mode
from nas.networks.treatments import Quantize
from nas.networks.treatments.quantize import float_twin
from nas.networks.view import view_of
from nas.runs import make_space
from nas.runs.config import RunConfig, load_config
from nas.runs.quantized import deployed
from nas.training import Training
from nas.training.alarm import held_out
from nas.training.loop import scored_network, start_training, train_epoch
from search_spaces import NetworkSpec
from search_spaces.mlperf_tiny import DsCnn, ResnetTiny, ds_cnn, reference_values, resnet_tiny
from search_spaces.network import Network
from tests.benchmarks.few_steps import read
from tests.benchmarks.retrained import groups, mean

BITS: dict[str, Quantize | None] = {
    "float": None,
    "W8A8": Quantize(),
    "W4A4": Quantize(weights=4, activations=4),
    "W2A4": Quantize(weights=2, activations=4),
    "ternary, A8": Quantize(weights="ternary", activations=8),
}
RECIPES = [f"{method}{term}" for method in ("natural", "trades") for term in ("", "+jacobian")]
NETWORKS = ("own", "resnet8", "ds_cnn")


def spec_of(config: RunConfig, data: SearchData, name: str, own: tuple[float, float]) -> NetworkSpec:
    """Network `name`: "own" has one width multiplier and one expand ratio everywhere in the space of the config."""
    if name == "resnet8":
        space = resnet_tiny(ResnetTiny(), data.input_shape, data.num_classes)
        return space.spec(space.genotype(reference_values(name, space)))
    if name == "ds_cnn":
        space = ds_cnn(DsCnn(), data.input_shape, data.num_classes)
        return space.spec(space.genotype(reference_values(name, space)))
    space = make_space(config, data.input_shape, data.num_classes)
    width, expand = own
    return space.spec(space.genotype({c.name: width if c.kind == "width" else expand for c in space.choices}))


def settings_of(config: RunConfig, recipe: str, jacobian: Mapping[str, Any]) -> Training:
    """Training of the config, as long as its retraining, by `recipe`; `jacobian` is the term where it names one."""
    method, _, term = recipe.partition("+")
    changes = {"method": method, "epochs": config.retrain.epochs}
    return Training.model_validate(config.training.model_dump() | changes | ({"jacobian": jacobian} if term else {}))


def judged(network: Network, test: Split, config: RunConfig, seed: int, steps: int, queries: int) -> dict[str, Any]:
    """Accuracies of a trained network, and what the checks of trust found."""
    white = (Apgd(loss="cross_entropy", steps=steps), Apgd(loss="targeted_dlr", steps=steps, targets=3))
    evaluation = config.evaluation.model_copy(update={"ladder": Ladder(final=white), "threats": {}})
    generator = make_generator(seed, "evaluation")
    found = score(network, test, config.threat, evaluation, generator, split_name="test", fidelity="final")
    gradients = [rung for rung in found.evaluation.ladder if rung.attack["name"] != "transfer"]
    fooled, by_attack = black_box(network, test, found.images.natural, config, seed, queries)
    withstood = found.images.natural & ~fooled
    return {
        "natural": found.evaluation.natural_accuracy, "white": gradients[-1].robust_accuracy,
        "black": share(withstood), "robust": share(found.images.robust & ~fooled), "by_attack": by_attack,
        "ladder": [[rung.attack["name"], rung.attack.get("loss", ""), rung.robust_accuracy] for rung in gradients],
        "suspected": sorted(check.name for check in found.evaluation.failed_checks),
        "images": len(test),
    }  # fmt: skip


def black_box(
    network: Network, test: Split, natural: torch.Tensor, config: RunConfig, seed: int, queries: int
) -> tuple[torch.Tensor, dict[str, float]]:
    """Which images fool the network without its gradients, and the accuracy that each of these attacks leaves."""
    attacks: dict[str, Any] = {"square": Square(queries=queries)}
    fooled, left = torch.zeros(len(test), dtype=torch.bool), {}
    with evaluation_mode(network):
        twin = float_twin(network)
        if twin is not None:
            attacks["transfer"] = Transfer(view_of(twin.eval()), ATTACK, TWIN)
        for name, attack in attacks.items():
            fell = ~natural
            for part in torch.split(natural.nonzero().flatten(), config.evaluation.batch_size):
                batch = test[part]
                generator = make_generator(seed, name, int(part[0]))
                fell[part] = attack.run(
                    view_of(network), batch.inputs(), batch.labels, config.threat.ball, generator
                ).fooled
            left[name] = share(~fell)
            fooled |= fell & natural
    return fooled, left


def share(images: torch.Tensor) -> float:
    return float(images.double().mean())


def trained(
    config: RunConfig,
    data: SearchData,
    spec: NetworkSpec,
    settings: Training,
    seed: int,
    treatments: Sequence[Settings],
) -> tuple[Network, dict[str, Any]]:
    """Network to be scored, with the CPU seconds of its training and the epochs that the alarm undid."""
    network = new_network(spec, make_generator(seed, "weights"), data.mean, data.std, treatments)
    state = start_training(network, settings, make_generator(seed, "training"))
    watched, undone, began = held_out(data.validation, len(data.train)), 0, time.process_time()
    for _ in range(settings.epochs):
        undone += len(train_epoch(state, data.train, settings, config.threat, watched).undone)
    seconds = time.process_time() - began
    return scored_network(state, data.train, settings), {"seconds": round(seconds, 1), "undone": undone}


def work(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every training of `arguments` that is not in its file, of the seeds of its part."""
    config = load_config(arguments.config, arguments.set)
    data, test = load_search_data(config.data), load_test_data(config.data)
    done = {tuple(one[key] for key in ("network", "bits", "recipe", "seed")) for one in read(arguments.out)}
    part, parts = map(int, arguments.part.split("/"))
    jobs = [(seed, network, bits, recipe) for seed in range(arguments.seeds) for network in arguments.networks
            for bits in arguments.bits for recipe in arguments.recipes]  # fmt: skip
    for seed, network, bits, recipe in jobs[part::parts]:
        if (network, bits, recipe, seed) not in done:
            spec = spec_of(config, data, network, arguments.own)
            settings = settings_of(config, recipe, {"weight": arguments.weight, "of": arguments.of})
            treatments = () if BITS[bits] is None else (BITS[bits],)
            scored, facts = trained(config, data, spec, settings, seed, treatments)
            costs = count_costs(spec, deployed(Deployment(), treatments))
            yield {
                "network": network, "bits": bits, "recipe": recipe, "seed": seed,
                **judged(scored, test, config, seed, arguments.steps, arguments.queries),
                "params": costs.params, "macs": costs.macs, "bytes": costs.weight_bytes,
                "ram": costs.peak_activation_bytes, **facts,
            }  # fmt: skip


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """Markdown, a row for each network, bits and recipe: means over the seeds in percent, with 95 % intervals."""
    rows = groups(found, ("network", "bits", "recipe"))
    lines = ["| network | bits | bytes | training | natural | white | black | robust | seeds |", "|---" * 9 + "|"]
    for network, bits, recipe in product(NETWORKS, BITS, RECIPES):
        if own := rows.get((network, bits, recipe)):
            means = [mean([one[key] for one in own]) for key in ("natural", "white", "black", "robust")]
            cells = [network, bits, f"{own[0]['bytes']:,}", recipe, *means, str(len(own))]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["own"])
    parser.add_argument("--own", nargs=2, type=float, default=(0.5, 3.0), metavar=("WIDTH", "EXPAND"))
    parser.add_argument("--bits", nargs="+", choices=BITS, default=list(BITS))
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=RECIPES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--part", default="0/1", help="this share of the trainings, to run several side by side")
    parser.add_argument("--weight", type=float, default=0.01, help="of the Jacobian term")
    parser.add_argument("--of", choices=("outputs", "blocks"), default="outputs", help="what the Jacobian term is of")
    parser.add_argument("--steps", type=int, default=50, help="steps of Auto-PGD")
    parser.add_argument("--queries", type=int, default=1000, help="queries of Square")
    parser.add_argument("--set", action="append", default=[], help="FIELD=VALUE of the config")
    arguments = parser.parse_args()
    claim_threads(1)
    for found in work(arguments):
        with arguments.out.open("a") as file:
            file.write(json.dumps(found) + "\n")
        print(json.dumps(found), flush=True)
    print(table(read(arguments.out)))


if __name__ == "__main__":
    main()
