"""What a config says about a supernet: what it cannot be trained with."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nas.runs.config import RunConfig


def check_supernet(config: RunConfig) -> None:
    """Raises ValueError for settings that a run with a supernet cannot have."""
    if config.search.evaluator != "scratch":
        if config.supernet.method != "trades":
            raise ValueError(f"supernet.method: a supernet is trained by trades alone [got {config.supernet.method}]")
        if config.supernet.lipschitz_penalty:
            raise ValueError("supernet.lipschitz_penalty: a supernet has none; set it to 0")
        if config.supernet.natural_until:
            raise ValueError("supernet.natural_until: a supernet is trained by trades alone; set it to 0")
        if config.supernet.jacobian.weight:
            raise ValueError("supernet.jacobian.weight: a supernet has no such penalty; set it to 0")
        if config.treatments:
            raise ValueError("treatments: a supernet's networks are not treated; set search.evaluator to scratch")
    if config.search.evaluator == "supernet" and config.evaluation.seeds > 1:
        raise ValueError("evaluation.seeds: must be 1 with search.evaluator supernet, where no candidate is trained")
