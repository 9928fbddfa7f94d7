"""How long the parts of a training take, on the digits network (`make bench`). Nothing here judges the time."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from nas.data.domain import PIXELS
from nas.data.split import Split
from nas.evaluation.evaluate import evaluate
from nas.networks.backprop import forward_of
from nas.networks.view import view_of
from nas.runs.config import RunConfig, load_config
from nas.training.loop import start_training, train_epoch
from nas.training.losses import trades_loss
from nas.training.settings import InnerAttack
from search_spaces.mobilenet_tiny import preset
from search_spaces.network import Network, build_network
from tests.benchmarks.equal_accuracy import GENOTYPE, digits_config, spec_of
from tests.builders import generator, maximise_kl, tiny_images
from tests.conftest import ROOT

BenchmarkFixture = pytest.importorskip("pytest_benchmark.fixture").BenchmarkFixture

SIDES = {"digits": 8, "cifar10": 32}


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return digits_config()


@pytest.fixture(params=SIDES)
def network(request: pytest.FixtureRequest, config: RunConfig) -> Network:
    """The digits network of the accuracy comparison (dense windows), and the smallest of the paper's (none)."""
    if request.param == "cifar10":
        return build_network(preset("mousavi_w0.35_e6"), generator())
    return build_network(spec_of(config, GENOTYPE), generator())


def batch_of(network: Network, count: int = 64) -> Split:
    channels, size, _ = network.spec.input_shape
    if size > 8:
        count = 8  # a run without timing stays short
    return tiny_images(count, channels=channels, size=size)


def pixels_of(network: Network) -> Tensor:
    return PIXELS.to_input(batch_of(network).images)


def test_attack_step(benchmark: BenchmarkFixture, network: Network) -> None:
    view, x = view_of(network), pixels_of(network)
    clean = view.logits(x).softmax(1)
    _, gradient = benchmark(view.gradient, x, lambda logits: logits.softmax(1) - clean)
    assert gradient.shape == x.shape


def test_inner_maximisation(benchmark: BenchmarkFixture, network: Network, config: RunConfig) -> None:
    view, x, g = view_of(network), pixels_of(network), generator()
    x_adv = benchmark(maximise_kl, view, x, config.threat, InnerAttack(steps=5, start="normal"), g)
    assert float(config.threat.distance(x_adv, x).max()) <= config.threat.epsilon + 1e-6


def test_outer_step(benchmark: BenchmarkFixture, network: Network) -> None:
    forward, split = forward_of(network), batch_of(network)
    x, y = PIXELS.to_input(split.images), split.labels

    def step() -> Tensor:
        network.zero_grad(set_to_none=True)
        logits, logits_adv = forward(x, x)
        loss = trades_loss(logits, logits_adv, y, 6.0)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    assert benchmark(step).isfinite()


def test_refold(benchmark: BenchmarkFixture, network: Network) -> None:
    view = view_of(network)
    benchmark(view.refold_)
    assert view.logits(pixels_of(network)).isfinite().all()


def test_training_step(benchmark: BenchmarkFixture, network: Network, config: RunConfig) -> None:
    """One batch through everything: attack, outer step, optimiser, refolding, average."""
    settings = config.training.model_copy(update={"learning_rate": 1e-6})
    state = start_training(network, settings, generator())
    log = benchmark(train_epoch, state, batch_of(network), settings, config.threat)
    assert 0 <= log.train_accuracy <= 1


def test_evaluation(benchmark: BenchmarkFixture, network: Network, config: RunConfig) -> None:
    split = batch_of(network)
    network.eval()
    scores = benchmark(
        lambda: evaluate(network, split, config.threat, config.evaluation, generator(), split_name="validation")
    )
    assert scores.num_images == len(split)


def test_building_a_network(benchmark: BenchmarkFixture, config: RunConfig) -> None:
    network = benchmark(lambda: build_network(spec_of(config, GENOTYPE), generator()))
    assert isinstance(network, torch.nn.Module)


def test_reading_a_config(benchmark: BenchmarkFixture) -> None:
    path: Path = ROOT / "configs" / "digits.yaml"
    assert benchmark(load_config, path).name == "digits"
