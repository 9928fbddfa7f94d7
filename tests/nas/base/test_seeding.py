"""Every purpose has a random stream of its own."""

import torch

from nas.base.seeding import derive_seed, make_generator


def test_seeds_fit_into_63_bits_and_differ_between_purposes() -> None:
    seeds = {
        derive_seed(seed, label, index) for seed in range(5) for label in ("weights", "data") for index in range(20)
    }
    assert len(seeds) == 200
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_order_and_number_of_labels_matter() -> None:
    assert len({derive_seed(0), derive_seed(0, "a"), derive_seed(0, "a", "b"), derive_seed(0, "b", "a")}) == 4


def test_seeds_stay_the_same_between_processes_and_versions() -> None:
    # Pinned: every stored result depends on it. Python's own hash of a string is salted anew in every process.
    assert derive_seed(3, "trial", 7) == 2_161_494_391_876_118_673


def test_a_generator_draws_the_same_for_the_same_purpose_only() -> None:
    first, again = make_generator(1, "x"), make_generator(1, "x")
    drawn = torch.rand(8, generator=first)
    assert torch.equal(drawn, torch.rand(8, generator=again))
    assert not torch.equal(drawn, torch.rand(8, generator=make_generator(1, "y")))
    assert not torch.equal(drawn, torch.rand(8, generator=make_generator(2, "x")))
