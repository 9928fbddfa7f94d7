"""What every search space must do."""

import json
import math
import pickle
from collections.abc import Callable
from dataclasses import asdict
from random import Random

import pytest
import torch

from nas.testing.small import generator
from search_spaces import NetworkSpec, SearchSpace
from search_spaces.network import build_network

SHAPES = ((1, 8, 8), (3, 8, 8), (3, 17, 23), (1, 32, 32))


class SpaceContract:
    """Inherit, and set `make` to the constructor call of the space, as a function of shape and classes."""

    make: Callable[[tuple[int, int, int], int], SearchSpace]

    @pytest.fixture
    def space(self) -> SearchSpace:
        return type(self).make((3, 16, 16), 5)

    def test_decode_undoes_encode(self, space: SearchSpace) -> None:
        rng = Random(1)
        for genotype in (space.smallest(), space.largest(), *(space.sample(rng) for _ in range(20))):
            assert space.decode(space.encode(genotype)) == genotype

    def test_encode_undoes_decode_for_every_option_of_every_choice(self, space: SearchSpace) -> None:
        for position, choice in enumerate(space.choices):
            for index, option in enumerate(choice.options):
                indices = [0] * len(space.choices)
                indices[position] = index
                genotype = space.decode(indices)
                assert genotype.values[choice.name] == option
                assert space.encode(genotype) == tuple(indices)

    def test_decode_refuses_a_wrong_length_and_an_index_out_of_range(self, space: SearchSpace) -> None:
        with pytest.raises(ValueError, match="indices"):
            space.decode([0] * (len(space.choices) + 1))
        for wrong in (-1, len(space.choices[-1].options)):
            with pytest.raises(ValueError, match=space.choices[-1].name):
                space.decode([0] * (len(space.choices) - 1) + [wrong])

    def test_genotype_refuses_missing_unknown_and_impossible_values(self, space: SearchSpace) -> None:
        values = dict(space.smallest().values)
        first = next(iter(values))
        with pytest.raises(ValueError, match=first):
            space.genotype({name: value for name, value in values.items() if name != first})
        with pytest.raises(ValueError, match="colour"):
            space.genotype({**values, "colour": 1})
        with pytest.raises(ValueError, match=first):
            space.genotype({**values, first: -7})

    def test_one_seed_draws_one_sequence_of_genotypes(self, space: SearchSpace) -> None:
        first, again = Random(5), Random(5)
        drawn = [space.sample(first) for _ in range(10)]
        assert drawn == [space.sample(again) for _ in range(10)]
        assert len({space.encode(genotype) for genotype in drawn}) > 1

    def test_sampling_reaches_every_option(self, space: SearchSpace) -> None:
        rng = Random(2)
        drawn = [space.encode(space.sample(rng)) for _ in range(300)]
        for position, choice in enumerate(space.choices):
            assert {indices[position] for indices in drawn} == set(range(len(choice.options)))

    def test_keys_are_equal_exactly_where_specs_are(self, space: SearchSpace) -> None:
        rng = Random(3)
        drawn = [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(40))]
        named = [(genotype.key, space.spec(genotype)) for genotype in drawn]
        for key, spec in named:
            for other_key, other_spec in named:
                assert (key == other_key) == (spec == other_spec)

    def test_the_key_of_a_genotype_is_that_of_its_spec(self, space: SearchSpace) -> None:
        genotype = space.sample(Random(4))
        assert genotype.key == space.spec(genotype).key

    def test_the_largest_genotype_is_larger_than_the_smallest(self, space: SearchSpace) -> None:
        def weights(spec: NetworkSpec) -> int:
            return sum(conv.num_weights for block in spec.blocks for conv in block.convolutions)

        small, large = weights(space.spec(space.smallest())), weights(space.spec(space.largest()))
        drawn = [weights(space.spec(space.sample(Random(seed)))) for seed in range(20)]
        assert small <= min(drawn)
        assert max(drawn) <= large
        assert small < large

    def test_space_and_genotype_survive_pickling(self, space: SearchSpace) -> None:
        genotype = space.sample(Random(6))
        copied, same = pickle.loads(pickle.dumps((space, genotype)))  # noqa: S301 - our own bytes
        assert same == genotype
        assert copied.spec(same) == space.spec(genotype)
        assert copied.choices == space.choices

    def test_specs_survive_json(self, space: SearchSpace) -> None:
        for genotype in (space.smallest(), space.largest(), space.sample(Random(7))):
            spec = space.spec(genotype)
            again = NetworkSpec.from_dict(json.loads(json.dumps(asdict(spec))))
            assert again == spec
            assert again.key == spec.key

    def test_its_size_is_the_product_of_the_options(self, space: SearchSpace) -> None:
        assert space.size == math.prod(len(choice.options) for choice in space.choices)

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    @pytest.mark.parametrize("which", ["smallest", "largest"])
    def test_forward_and_backward_run(self, shape: tuple[int, int, int], which: str) -> None:
        space = type(self).make(shape, 5)
        network = build_network(space.spec(getattr(space, which)()), generator())
        x = torch.rand((2, *shape), generator=generator(1)).requires_grad_()
        logits = network(x)
        assert logits.shape == (2, 5)
        assert logits.isfinite().all()
        torch.nn.functional.cross_entropy(logits, torch.tensor([0, 4])).backward()  # type: ignore[no-untyped-call]
        assert x.grad is not None
        assert x.grad.isfinite().all()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())

    def test_the_shape_of_the_data_is_the_shape_of_the_spec(self) -> None:
        for shape in SHAPES:
            space = type(self).make(shape, 7)
            spec = space.spec(space.smallest())
            assert spec.input_shape == shape
            assert spec.num_classes == 7
