"""Splits: disjoint, stratified, seeded."""

import pytest
import torch

from nas.data.split import Split, stratified_order, stratified_subset
from tests.builders import generator, tiny_images

UNEVEN = torch.cat([torch.full((count,), label) for label, count in enumerate((120, 60, 15, 5))])


def marked(labels: torch.Tensor) -> Split:
    """Images that carry their own index in their first two pixels."""
    index = torch.arange(len(labels))
    images = torch.stack([index // 256, index % 256], 1).to(torch.uint8)[:, None, None, :]
    return Split(images, labels)


def indices(split: Split) -> list[int]:
    return (split.images[:, 0, 0, 0].long() * 256 + split.images[:, 0, 0, 1]).tolist()


def test_a_subset_and_its_rest_hold_every_image_once_with_its_own_label() -> None:
    split = marked(UNEVEN)
    subset, rest = stratified_subset(split, 73, 0, "x")
    assert len(subset) == 73
    assert sorted(indices(subset) + indices(rest)) == list(range(200))
    for part in (subset, rest):
        assert torch.equal(part.labels, UNEVEN[torch.tensor(indices(part))])


@pytest.mark.parametrize("seed", range(5))
def test_every_prefix_holds_the_classes_in_their_shares(seed: int) -> None:
    shuffled = UNEVEN[torch.randperm(200, generator=generator(seed))]
    ordered = shuffled[stratified_order(shuffled, seed, "x")]
    counts = torch.nn.functional.one_hot(ordered, 4).cumsum(0)
    expected = torch.arange(1, 201)[:, None] * torch.tensor([120, 60, 15, 5]) / 200
    # Merging four rank sequences of random offset can shift a count by less than 1 + 4 * share.
    allowed = 1 + 4 * torch.tensor([120, 60, 15, 5]) / 200
    assert ((counts - expected).abs() < allowed).all()


def test_the_rest_is_stratified_in_every_prefix_too() -> None:
    _, rest = stratified_subset(marked(UNEVEN), 50, 3, "x")
    counts = torch.nn.functional.one_hot(rest.labels, 4).cumsum(0)
    expected = torch.arange(1, 151)[:, None] * torch.tensor([120, 60, 15, 5]) / 200
    assert ((counts - expected).abs() < 2 * (1 + 4 * torch.tensor([120, 60, 15, 5]) / 200)).all()


def test_seed_and_purpose_decide_the_order() -> None:
    first = stratified_order(UNEVEN, 0, "x")
    assert torch.equal(first, stratified_order(UNEVEN, 0, "x"))
    assert not torch.equal(first, stratified_order(UNEVEN, 1, "x"))
    assert not torch.equal(first, stratified_order(UNEVEN, 0, "y"))


def test_classes_are_shuffled_within() -> None:
    order = stratified_order(UNEVEN, 0, "x")
    members = [index for index in order.tolist() if index < 120]
    assert members != sorted(members)


def test_batches_are_consecutive_and_the_last_is_shorter() -> None:
    split = marked(torch.arange(10))
    batches = split.batches(4)
    assert [indices(batch) for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize(
    "wrong",
    [
        (torch.zeros(3, 1, 2, 2), torch.zeros(3, dtype=torch.long)),
        (torch.zeros(3, 2, 2, dtype=torch.uint8), torch.zeros(3, dtype=torch.long)),
        (torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.zeros(2, dtype=torch.long)),
    ],
)
def test_a_split_asserts_its_own_shape(wrong: tuple[torch.Tensor, torch.Tensor]) -> None:
    with pytest.raises(AssertionError):
        Split(*wrong)


def test_indexing_keeps_images_and_labels_together() -> None:
    split = tiny_images(20)
    chosen = split[torch.tensor([3, 17])]
    assert torch.equal(chosen.images, split.images[[3, 17]])
    assert chosen.labels.tolist() == [3, 7]
