"""What the treatment `prune` means for a run: what goes with it, and what it is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas.base.settings import Settings
from nas.measures.sparse import NAMES
from nas.networks.treatments import Prune
from nas.runs.quantized import only, quantization_of
from search_spaces import NetworkSpec
from search_spaces.pruned import pruned_spec

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
    if quantization is None:
        if pruning.bits != config.deployment.weight_bits:
            raise ValueError(
                f"treatments: bits {pruning.bits} of prune contradict deployment.weight_bits "
                f"{config.deployment.weight_bits}; make them equal"
            )
        return
    asked = {"the treatment quantize": (quantization.weights,), "bits.weights": config.bits.weights}
    for field, grids in asked.items():
        if without := [grid for grid in grids if grid in WITHOUT_ZERO]:
            raise ValueError(
                f"treatments: pruned weights are zero, which {field} [{without[0]}] has no level for; take ternary or "
                "3 bits and more, or leave the treatment prune out"
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
