"""Ten honest networks: of different sizes and methods, briefly trained on digits; made once for all tests of a run."""

from functools import cache
from pathlib import Path

from nas.base.seeding import derive_seed
from nas.data.datasets import SearchData, load_search_data
from nas.networks.build import stored_network
from nas.networks.stored import save_weights
from nas.runs import make_space
from nas.runs.config import RunConfig, load_config
from nas.training.settings import InnerAttack
from search_spaces.network import Network
from tests.builders import briefly_trained

SHARED = Path()
"""Folder of the networks of this test run, for all its processes: set by a fixture."""
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
def honest_network(index: int, epochs: int = 4) -> Network:
    """Network of RECIPES[index], in eval mode. Not to be changed: copy it."""
    method, beta, width, expand = RECIPES[index]
    config, data = digits_config(), digits_data()
    space = make_space(config, data.input_shape, data.num_classes)
    values = {choice.name: width if choice.name.startswith("width") else expand for choice in space.choices}
    spec, path = space.spec(space.genotype(values)), SHARED / f"{index}_{epochs}.safetensors"
    if not path.exists():
        training = config.training.model_copy(
            update={"method": method, "beta": beta, "epochs": epochs, "attack": InnerAttack(steps=2, step_size=0.075)}
        )
        SHARED.mkdir(exist_ok=True)
        save_weights(path, briefly_trained(spec, training, config.threat, data, derive_seed(index, "honest")))
    return stored_network(spec, path)
