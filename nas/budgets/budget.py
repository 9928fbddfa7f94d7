"""Limits on costs, and by how much a network exceeds them."""

from dataclasses import fields

from pydantic import Field

from nas.base.records import Costs
from nas.base.settings import Bytes, Count, Settings

COSTS = tuple(field.name for field in fields(Costs))
"""Names of the costs, which are also the names of the limits."""


class Budget(Settings):
    """Upper limits, such as 100k or, in bytes, 64KB (64,000) or 64 KiB; one that is left out does not bind."""

    params: Count | None = Field(None, ge=1)
    """Learnable parameters."""
    macs: Count | None = Field(None, ge=1)
    """Multiply-accumulates per image."""
    weight_bytes: Bytes | None = Field(None, ge=1)
    """Bytes of the deployed weights."""
    peak_activation_bytes: Bytes | None = Field(None, ge=1)
    """Bytes of the largest working set of activations at batch 1."""

    def overrun(self, costs: Costs) -> dict[str, float]:
        """Cost / limit − 1 for every limit, by name: the budget is kept where all are <= 0."""
        limits = {name: getattr(self, name) for name in COSTS}
        return {name: getattr(costs, name) / limit - 1 for name, limit in limits.items() if limit is not None}

    def allows(self, costs: Costs) -> bool:
        """Whether `costs` keep every limit."""
        return all(overrun <= 0 for overrun in self.overrun(costs).values())
