"""What the attack ladder costs, in shares of a candidate's brief training.

    python -m tests.benchmarks.ladder_cost configs/digits.yaml
    python -m tests.benchmarks.ladder_cost configs/cifar10.yaml --images 2000 --set data.root=…

Three networks (the middle of every third by MACs within the budget) are trained and climb every rung of a search, one
thread, processor time. With --images and --epochs, training is measured on less, and so is scoring, in the ratio of the
two parts of the data set; the checks, whose number of images is fixed, then count too much.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nas.attacks.threat import ThreatModel
from nas.base.seeding import make_generator
from nas.data.datasets import SearchData, load_search_data
from nas.data.split import Split
from nas.evaluation.evaluate import Scored, score
from nas.runs.config import RunConfig, load_config
from nas.timing.estimate import _typical
from nas.training.loop import scored_network, start_training, train_epoch
from search_spaces import NetworkSpec
from search_spaces.network import build_network


def cost_of(config: RunConfig, data: SearchData, spec: NetworkSpec, standing: bool) -> dict[str, Any]:
    """Seconds of training, and of every rung as a share of it; all rungs are climbed, whatever the scores.

    With `standing`, every validation image is labelled as classified and no attack can break it: the dearest case.
    """
    network = build_network(spec, make_generator(0, "weights"), data.mean, data.std)
    state = start_training(network, config.training, make_generator(0, "training"))
    started = time.process_time()
    for _ in range(config.training.epochs):
        train_epoch(state, data.train, config.training, config.threat)
    training = time.process_time() - started
    scored, found, shares = scored_network(state, data.train, config.training), None, {}
    if standing:
        labels = scored(data.validation.images.float() / 255).detach().argmax(1)
        data = replace(data, validation=Split(data.validation.images, labels))
        config = config.model_copy(update={"threat": ThreatModel(norm=config.threat.norm, epsilon=1e-6)})
    for fidelity in config.evaluation.ladder.search_rungs:
        started = time.process_time()
        found = _score(config, data, scored, fidelity, found)
        shares[fidelity] = (time.process_time() - started) / training
    assert found is not None
    robust = found.evaluation.robust_accuracy
    return {"training_seconds": training, "shares": shares, "all": sum(shares.values()), "robust_accuracy": robust}


def _score(config: RunConfig, data: SearchData, network: Any, fidelity: Any, before: Scored | None) -> Scored:
    return score(
        network, data.validation, config.threat, config.evaluation, make_generator(0, fidelity),
        split_name="validation", fidelity=fidelity, before=before,
    )  # fmt: skip


def smaller(data: SearchData, images: int) -> SearchData:
    """The first `images` training images, and the same share of the validation images."""
    share = min(1.0, images / len(data.train))
    kept = max(1, round(share * len(data.validation)))
    return replace(data, train=data.train[:images], validation=data.validation[:kept])


def main() -> None:
    """Prints one JSON line for each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("config", type=Path)
    parser.add_argument("--images", type=int)
    parser.add_argument("--epochs", type=int, help="measure fewer epochs; shares are scaled to the config's")
    parser.add_argument("--standing", action="store_true", help="no image falls: the dearest case")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    config = load_config(chosen.config, chosen.overrides)
    data = load_search_data(config.data)
    specs = _typical(config, data)
    data = smaller(data, chosen.images) if chosen.images else data
    epochs = config.training.epochs
    fewer = config.training.model_copy(update={"epochs": chosen.epochs or epochs, "warmup_epochs": 0.0})
    config = config.model_copy(update={"training": fewer})
    for spec, macs in specs:
        found = cost_of(config, data, spec, chosen.standing)
        scale = fewer.epochs / epochs
        found["shares"] = {name: round(share * scale, 4) for name, share in found["shares"].items()}
        found["all"] = round(found["all"] * scale, 4)
        print(json.dumps({"macs": macs, "validation_images": len(data.validation), **found}), flush=True)


if __name__ == "__main__":
    main()
