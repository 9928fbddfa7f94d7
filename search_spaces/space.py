"""What a search chooses from: ordered options, and the mapping from a choice of each to a network."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from math import prod
from random import Random

from search_spaces.spec import NetworkSpec

Value = int | float | str


@dataclass(frozen=True)
class Choice:
    """One decision: a name and its options, ordered from the smallest network to the largest where `is_ordered`."""

    name: str
    options: tuple[Value, ...]
    is_ordered: bool = True

    def __post_init__(self) -> None:
        if not self.options or len(set(self.options)) != len(self.options):
            raise ValueError(f"choice {self.name!r} needs different options, got {list(self.options)}")

    @property
    def kind(self) -> str:
        """What it decides, in whatever layer: its name up to the first `_`."""
        return self.name.partition("_")[0]


@dataclass(frozen=True)
class Genotype:
    """One option for every choice of a space, by name; `key` names the architecture it builds.

    Two genotypes that round to the same channels are one architecture and share their key.
    """

    space: str
    values: Mapping[str, Value]
    key: str

    def __hash__(self) -> int:
        return hash((self.space, tuple(self.values.items())))


@dataclass(frozen=True)
class SearchSpace:
    """A finite product of choices, for one input shape and number of classes.

    `network_spec` maps an option for each choice to integers; it is pure.
    """

    name: str
    choices: tuple[Choice, ...]
    input_shape: tuple[int, int, int]
    num_classes: int
    network_spec: Callable[[Mapping[str, Value]], NetworkSpec] = field(repr=False)

    @cached_property
    def size(self) -> int:
        """Number of genotypes (not of architectures: some round to the same channels)."""
        return prod(len(choice.options) for choice in self.choices)

    def genotype(self, values: Mapping[str, Value]) -> Genotype:
        """Genotype with these values. Raises ValueError for a missing, unknown or impossible value."""
        expected = {choice.name: choice.options for choice in self.choices}
        if values.keys() != expected.keys():
            raise ValueError(f"space {self.name} chooses {sorted(expected)}, got {sorted(values)}")
        for name, value in values.items():
            if value not in expected[name]:
                raise ValueError(f"{name} = {value!r} is not an option of {list(expected[name])}")
        ordered = {choice.name: values[choice.name] for choice in self.choices}
        return Genotype(self.name, ordered, self.network_spec(ordered).key)

    def spec(self, genotype: Genotype) -> NetworkSpec:
        """Integers of the network that `genotype` stands for."""
        return self.network_spec(genotype.values)

    def encode(self, genotype: Genotype) -> tuple[int, ...]:
        """Option index of every choice, in the order of `choices`."""
        return tuple(choice.options.index(genotype.values[choice.name]) for choice in self.choices)

    def decode(self, indices: Sequence[int]) -> Genotype:
        """Inverse of `encode`. Raises ValueError for a wrong length or an index out of range."""
        if len(indices) != len(self.choices):
            raise ValueError(f"space {self.name} has {len(self.choices)} choices, got {len(indices)} indices")
        for choice, index in zip(self.choices, indices, strict=True):
            if not 0 <= index < len(choice.options):
                raise ValueError(f"{choice.name} has {len(choice.options)} options, got index {index}")
        values = {c.name: c.options[i] for c, i in zip(self.choices, indices, strict=True)}
        return self.genotype(values)

    def sample(self, rng: Random) -> Genotype:
        """Genotype drawn uniformly with `rng`."""
        return self.decode([rng.randrange(len(choice.options)) for choice in self.choices])

    def uniform(self) -> Iterator[Genotype]:
        """Genotypes that treat all layers alike: choices of one kind (`width_1`, `width_2` …) take one option.

        The options of a kind are those that all its choices have, in order. Kinds vary independently of each other.
        """
        kinds: dict[str, list[Choice]] = {}
        for choice in self.choices:
            kinds.setdefault(choice.kind, []).append(choice)
        shared = [
            [option for option in alike[0].options if all(option in other.options for other in alike)]
            for alike in kinds.values()
        ]
        for options in product(*shared):
            chosen = dict(zip(kinds, options, strict=True))
            yield self.genotype({choice.name: chosen[choice.kind] for choice in self.choices})

    def smallest(self) -> Genotype:
        """Genotype of every choice's first option."""
        return self.decode([0] * len(self.choices))

    def largest(self) -> Genotype:
        """Genotype of every choice's last option."""
        return self.decode([len(choice.options) - 1 for choice in self.choices])
