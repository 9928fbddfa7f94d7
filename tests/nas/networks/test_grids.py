"""Grids of few bits: known values, gradients, and rounding that commutes with the folding of batch-norm."""

import pytest
import torch
from torch import Tensor

from nas.networks.grids import (
    TWO_BIT_STEP,
    WeightGrid,
    levels_of,
    range_factor,
    rounded_values,
    rounded_weight,
)
from nas.networks.treatments.settings import weight_bits
from tests.builders import generator

GRIDS: tuple[WeightGrid, ...] = (8, 7, 4, 3, 2, "ternary", "binary")


def channel(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1)


def weights(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def test_weights_of_several_bits_are_rounded_to_parts_of_the_largest() -> None:
    w = channel(1.4, -0.5, 0.09, 0.31, -1.0)
    # 4 bits: 7 steps of 0.2 to the largest.
    assert levels_of(w, 4)[0].flatten().tolist() == [7, -2, 0, 2, -5]  # 2.5 steps: to the even one
    torch.testing.assert_close(rounded_weight(w, 4), channel(1.4, -0.4, 0, 0.4, -1))
    # 3 bits: 3 steps of 1.4 / 3.
    assert levels_of(w, 3)[0].flatten().tolist() == [3, -1, 0, 1, -2]
    assert levels_of(w, 8)[0].abs().max() == 127


def test_two_bits_are_four_levels_around_zero() -> None:
    w = channel(3, -3, 1, -1, 0.5, 7)
    rms = float(w.square().mean().sqrt())
    levels, scale = levels_of(w, 2)
    assert levels.flatten().tolist() == [1, -1, 1, -1, 1, 3]
    assert float(scale) == pytest.approx(TWO_BIT_STEP * rms / 2)


def test_ternary_and_binary_weights_are_those_of_their_papers() -> None:
    w = channel(1.0, -0.8, 0.3, -0.1, 0.3)  # mean |w| .5, threshold .35
    torch.testing.assert_close(rounded_weight(w, "ternary"), channel(0.9, -0.9, 0, 0, 0))
    torch.testing.assert_close(rounded_weight(w, "binary"), channel(0.5, -0.5, 0.5, -0.5, 0.5))
    torch.testing.assert_close(rounded_weight(w, 1), rounded_weight(w, "binary"))


@pytest.mark.parametrize(("grid", "bits"), [(8, 8), (1, 1), ("binary", 1), ("ternary", 2)])
def test_bits_of_a_stored_weight(grid: WeightGrid, bits: int) -> None:
    assert weight_bits(grid) == bits


def test_stochastic_ternary_weights_are_drawn_by_their_size() -> None:
    w = channel(1.0, -0.8, 0.3, -0.1, 0.3)  # threshold .35: chances 1, 1, .43, .14, .43
    drawn = torch.cat([levels_of(w, "ternary", torch.rand(w.shape, generator=generator(n)))[0] for n in range(2000)])
    torch.testing.assert_close(drawn.mean(0, keepdim=True), channel(1, -1, 3 / 7, -1 / 7, 3 / 7), atol=0.04, rtol=0)
    same = levels_of(w, "ternary", torch.full_like(w, 0.5))[0]
    assert torch.equal(same, levels_of(w, "ternary")[0]), "without noise, the likelier value"


@pytest.mark.parametrize("grid", GRIDS)
def test_rounding_commutes_with_a_factor_of_either_sign_for_each_channel(grid: WeightGrid) -> None:
    w = weights(16, 6, 3, 3)
    factors = torch.exp(3 * weights(16, 1, 1, 1, seed=1)) * weights(16, 1, 1, 1, seed=2).sign()
    assert {-1.0, 1.0} == set(factors.sign().flatten().tolist())
    levels, scale = levels_of(w, grid)
    folded, folded_scale = levels_of(w * factors, grid)
    assert torch.equal(folded, levels * factors.sign()), "the integers are the same, but for the sign"
    torch.testing.assert_close(folded_scale, scale * factors.abs())
    torch.testing.assert_close(rounded_weight(w * factors, grid), rounded_weight(w, grid) * factors)


@pytest.mark.parametrize("grid", GRIDS)
def test_channels_of_zeros_stay_zero_and_others_keep_to_their_levels(grid: WeightGrid) -> None:
    w = weights(4, 5, 3, 3)
    w[1] = 0
    rounded = rounded_weight(w, grid)
    assert not rounded[1].any()
    counts = {1: 2, "binary": 2, "ternary": 3, 2: 4}
    most = counts.get(grid, 2 ** weight_bits(grid) - 1)
    assert all(len(row.unique()) <= most for row in rounded.flatten(1))
    assert rounded.isfinite().all()


@pytest.mark.parametrize("grid", GRIDS)
def test_the_gradient_of_a_weight_passes_straight_through(grid: WeightGrid) -> None:
    w, slope = weights(3, 4, 3, 3).requires_grad_(), weights(3, 4, 3, 3, seed=1)
    (rounded_weight(w, grid) * slope).sum().backward()  # type: ignore[no-untyped-call]
    assert w.grad is not None
    assert torch.equal(w.grad, slope)


def test_at_two_bits_what_is_rounded_to_the_ends_keeps_its_gradient() -> None:
    x = torch.tensor([-0.5, 0.0, 0.4, 0.99, 1.01, 3.0, 5.9, 6.0, 6.5], requires_grad=True)
    rounded = rounded_values(x, 2.0, 0, 3)
    assert rounded.tolist() == [0, 0, 0, 0, 2, 4, 6, 6, 6]  # 1.5 steps: to the even one
    rounded.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert x.grad.tolist() == [0, 0, 1, 1, 1, 1, 1, 0, 0]


def test_a_gradient_of_a_gradient_passes_through() -> None:
    x = torch.tensor([0.3, 0.7, 1.5], dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad((rounded_values(x, 0.25, 0, 4) * x**2).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    # d/dx (x² · inside + 2 x · q) = 2 x · inside + 2 q + 2 x · inside, with q = .25, .75, 1.
    torch.testing.assert_close(second, torch.tensor([1.7, 4.3, 2.0], dtype=torch.float64))


def test_ranges_end_where_rounding_and_clipping_of_laplace_values_cost_least() -> None:
    # Banner 2019, section 3: α = 2.83, 3.89, 5.03 of the scale for 4, 8 and 16 levels in all.
    for levels, alpha in ((2, 2.83), (4, 3.89), (8, 5.03)):
        assert range_factor(levels) * 2**0.5 == pytest.approx(alpha, abs=0.01)
    factors = [range_factor(2 ** (bits - 1) - 1) for bits in range(2, 9)]
    assert factors == sorted(factors)
