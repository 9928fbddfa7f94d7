"""Balls around images and other points: starts, steps, projections, distances."""

from math import inf, nan, sqrt

import pytest
import torch
from pydantic import ValidationError

from nas.attacks import AutoAttack
from nas.attacks.balls import BALLS
from nas.attacks.threat import Threat, ThreatModel
from nas.base.errors import UsageError
from tests.builders import generator, tiny_network

given = pytest.importorskip("hypothesis").given
st = pytest.importorskip("hypothesis.strategies")

NORMS = tuple(BALLS)


def noise(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=generator(seed))


@pytest.mark.parametrize(("written", "value"), [("8/255", 8 / 255), (" 8 / 255 ", 8 / 255), ("0.1", 0.1), (0.5, 0.5)])
def test_epsilon_may_be_written_as_a_ratio(written: str | float, value: float) -> None:
    assert ThreatModel(epsilon=written).epsilon == value


@pytest.mark.parametrize("wrong", [0, -0.1, "8/0", "eight", float("nan"), float("inf"), 1.01])
def test_impossible_radii_are_refused(wrong: object) -> None:
    with pytest.raises(ValidationError, match="epsilon"):
        ThreatModel(epsilon=wrong)


def test_a_radius_beyond_the_diameter_of_the_images_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"8 is more than .* two images, 1 .*did you mean 8/255\?"):
        ThreatModel(epsilon=8)
    with pytest.raises(ValidationError, match=r"2000 is more .* 0 to 1\)"):
        ThreatModel(epsilon=2000)
    ThreatModel(epsilon=1).check_fits((1, 8, 8))
    ThreatModel(norm="l2", epsilon=8).check_fits((1, 8, 8))
    with pytest.raises(UsageError, match=r"8\.5 is more than .* two images, 8 .*did you mean 8\.5/255\?"):
        ThreatModel(norm="l2", epsilon=8.5).check_fits((1, 8, 8))


def test_unknown_norms_and_keys_are_refused() -> None:
    with pytest.raises(ValidationError, match="norm"):
        ThreatModel(norm="l1", epsilon=0.1)
    with pytest.raises(ValidationError, match="radius"):
        ThreatModel(epsilon=0.1, radius=1)


def test_a_threat_survives_json() -> None:
    threat = ThreatModel(norm="l2", epsilon="1/3")
    assert ThreatModel.model_validate_json(threat.model_dump_json()) == threat


def test_linf_distance_is_the_largest_and_l2_the_euclidean_one() -> None:
    x = torch.zeros(2, 1, 1, 2)
    moved = torch.tensor([[[[0.3, -0.4]]], [[[0.0, 0.1]]]])
    torch.testing.assert_close(ThreatModel(epsilon=1).distance(moved, x), torch.tensor([0.4, 0.1]))
    torch.testing.assert_close(ThreatModel(norm="l2", epsilon=1).distance(moved, x), torch.tensor([0.5, 0.1]))


def test_the_linf_direction_is_the_sign() -> None:
    gradient = torch.tensor([-3.0, 0.0, 1e-30]).view(1, 1, 1, 3)
    assert ThreatModel(epsilon=1).direction(gradient).flatten().tolist() == [-1, 0, 1]


def test_the_l2_direction_is_the_unit_vector() -> None:
    gradient = torch.tensor([3.0, -4.0]).view(1, 1, 1, 2)
    torch.testing.assert_close(
        ThreatModel(norm="l2", epsilon=1).direction(gradient).flatten(), torch.tensor([0.6, -0.8])
    )


@pytest.mark.parametrize("scale", [1e-36, 1e-25, 1e-10, 1.0, 1e10, 1e25])
def test_the_l2_direction_has_norm_one_at_every_scale_of_the_gradient(scale: float) -> None:
    # A confident network has tiny gradients; their squares underflow in float32.
    direction = ThreatModel(norm="l2", epsilon=1).direction(noise(4, 1, 3, 3) * scale)
    torch.testing.assert_close(direction.flatten(1).norm(dim=1), torch.ones(4), rtol=1e-4, atol=0)


