"""Tensors that are alive together do not overlap; others share bytes."""

from itertools import combinations

from nas.export.arena import planned


def test_a_chain_needs_its_largest_pair() -> None:
    found = planned({0: 16, 1: 64, 2: 32, 3: 16}, [((0,), 1), ((1,), 2), ((2,), 3)])
    assert found.size == 64 + 32


def test_a_shortcut_is_kept_until_it_is_added() -> None:
    found = planned({0: 16, 1: 16, 2: 16, 3: 16}, [((0,), 1), ((1,), 2), ((2, 0), 3)])
    assert found.size == 48


def test_constants_take_no_room() -> None:
    assert planned({0: 16, 1: 16}, [((0, 7, 8), 1)]).size == 32


def test_sizes_are_rounded_up_to_the_alignment() -> None:
    assert planned({0: 1, 1: 17}, [((0,), 1)]).size == 48


def test_tensors_alive_together_do_not_overlap() -> None:
    sizes = {n: 16 * (1 + n * 7 % 5) for n in range(9)}
    operators = [((0,), 1), ((1,), 2), ((1, 2), 3), ((3,), 4), ((0, 4), 5), ((5,), 6), ((6, 3), 7), ((7,), 8)]
    found = planned(sizes, operators)
    uses = {n: [i for i, (taken, made) in enumerate(operators) if n in (*taken, made)] for n in sizes}
    for a, b in combinations(sizes, 2):
        if max(min(uses[a]), min(uses[b])) <= min(max(uses[a]), max(uses[b])):
            first, second = sorted((a, b), key=lambda n: found.offsets[n])
            assert found.offsets[first] + sizes[first] <= found.offsets[second]
