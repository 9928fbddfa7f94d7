"""Common corruptions: what each does to images whose result is known."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from nas.base.seeding import make_generator
from nas.measures import MEASURES, corruptions
from nas.measures.corruptions import CORRUPTIONS, SEVERITIES, corrupted

KEEP_A_CONSTANT = ("gaussian_blur", "motion_blur", "zoom_blur", "contrast", "pixelate", "jpeg")
each_corruption = pytest.mark.parametrize("name", CORRUPTIONS)


def chance(seed: int = 0) -> torch.Generator:
    return make_generator(seed, "corruptions")


def smooth_images(channels: int = 3, size: tuple[int, int] = (32, 32)) -> Tensor:
    """Random images without the finest detail, in [0.1, 0.9]."""
    coarse = torch.rand(8, channels, 6, 6, generator=chance(1))
    return 0.1 + 0.8 * torch.nn.functional.interpolate(coarse, size, mode="bilinear")


@each_corruption
@pytest.mark.parametrize(("channels", "size"), [(3, (32, 32)), (1, (8, 8)), (1, (49, 10)), (2, (16, 16))])
def test_images_stay_images_and_are_not_changed_in_place(name: str, channels: int, size: tuple[int, int]) -> None:
    x = smooth_images(channels, size)
    before = x.clone()
    for severity in range(1, SEVERITIES + 1):
        found = corrupted(x, name, severity, chance())
        assert found.shape == x.shape
        assert found.dtype == x.dtype
        assert found.min() >= 0
        assert found.max() <= 1
        assert torch.equal(found, corrupted(x, name, severity, chance())), "one seed gives one image"
    assert torch.equal(x, before)


@each_corruption
def test_the_last_severity_is_further_from_the_image_than_the_first(name: str) -> None:
    x = smooth_images()
    distances = [float((corrupted(x, name, severity, chance()) - x).pow(2).mean()) for severity in (1, 3, 5)]
    assert 0 < distances[0] < distances[1] < distances[2]


@pytest.mark.parametrize("name", KEEP_A_CONSTANT)
def test_a_grey_image_stays_grey(name: str) -> None:
    x = torch.full((2, 3, 32, 32), 0.5)
    for severity in range(1, SEVERITIES + 1):
        step = 1 / 255 if name == "jpeg" else 1e-5
        torch.testing.assert_close(corrupted(x, name, severity, chance()), x, rtol=0, atol=step)


def test_noise_has_the_spread_that_it_says() -> None:
    x = torch.full((16, 3, 64, 64), 0.5)
    for severity, strength in enumerate(CORRUPTIONS["gaussian_noise"].strengths, 1):
        assert corrupted(x, "gaussian_noise", severity, chance()).std() == pytest.approx(strength, rel=0.02)
    for severity, strength in enumerate(CORRUPTIONS["speckle_noise"].strengths, 1):
        assert corrupted(x, "speckle_noise", severity, chance()).std() == pytest.approx(strength / 2, rel=0.02)
    for severity, photons in enumerate(CORRUPTIONS["shot_noise"].strengths, 1):
        found = corrupted(x, "shot_noise", severity, chance())
        assert found.mean() == pytest.approx(0.5, abs=0.002)
        assert found.var() == pytest.approx(0.5 / photons, rel=0.05)
    for severity, share in enumerate(CORRUPTIONS["impulse_noise"].strengths, 1):
        found = corrupted(x, "impulse_noise", severity, chance())
        assert (found == 0).double().mean() == pytest.approx(share / 2, rel=0.1)
        assert (found == 1).double().mean() == pytest.approx(share / 2, rel=0.1)


def test_brightness_raises_the_largest_channel_and_keeps_the_hue() -> None:
    x = torch.tensor([0.4, 0.2, 0.1]).view(1, 3, 1, 1).expand(1, 3, 4, 4).clone()
    x[..., 0] = 0
    found = corrupted(x, "brightness", 2, chance())
    torch.testing.assert_close(found[0, :, 1, 1], torch.tensor([0.5, 0.25, 0.125]))
    torch.testing.assert_close(found[0, :, 0, 0], torch.full((3,), 0.1))


def test_contrast_moves_values_to_the_mean() -> None:
    x = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    torch.testing.assert_close(corrupted(x, "contrast", 5, chance()), torch.tensor([0.425, 0.575]).view(1, 1, 1, 2))


def test_motion_smears_a_point_to_one_side_within_45_degrees() -> None:
    x = torch.zeros(64, 1, 33, 33)
    x[:, 0, 16, 16] = 1
    found = corrupted(x, "motion_blur", 5, chance())
    torch.testing.assert_close(found.sum((1, 2, 3)), torch.ones(64), rtol=0, atol=1e-3)
    places = torch.arange(33) - 16.0
    right, down = found.sum((1, 2)) @ places, found.sum((1, 3)) @ places
    assert (right > 1).all()
    assert (down.abs() <= right + 1e-3).all()
    assert right.std() > 0, "every image has a direction of its own"


def test_blur_is_the_normal_density_in_pixels_of_a_32_pixel_image() -> None:
    x = torch.zeros(1, 1, 65, 65)
    x[..., 32, 32] = 1
    found = corrupted(x, "gaussian_blur", 5, chance())
    places = torch.arange(65) - 32.0
    assert (found.sum((0, 1, 2)) @ places**2) ** 0.5 == pytest.approx(65 / 32, rel=0.02)


def test_pixels_are_those_of_the_authors_resizing() -> None:
    x = (smooth_images() * 255).round() / 255
    for severity, share in enumerate(CORRUPTIONS["pixelate"].strengths, 1):
        side, found = int(32 * share), corrupted(x, "pixelate", severity, chance())
        for image, ours in zip(x, found, strict=True):
            stored = Image.fromarray((image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())
            box = Image.Resampling.BOX
            theirs = np.asarray(stored.resize((side, side), box).resize((32, 32), box))
            torch.testing.assert_close(
                ours, torch.tensor(theirs).permute(2, 0, 1) / 255, rtol=0, atol=1.01 / 255, check_dtype=False
            )


def test_an_unknown_corruption_or_severity_is_refused() -> None:
    with pytest.raises(KeyError):
        corrupted(smooth_images(), "snow", 1, chance())
    with pytest.raises(ValueError, match=r"1 to 5 \[got 0\]"):
        corrupted(smooth_images(), "jpeg", 0, chance())


def attacked(logits: Any, images: Tensor, labels: Tensor) -> Any:
    return SimpleNamespace(view=SimpleNamespace(logits=logits), images=images, labels=labels, generator=chance())


def test_the_measure_is_the_share_of_corruptions_that_leave_an_image_right() -> None:
    x, labels = smooth_images(), torch.tensor([0, 1] * 4)
    found = corruptions.accuracy(attacked(lambda x: torch.tensor([[1.0, 0.0]]).expand(len(x), 2), x, labels))
    assert found.tolist() == [1.0, 0.0] * 4
    seen: list[Tensor] = []

    def right_for_the_first_half(x: Tensor) -> Tensor:
        seen.append(x)
        share = 1.0 if len(seen) <= len(CORRUPTIONS) * SEVERITIES / 2 else -1.0
        return torch.tensor([[share, 0.0]]).expand(len(x), 2)

    half = (len(CORRUPTIONS) * SEVERITIES) // 2
    found = corruptions.accuracy(attacked(right_for_the_first_half, x, torch.zeros(8, dtype=torch.long)))
    assert len(seen) == len(CORRUPTIONS) * SEVERITIES
    assert found.tolist() == pytest.approx([half / len(seen)] * 8)
    assert MEASURES["corruption_accuracy"].compute is corruptions.accuracy