@pytest.mark.parametrize("norm", NORMS)
def test_a_zero_gradient_gives_a_zero_step(norm: str) -> None:
    assert not ThreatModel(norm=norm, epsilon=1).direction(torch.zeros(2, 1, 3, 3)).any()


@pytest.mark.parametrize("norm", NORMS)
def test_each_image_is_normalised_by_itself(norm: str) -> None:
    threat = ThreatModel(norm=norm, epsilon=0.2)
    gradient = noise(3, 1, 2, 2)
    scaled = gradient * torch.tensor([1.0, 100.0, 0.01]).view(3, 1, 1, 1)
    torch.testing.assert_close(threat.direction(scaled), threat.direction(gradient))


def test_linf_projection_by_hand() -> None:
    x = torch.tensor([0.5, 0.5, 0.95, 0.02]).view(1, 1, 1, 4)
    far = torch.tensor([0.9, 0.45, 1.5, -1.0]).view(1, 1, 1, 4)
    expected = torch.tensor([0.6, 0.45, 1.0, 0.0])
    torch.testing.assert_close(ThreatModel(epsilon=0.1).project(far, x).flatten(), expected)


def test_l2_projection_shortens_the_perturbation_to_epsilon() -> None:
    x = torch.full((1, 1, 1, 2), 0.5)
    far = torch.tensor([0.8, 0.1]).view(1, 1, 1, 2)  # a perturbation (0.3, -0.4) of norm 0.5
    projected = ThreatModel(norm="l2", epsilon=0.1).project(far, x).flatten()
    torch.testing.assert_close(projected, torch.tensor([0.56, 0.42]))


