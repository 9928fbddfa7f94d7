"""What is done to every row of blocks as choices of any search space: bits of weights and activations, sparsity."""

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


@dataclass(frozen=True)
class SparsityChoices:
    """Options of the sparsity of every row of blocks, beside the choices of the space; the stem is row 0.

    The classifier has that of the last row. Without options it is as the `prune` treatment says.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # unknown keys in a config are errors

    options: tuple[int, ...] = ()
    """Percentages of weights (or hidden channels) that are pruned, ascending, 0 to 99."""
    tie: bool = False
    """Whether one choice is made for all rows."""

    def __post_init__(self) -> None:
        options = list(self.options)
        if options != sorted(set(options)) or not all(0 <= percent <= 99 for percent in options):
            raise ValueError(f"options must be percentages from 0 to 99 that ascend, got {options}")


def with_bits(space: SearchSpace, bits: BitChoices) -> SearchSpace:
    """`space` with the choices of `bits` behind its own: `weight_bits_0`, … and `activation_bits_0`, … by row.

    Tied, they are `weight_bits` and `activation_bits`. `space` itself where nothing is chosen. The bits of a row that a
    genotype leaves out change nothing.
    """
    space = _with_field(space, "weight_bits", bits.weights, tied=bits.tie in ("weights", "both"))
    return _with_field(space, "activation_bits", bits.activations, tied=bits.tie in ("activations", "both"))


def with_sparsity(space: SearchSpace, sparsity: SparsityChoices) -> SearchSpace:
    """`space` with the choices of `sparsity` behind its own: `sparsity_0`, … by row or, tied, `sparsity`.

    The smallest genotype is that of the least sparsity, as the smallest option of every choice.
    """
    return _with_field(space, "sparsity", sparsity.options, tied=sparsity.tie)


def _with_field(space: SearchSpace, field: str, options: Sequence[int], *, tied: bool) -> SearchSpace:
    """`space` with a choice of the BlockSpec's `field` for every row, or one for all; itself without options."""
    if not options:
        return space
    ends = (space.spec(space.smallest()), space.spec(space.largest()))
    rows = sorted({block.row for spec in ends for block in spec.blocks})
    names = {row: field if tied else f"{field}_{row}" for row in rows}
    choices = [Choice(name, tuple(options)) for name in dict.fromkeys(names.values())]
    spec = partial(_spec_of_values, space.network_spec, tuple(choice.name for choice in space.choices), field, names)
    return replace(space, choices=(*space.choices, *choices), network_spec=spec)


def _spec_of_values(
    network_spec: Callable[[Mapping[str, Value]], NetworkSpec],
    own: Sequence[str],
    field: str,
    names: Mapping[int, str],
    values: Mapping[str, Value],
) -> NetworkSpec:
    spec = network_spec({name: values[name] for name in own})
    blocks = (replace(block, **{field: int(values[names[block.row]])}) for block in spec.blocks)  # type: ignore[arg-type]
    return replace(spec, blocks=tuple(blocks))
