"""Ten honest networks: different sizes and methods, briefly trained on digits. Seconds each, made once per process."""

from functools import cache
from pathlib import Path

import torch

from nas.config import RunConfig, load_config
from nas.data import SearchData, load_search_data
from nas.runs import make_space
from nas.seeding import derive_seed, make_generator
from nas.training import scored_network, start_training, train_epoch
from search_spaces.network import Network, build_network

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "digits.yaml"

RECIPES: tuple[tuple[str, float, float, int], ...] = (
    ("trades", 6, 0.25, 2), ("trades", 6, 0.5, 3), ("trades", 6, 0.75, 4), ("trades", 6, 1.0, 1), ("trades", 6, 1.0, 6),
    ("trades", 1, 0.5, 6), ("madry", 0, 0.5, 2), ("madry", 0, 1.0, 3), ("natural", 0, 0.5, 3), ("natural", 0, 1.0, 2),
)  # fmt: skip
"""Method, beta, width multiplier and expand ratio of all rows."""


@cache
def digits_config() -> RunConfig:
    return load_config(CONFIG)


@cache
def digits_data() -> SearchData:
    return load_search_data(digits_config().data)


@cache
def honest_network(index: int, epochs: int = 6) -> Network:
    """Network of RECIPES[index], in eval mode. Not to be changed: copy it."""
    method, beta, width, expand = RECIPES[index]
    config, data = digits_config(), digits_data()
    space = make_space(config, data.input_shape, data.num_classes)
    values = {choice.name: width if choice.name.startswith("width") else expand for choice in space.choices}
    seed = derive_seed(index, "honest")
    network = build_network(space.spec(space.genotype(values)), make_generator(seed, "weights"), data.mean, data.std)
    settings = config.training.model_copy(update={"method": method, "beta": beta, "epochs": epochs})
    threads = torch.get_num_threads()
    state = start_training(network, settings, make_generator(seed, "training"))
    for _ in range(epochs):
        train_epoch(state, data.train, settings, config.threat)
    assert torch.get_num_threads() == threads
    return scored_network(state, data.train, settings).eval()