@given(st.sampled_from(NORMS), st.integers(0, 10_000), st.floats(0.01, 1), st.sampled_from([0.001, 0.1, 1.0, 50.0]))
def test_projection_lands_in_ball_and_box_and_leaves_inner_points_alone(
    norm: str, seed: int, epsilon: float, scale: float
) -> None:
    threat = ThreatModel(norm=norm, epsilon=epsilon)
    x = torch.rand(3, 2, 4, 4, generator=generator(seed))
    projected = threat.project(x + noise(3, 2, 4, 4, seed=seed + 1, scale=scale), x)
    assert (threat.distance(projected, x) <= epsilon * (1 + 1e-5) + 1e-6).all()
    assert projected.min() >= 0
    assert projected.max() <= 1
    torch.testing.assert_close(threat.project(projected, x), projected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_a_projected_point_is_the_nearest_of_many_points_of_the_ball(norm: str) -> None:
    threat = ThreatModel(norm=norm, epsilon=0.1)
    x = torch.full((2000, 1, 1, 2), 0.5)
    far = x + torch.tensor([0.3, -0.02])
    nearest = (threat.project(far, x) - far).flatten(1).norm(dim=1)
    others = (threat.start(x, generator()) - far).flatten(1).norm(dim=1)
    assert (others >= nearest - 1e-6).all()


@pytest.mark.parametrize("norm", NORMS)
def test_starts_lie_in_ball_and_box(norm: str) -> None:
    threat = ThreatModel(norm=norm, epsilon=0.5)
    x = torch.rand(50, 3, 4, 4, generator=generator(1)).round(decimals=1)
    start = threat.start(x, generator(2))
    assert (threat.distance(start, x) <= 0.5 + 1e-6).all()
    assert start.min() >= 0
    assert start.max() <= 1
    assert (threat.distance(start, x) > 0).all()


def test_linf_starts_are_uniform_in_every_pixel() -> None:
    x = torch.full((20_000, 1, 1, 2), 0.5)
    offset = (ThreatModel(epsilon=0.25).start(x, generator()) - 0.5) / 0.25
    assert offset.mean().item() == pytest.approx(0, abs=0.02)
    assert offset.std().item() == pytest.approx(1 / sqrt(3), abs=0.01)
    assert offset.abs().max().item() == pytest.approx(1, abs=0.001)


def test_l2_starts_are_uniform_in_volume() -> None:
    # For a uniform point of a d-ball, (radius / epsilon)^d is uniform on [0, 1]: mean 1/2, deviation 1/sqrt(12).
    x = torch.full((20_000, 1, 1, 3), 0.5)
    threat = ThreatModel(norm="l2", epsilon=0.4)
    start = threat.start(x, generator())
    share = (threat.distance(start, x) / 0.4) ** 3
    assert share.mean().item() == pytest.approx(0.5, abs=0.01)
    assert share.std().item() == pytest.approx(1 / sqrt(12), abs=0.01)
    assert (start - x).mean(dim=0).abs().max().item() < 0.01


@pytest.mark.parametrize("norm", NORMS)
def test_one_generator_state_gives_one_start(norm: str) -> None:
    threat, x = ThreatModel(norm=norm, epsilon=0.1), torch.full((4, 1, 3, 3), 0.5)
    used = generator(5)
    first = threat.start(x, used)
    assert torch.equal(first, threat.start(x, generator(5)))
    assert not torch.equal(first, threat.start(x, used))


@pytest.mark.parametrize("norm", NORMS)
def test_a_threat_of_a_config_is_the_ball_of_its_norm_with_the_bounds_of_pixels(norm: str) -> None:
    settings, x = ThreatModel(norm=norm, epsilon=0.3), torch.rand(5, 1, 4, 4, generator=generator(1))
    ball: Threat = BALLS[norm](0.3)
    assert (ball.norm, ball.low, ball.high) == (settings.norm, settings.low, settings.high) == (norm, 0, 1)
    far = x + noise(5, 1, 4, 4)
    for one, other in (
        (settings.start(x, generator(2)), ball.start(x, generator(2))),
        (settings.border(x, generator(2)), ball.border(x, generator(2))),
        (settings.direction(far), ball.direction(far)),
        (settings.project(far, x), ball.project(far, x)),
        (settings.distance(far, x), ball.distance(far, x)),
        (settings.excess(far, x), ball.excess(far, x)),
        (settings.outside(far), ball.outside(far)),
    ):
        assert torch.equal(one, other)
    assert settings.diameter((1, 4, 4)) == ball.diameter((1, 4, 4)) == {"linf": 1, "l2": 4}[norm]


@pytest.mark.parametrize("norm", NORMS)
def test_excess_and_outside_say_how_far_a_point_left_the_threat(norm: str) -> None:
    threat = ThreatModel(norm=norm, epsilon=0.25)
    x = torch.full((3, 1, 1, 2), 0.5)
    z = torch.tensor([[0.5, 1.5], [0.5, 0.5], [nan, 0.5]]).view(3, 1, 1, 2)
    assert threat.excess(z, x).tolist() == [0.75, -0.25, inf]
    assert threat.outside(z).view(3, 2).tolist() == [[-0.5, 0.5], [-0.5, -0.5], [inf, -0.5]]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", [(7,), (2, 3), (2, 3, 4, 5)])
def test_points_of_any_shape_have_their_balls(norm: str, shape: tuple[int, ...]) -> None:
    threat, x = BALLS[norm](0.3, -inf, inf), noise(50, *shape, scale=3)
    moved = threat.project(x + noise(50, *shape, seed=1), x)
    for points in (threat.start(x, generator(2)), threat.border(x, generator(2)), moved):
        assert points.shape == x.shape
        assert (threat.excess(points, x) <= 1e-5).all()
    assert threat.excess(threat.border(x, generator(2)), x).abs().max() < 1e-5
    assert (threat.excess(threat.start(x, generator(2)), x) < 0).any()
    torch.testing.assert_close(threat.distance(x + threat.direction(noise(50, *shape)), x), torch.ones(50))


def test_autoattack_refuses_other_bounds_than_those_of_pixels() -> None:
    network, x = tiny_network().eval(), torch.rand(2, 1, 8, 8, generator=generator(1))
    with pytest.raises(UsageError, match=r"in \[0, 1\] only, the threat has \[-1, 1\]; use .* apgd"):
        AutoAttack(steps=1).run(network, x, network(x).argmax(1), BALLS["linf"](0.1, -1.0, 1.0), generator())
