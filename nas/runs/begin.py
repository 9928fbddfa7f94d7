"""The network that the training of a candidate begins with: random weights, its parent's, or the supernet's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nas.assets.supernet.weights import begin_with, copied
from nas.base.errors import CheckpointError
from nas.base.records import Candidate
from nas.base.seeding import make_generator
from nas.data.datasets import SearchData
from nas.networks.build import new_network
from nas.networks.inheritance import inherit
from nas.networks.stored import read_weights
from nas.runs.trial_files import inherited_path
from search_spaces.network import Network

if TYPE_CHECKING:
    from nas.runs.trial import TrialPlan


def begin(plan: TrialPlan, candidate: Candidate, data: SearchData, resumes: bool) -> tuple[Network, Mapping[str, Any]]:
    """Network of `candidate` on the device of `data`, and its origin: the parent and its share of the parameters.

    Random weights, drawn from the candidate's seed, then those it has from its parent or the supernet. One that
    `resumes` gets its weights later, from its saved state, and has no origin. Raises CheckpointError where the weights
    of the parent cannot be had.
    """
    device = data.train.images.device
    weights = make_generator(candidate.seed, "weights")
    spec = plan.space.spec(candidate.genotype)
    network = new_network(spec, weights, data.mean, data.std, plan.treatments).to(device)
    origin = {} if resumes else _inherited(plan, candidate, network)
    if plan.supernet is not None and plan.trains:
        begin_with(plan.supernet, network, data.train, plan.training)
    elif plan.supernet is not None:
        copied(plan.supernet, network)  # batch-norm is re-estimated for scoring
    return network, origin


def _inherited(plan: TrialPlan, candidate: Candidate, network: Network) -> Mapping[str, Any]:
    """Fills `network` with what it shares with its parent's. Nothing for a candidate without a parent.

    Raises CheckpointError without the parent's weights: from random ones, it would be another experiment.
    """
    path = inherited_path(plan.folder, candidate)
    if path is None:
        return {}
    try:
        weights = read_weights(path)
    except CheckpointError as error:
        raise CheckpointError(
            f"trial {candidate.number} inherits the weights of trial {candidate.inherits}, and these cannot be "
            f"had: {error}; put them back, or begin a new run (--run NAME)"
        ) from error
    return {"inherits": candidate.inherits, "share": inherit(network, weights)}
