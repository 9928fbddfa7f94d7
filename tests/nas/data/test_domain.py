"""Values keep their bounds, bit for bit; of random crops and flips, every output is a possible one, and each occurs."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nas.attacks.threat import ThreatModel
from nas.data import Augmentation
from nas.data.domain import PIXELS, Amplitudes, Domain, draw_crop_flip
from nas.data.split import Split, stratified_subset
from nas.training.loop import batch_norm_batches, start_training, train_epoch
from tests.builders import TINY_TRAINING, augmented, generator, tiny_data, tiny_images, tiny_network


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
    after = augmented(before, Augmentation(crop_padding=padding, flip=flip), generator(1))
    assert after.shape == before.shape
    assert after.dtype == torch.uint8
    for one, changed in zip(before, after, strict=True):
        assert any(torch.equal(changed, option) for option in possible(one, padding, flip))


def test_every_possible_crop_and_flip_occurs_about_equally_often() -> None:
    image = images()
    count = 18 * 300
    after = augmented(image.expand(count, -1, -1, -1), Augmentation(crop_padding=1, flip=True), generator(2))
    options = possible(image[0], 1, True)
    seen = [int((after == option).flatten(1).all(1).sum()) for option in options]
    assert sum(seen) == count
    assert min(seen) > 230
    assert max(seen) < 370  # 300 expected, deviation 17


def test_images_of_a_batch_are_changed_independently() -> None:
    after = augmented(images().expand(50, -1, -1, -1), Augmentation(crop_padding=2, flip=True), generator(3))
    assert len(after.unique(dim=0)) > 10


def test_without_crop_and_flip_nothing_changes() -> None:
    before = images(5)
    assert torch.equal(augmented(before, Augmentation(crop_padding=0, flip=False), generator()), before)


def test_the_input_is_left_alone_and_one_generator_state_gives_one_result() -> None:
    before = images(10)
    kept = before.clone()
    first, again, other = (augmented(before, Augmentation(), generator(seed)) for seed in (4, 4, 5))
    assert torch.equal(before, kept)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


VALUES = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
SIGNED = Domain(-1.0, 1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pixels_are_values_over_255_bit_for_bit(dtype: torch.dtype) -> None:
    assert torch.equal(PIXELS.to_input(VALUES, dtype), VALUES.to(dtype) / 255)
    assert torch.equal(Split(VALUES, torch.zeros(1).long()).inputs(), VALUES.float() / 255)


@pytest.mark.parametrize(("domain", "grey"), [(PIXELS, 0.5), (SIGNED, 0.0), (Domain(2.0, 10.0), 6.0)])
def test_values_reach_both_bounds_in_even_steps_and_grey_is_halfway(domain: Domain, grey: float) -> None:
    found = domain.to_input(VALUES, torch.float64).flatten()
    torch.testing.assert_close(found, torch.linspace(domain.low, domain.high, 256, dtype=torch.float64))
    assert domain.grey == grey
    assert found.mean().item() == pytest.approx(grey)
    assert torch.equal(domain.clamp(found), found)
    assert domain.clamp(torch.tensor([-1e9, grey, 1e9])).tolist() == [domain.low, grey, domain.high]


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (1.0, 0.0), (0.0, float("nan"))])
def test_bounds_that_hold_nothing_are_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="low < high"):
        Domain(low, high)


def test_every_part_of_a_split_is_of_its_domain() -> None:
    split = Split(VALUES.expand(6, -1, -1, -1), torch.arange(6), SIGNED)
    parts = [split[:2], split[torch.tensor([3])], split.to(torch.device("cpu")), *split.batches(4)]
    parts += stratified_subset(split, 2, 0, "x")
    assert all(part.domain == SIGNED for part in parts)
    assert split[:1].inputs().aminmax() == (-1, 1)


def test_the_domain_of_a_data_set_is_part_of_its_fingerprint_unless_it_is_pixels() -> None:
    data = tiny_data()
    assert data.domain == PIXELS
    assert data.fingerprint == "0219440fa98c2816"
    signed = replace(data, train=replace(data.train, domain=SIGNED), validation=replace(data.validation, domain=SIGNED))
    assert signed.domain == SIGNED
    assert signed.fingerprint != data.fingerprint


def test_trainings_see_the_inputs_of_the_domain() -> None:
    images = tiny_images()
    signed = replace(images, domain=SIGNED)
    training = TINY_TRAINING.model_copy(update={"method": "natural", "ema_decay": 0.0})
    plain = start_training(tiny_network(), training, generator())
    other = start_training(tiny_network(), training, generator())
    with torch.no_grad():  # (x + 1) / 2 of the signed inputs is the pixel
        other.network.normalization.mean.fill_(-1.0)
        other.network.normalization.std.fill_(2.0)
    logs = [train_epoch(state, data, training, ThreatModel(epsilon=0.1))
            for state, data in ((plain, images), (other, signed))]  # fmt: skip
    assert logs[1].loss == pytest.approx(logs[0].loss, rel=1e-5)
    for batch, expected in zip(batch_norm_batches(signed, training), batch_norm_batches(images, training), strict=True):
        torch.testing.assert_close(batch, 2 * expected - 1)


def test_a_time_shift_moves_rows_and_repeats_the_outermost() -> None:
    before = images(200)
    after = augmented(before, Augmentation(crop_padding=0, time_shift=2), generator(4))
    rows = torch.arange(5)
    options = {shift: before[:, :, (rows - shift).clamp(0, 4)] for shift in range(-2, 3)}
    seen = {shift: int((after == option).flatten(1).all(1).sum()) for shift, option in options.items()}
    assert sum(seen.values()) == 200
    assert min(seen.values()) > 20, "40 expected of each, deviation 6"


@pytest.mark.parametrize("settings", [Augmentation(crop_padding=0, time_shift=3),
                                      Augmentation(crop_padding=1, flip=True, time_shift=2)])  # fmt: skip
def test_a_shift_is_undone_where_the_rows_are_still_there(settings: Augmentation) -> None:
    before = images(60)
    other = 255 - before
    moves = draw_crop_flip(60, settings, generator(5))
    assert torch.equal(moves.undo(moves.apply(before), before), before), "the identity"
    undone = moves.undo(moves.apply(other), before)
    assert ((undone == other) | (undone == before)).all(), "each value is of the one or the other, in its place"
    unmoved = moves.shift == 0
    if not settings.crop_padding:
        assert torch.equal(undone[unmoved], other[unmoved])
        assert (undone == other).flatten(1).all(1).sum() < 60


def test_an_amplitude_is_its_sample_over_full_scale() -> None:
    samples = torch.tensor([-32768, -1, 0, 16384, 32767], dtype=torch.int16)
    expected = torch.tensor([-1, -1 / 32768, 0, 0.5, 32767 / 32768])
    assert torch.equal(Amplitudes().to_input(samples), expected)
    assert Amplitudes().grey == 0
