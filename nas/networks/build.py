"""Networks by their spec: untrained, or with stored weights."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from nas.base.seeding import make_generator
from nas.networks.stored import load_weights
from nas.networks.treatments.treatment import prepare_
from search_spaces import NetworkSpec
from search_spaces.network import Network, build_network


def new_network(
    spec: NetworkSpec,
    generator: torch.Generator,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    treatments: Iterable[Any] = (),
) -> Network:
    """Untrained network of `spec` on the CPU, in training mode, treated by the settings `treatments`.

    Weights are drawn from `generator`, as `search_spaces.network.build_network` says; what treatments draw comes from
    another one of the same seed, so the weights are those of the network without treatments.
    """
    network = build_network(spec, generator, mean, std)
    prepare_(network, treatments, make_generator(generator.initial_seed(), "treatments"))
    return network


def stored_network(spec: NetworkSpec, path: Path, treatments: Iterable[Any] = ()) -> Network:
    """Network of `spec` with the weights, statistics and treatments' state of `path`: in eval mode, frozen, on the CPU.

    Raises CheckpointError where the file is missing, damaged or of another network or other treatments.
    """
    network = new_network(spec, torch.Generator(), treatments=treatments)
    load_weights(path, network)
    return network.requires_grad_(False).eval()
