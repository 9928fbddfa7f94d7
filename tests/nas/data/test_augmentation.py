"""Random crops and flips: every output is one of the possible ones, and each of them occurs."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nas.data import Augmentation
from nas.data.augmentation import augment
from tests.builders import generator


def possible(image: Tensor, padding: int, flip: bool) -> list[Tensor]:
    """Every crop of `image` (C, H, W) padded by `padding`, and its mirror image."""
    _, height, width = image.shape
    padded = F.pad(image, (padding,) * 4)
    crops = [
        padded[:, top : top + height, left : left + width]
        for top in range(2 * padding + 1)
        for left in range(2 * padding + 1)
    ]
    return [*crops, *(crop.flip(2) for crop in crops if flip)]


def images(count: int = 1, channels: int = 3, height: int = 5, width: int = 4) -> Tensor:
    return torch.randint(1, 256, (count, channels, height, width), generator=generator(), dtype=torch.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("padding", "flip"), [(0, False), (0, True), (1, False), (2, True), (6, True)])
def test_each_output_is_a_possible_crop_or_flip_of_its_own_image(padding: int, flip: bool, channels: int) -> None:
    before = images(30, channels)
    after = augment(before, Augmentation(crop_padding=padding, flip=flip), generator(1))
    assert after.shape == before.shape
    assert after.dtype == torch.uint8
    for one, changed in zip(before, after, strict=True):
        assert any(torch.equal(changed, option) for option in possible(one, padding, flip))


def test_every_possible_crop_and_flip_occurs_about_equally_often() -> None:
    image = images()
    count = 18 * 300
    after = augment(image.expand(count, -1, -1, -1), Augmentation(crop_padding=1, flip=True), generator(2))
    options = possible(image[0], 1, True)
    seen = [int((after == option).flatten(1).all(1).sum()) for option in options]
    assert sum(seen) == count
    assert min(seen) > 230
    assert max(seen) < 370  # 300 expected, deviation 17


def test_images_of_a_batch_are_changed_independently() -> None:
    after = augment(images().expand(50, -1, -1, -1), Augmentation(crop_padding=2, flip=True), generator(3))
    assert len(after.unique(dim=0)) > 10


def test_without_crop_and_flip_nothing_changes() -> None:
    before = images(5)
    assert torch.equal(augment(before, Augmentation(crop_padding=0, flip=False), generator()), before)


def test_the_input_is_left_alone_and_one_generator_state_gives_one_result() -> None:
    before = images(10)
    kept = before.clone()
    first, again, other = (augment(before, Augmentation(), generator(seed)) for seed in (4, 4, 5))
    assert torch.equal(before, kept)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
