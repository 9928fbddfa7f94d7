"""Ten honest networks and four quantized ones, briefly trained on digits; made once for all tests of a run."""

from functools import cache
from pathlib import Path

from nas.base.seeding import derive_seed
from nas.data.datasets import SearchData, load_search_data
from nas.networks.build import stored_network
from nas.networks.stored import save_weights
from nas.networks.treatments import Quantize
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

BITS: dict[str, Quantize] = {
    "W8A8": Quantize(),
    "W4A4": Quantize(weights=4, activations=4),
    "W2A4": Quantize(weights=2, activations=4),
    "ternary": Quantize(weights="ternary"),
}
"""Of quantized networks: that of RECIPES[1], with two epochs."""


@cache
def digits_config() -> RunConfig:
    return load_config(CONFIG)


@cache
def digits_data() -> SearchData:
    return load_search_data(digits_config().data)


@cache
def honest_network(index: int, epochs: int = 4) -> Network:
    """Network of RECIPES[index], in eval mode. Not to be changed: copy it."""
    return _trained(index, epochs, f"{index}_{epochs}")


@cache
def quantized_network(bits: str) -> Network:
    """Network of BITS[bits], in eval mode. Not to be changed: copy it."""
    return _trained(1, 2, bits, BITS[bits])


def _trained(index: int, epochs: int, name: str, *treatments: Quantize) -> Network:
    method, beta, width, expand = RECIPES[index]
    config, data = digits_config(), digits_data()
    space = make_space(config, data.input_shape, data.num_classes)
    values = {choice.name: width if choice.name.startswith("width") else expand for choice in space.choices}
    spec, path = space.spec(space.genotype(values)), SHARED / f"{name}.safetensors"
    if not path.exists():
        training = config.training.model_copy(
            update={"method": method, "beta": beta, "epochs": epochs, "attack": InnerAttack(steps=2, step_size=0.075)}
        )
        SHARED.mkdir(exist_ok=True)
        seed = derive_seed(index, "honest")
        save_weights(path, briefly_trained(spec, training, config.threat, data, seed, treatments))
    return stored_network(spec, path, treatments)
