"""The two sides of the accuracy comparison take the same step, and the plain side nothing of the engine."""

import copy

import pytest
import torch

from nas.training.loop import start_training, train_epoch
from nas.training.methods import Trades
from search_spaces.network import build_network
from tests.benchmarks.equal_accuracy import GENOTYPE, PlainTrades, digits_config, plain_steps, spec_of
from tests.builders import batch_of, generator, tiny_images


def test_a_plain_step_is_the_engines_step() -> None:
    config = digits_config()
    engine = build_network(spec_of(config, GENOTYPE), generator()).double()
    plain = copy.deepcopy(engine)
    split = tiny_images(12)
    x, y = split.images.double() / 255, split.labels
    results = []
    for network, method in ((engine, Trades), (plain, PlainTrades)):
        state = start_training(network, config.training, generator(3))
        loss, _ = method(config.training).loss(state, batch_of(x, y), config.threat)
        loss.backward()  # type: ignore[no-untyped-call]
        results.append((loss.detach(), *(p.grad for p in network.parameters()), *network.buffers()))
    for found, expected in zip(*results, strict=True):
        assert found is not None
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


def test_plain_steps_end_with_the_block_and_use_nothing_of_the_engine() -> None:
    config = digits_config()
    state = start_training(build_network(spec_of(config, GENOTYPE), generator()), config.training, generator())
    before = state.method, state.view, state.forward
    with plain_steps(state):
        assert isinstance(state.method, PlainTrades)
        train_epoch(state, tiny_images(20), config.training, config.threat)
        with pytest.raises(AssertionError, match="through the network itself"):
            state.forward(torch.zeros(2, 1, 8, 8))
    assert (state.method, state.view, state.forward) == before
