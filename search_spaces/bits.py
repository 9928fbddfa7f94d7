"""Bits of weights and activations as choices of any search space, block by block."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

from search_spaces.space import Choice, SearchSpace, Value
from search_spaces.spec import NetworkSpec

Tie = Literal["none", "weights", "activations", "both"]


@dataclass(frozen=True)
class BitChoices:
    """Options of the bits of every row of blocks, beside the choices of the space; the stem is row 0.

    The classifier has the bits of the last row. What has no options is as the `quantize` treatment says.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # unknown keys in a config are errors

    weights: tuple[int, ...] = ()
    """Options of the bits of a weight, ascending: 1 (binary), 2 to 8, or 32 (float)."""
    activations: tuple[int, ...] = ()
    """Options of the bits of what is stored between layers, ascending: 2 to 8, or 32 (float)."""
    tie: Tie = "none"
    """What is one choice for all rows: nothing, the bits of weights, those of activations, or each of the two."""

    def __post_init__(self) -> None:
        for name, least in (("weights", 1), ("activations", 2)):
            options = list(getattr(self, name))
            if options != sorted(set(options)) or not all(least <= bits <= 8 or bits == 32 for bits in options):
                raise ValueError(f"{name} must be bits from {least} to 8, or 32, that ascend, got {options}")

    @property
    def is_chosen(self) -> bool:
        """Whether there are options at all."""
        return bool(self.weights or self.activations)


def with_bits(space: SearchSpace, bits: BitChoices) -> SearchSpace:
    """`space` with the choices of `bits` behind its own: `weight_bits_0`, … and `activation_bits_0`, … by row.

    Tied, they are `weight_bits` and `activation_bits`. `space` itself where nothing is chosen. The bits of a row that a
    genotype leaves out change nothing.
    """
    if not bits.is_chosen:
        return space
    ends = (space.spec(space.smallest()), space.spec(space.largest()))
    rows = sorted({block.row for spec in ends for block in spec.blocks})
    names = {field: _names(field, rows, bits) for field in ("weight_bits", "activation_bits")}
    choices = [
        Choice(name, options)
        for field, options in (("weight_bits", bits.weights), ("activation_bits", bits.activations))
        for name in dict.fromkeys(names[field].values())
        if options
    ]
    spec = partial(_spec_of_values, space.network_spec, tuple(choice.name for choice in space.choices), names)
    return replace(space, choices=(*space.choices, *choices), network_spec=spec)


def _names(field: str, rows: Sequence[int], bits: BitChoices) -> dict[int, str]:
    """Name of the choice that decides each row's bits; none where they are not chosen."""
    options, tied = (bits.weights, "weights") if field == "weight_bits" else (bits.activations, "activations")
    if not options:
        return {}
    return {row: field if bits.tie in (tied, "both") else f"{field}_{row}" for row in rows}


def _spec_of_values(
    network_spec: Callable[[Mapping[str, Value]], NetworkSpec],
    own: Sequence[str],
    names: Mapping[str, Mapping[int, str]],
    values: Mapping[str, Value],
) -> NetworkSpec:
    spec = network_spec({name: values[name] for name in own})
    weights, activations = names["weight_bits"], names["activation_bits"]
    blocks = (
        replace(
            block,
            weight_bits=int(values[weights[block.row]]) if weights else block.weight_bits,
            activation_bits=int(values[activations[block.row]]) if activations else block.activation_bits,
        )
        for block in spec.blocks
    )
    return replace(spec, blocks=tuple(blocks))
