"""What the treatment `prune` means for a run: what goes with it, and what it is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas.base.errors import ConfigError
from nas.base.settings import Settings
from nas.measures.sparse import NAMES
from nas.networks.treatments import Prune
from nas.runs.quantized import only, quantization_of
from search_spaces import NetworkSpec
from search_spaces.pruned import has_hidden, is_free_head, pruned_spec

if TYPE_CHECKING:
    from nas.runs.config import RunConfig

WITHOUT_ZERO = (1, 2, "binary")
"""Grids of weights, by bits or name, that have no zero."""


def pruning_of(treatments: Sequence[Settings]) -> Prune | None:
    """The `prune` treatment, if there is one. Raises ValueError where there are two."""
    return only(treatments, Prune, "a network is pruned once; leave one prune out")


def sparse_measures(treatments: Sequence[Settings]) -> tuple[str, ...]:
    """Measures that are taken of every pruned network."""
    return () if pruning_of(treatments) is None else NAMES


def check_pruned(config: RunConfig) -> None:
    """Raises ValueError for choices of sparsity that nothing prunes to, and for grids on which no weight is zero."""
    pruning, quantization = pruning_of(config.treatments), quantization_of(config.treatments)
    if pruning is None:
        if config.sparsity.options:
            raise ValueError(
                "sparsity: it is chosen but nothing is pruned: add treatments: [{name: prune}], or leave sparsity out"
            )
        return
    if pruning.of == "channels" and config.search.inherit:
        raise ValueError(
            "search.inherit: a channel that is pruned in a parent has no gradient in its child; leave it out, or prune "
            "of: weights"
        )
    if quantization is None:
        if pruning.bits != config.deployment.weight_bits:
            raise ValueError(
                f"treatments: bits {pruning.bits} of prune contradict deployment.weight_bits "
                f"{config.deployment.weight_bits}; make them equal"
            )
        return
    if pruning.bits != 32:
        raise ValueError(
            f"treatments: bits {pruning.bits} of prune are for weights that nothing rounds; leave them out, those of "
            "the treatment quantize and of bits.weights count"
        )
    if pruning.of == "channels" and quantization.weights == "ternary":
        raise ValueError(
            "treatments: the scale of ternary weights is a mean over all channels that a layer takes, so a network "
            "without the pruned ones computes something else; take weights of 3 bits and more, or prune of: weights"
        )
    asked = {"the treatment quantize": (quantization.weights,), "bits.weights": config.bits.weights}
    for field, grids in asked.items():
        if without := [grid for grid in grids if grid in WITHOUT_ZERO]:
            raise ValueError(
                f"treatments: pruned weights are zero, which {field} [{without[0]}] has no level for; take 3 bits "
                "and more, or ternary with of: weights, or leave the treatment prune out"
            )


def check_channels(spec: NetworkSpec, treatments: Sequence[Settings]) -> None:
    """Raises ConfigError where channels are to be pruned of networks as `spec` is, in which none are hidden."""
    pruning = pruning_of(treatments)
    if pruning is None or pruning.of == "weights" or any(map(has_hidden, spec.blocks)) or is_free_head(spec):
        return
    raise ConfigError(
        "treatments: prune of: channels prunes those between the convolutions of a block and those of a head, and "
        "these networks have neither; take of: weights, or a space with expand ratios above 1"
    )


def deployed_spec(spec: NetworkSpec, treatments: Sequence[Settings]) -> NetworkSpec:
    """What of a network of `spec` is deployed and counted: without the channels that are pruned."""
    pruning = pruning_of(treatments)
    return pruned_spec(spec, pruning.sparsity) if pruning is not None and pruning.of == "channels" else spec


def pruning_text(treatments: Sequence[Settings]) -> str:
    """What is pruned, in words; empty without pruning."""
    pruning = pruning_of(treatments)
    if pruning is None:
        return ""
    what = "weights" if pruning.of == "weights" else "hidden channels"
    how = {"magnitude": "by magnitude", "l1": "by magnitude and l1", "scores": "by learned scores"}[pruning.by]
    return f"pruned: {pruning.sparsity:.0%} of the {what} {how}, where no block has a sparsity of its own"
