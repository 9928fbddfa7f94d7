"""Lipschitz constants by hand."""

from math import log10, sqrt

import pytest
import torch

from nas.evaluation.lipschitz import slopes
from nas.measures.closed_form import lipschitz_bound_log10
from search_spaces import BlockSpec, NetworkSpec
from search_spaces.mobilenet_tiny import preset


def test_the_closed_form_of_two_blocks_by_hand() -> None:
    blocks = (
        BlockSpec("conv", 0, 3, 4, 4, 3, 1),
        BlockSpec("inverted_residual", 1, 4, 16, 9, 3, 1),  # sqrt 9 + sqrt 16 = 7
        BlockSpec("inverted_residual", 2, 9, 36, 16, 3, 2),  # sqrt 16 + sqrt 36 = 10
        BlockSpec("conv", 3, 16, 100, 100, 1, 1),
    )
    bound = lipschitz_bound_log10(NetworkSpec((3, 8, 8), 10, blocks))
    assert bound == pytest.approx(log10(70))


def test_equal_blocks_give_the_power_of_equation_five() -> None:
    # (sqrt(W h) + sqrt(E m))^n with n = 5 blocks of width 25 and 144 middle channels: 17^5
    blocks = tuple(BlockSpec("inverted_residual", row, 25, 144, 25, 3, 1) for row in range(1, 6))
    assert lipschitz_bound_log10(NetworkSpec((25, 8, 8), 10, blocks)) == pytest.approx(5 * log10(17))


def test_a_network_without_bottlenecks_has_bound_zero() -> None:
    assert lipschitz_bound_log10(NetworkSpec((3, 8, 8), 10, (BlockSpec("conv", 0, 3, 4, 4, 3, 1),))) == 0


def test_wider_and_more_expanded_networks_have_larger_bounds() -> None:
    wider = [lipschitz_bound_log10(preset(f"mousavi_w{width}_e6")) for width in ("0.35", "0.65", "1.0")]
    expanded = [lipschitz_bound_log10(preset(f"mousavi_w0.35_e{ratio}")) for ratio in (6, 10, 20, 29)]
    assert wider == sorted(set(wider))
    assert expanded == sorted(set(expanded))


def test_slopes_by_hand() -> None:
    logits = torch.tensor([[1.0, 2.0], [0.0, 0.0], [5.0, 5.0]])
    moved = torch.tensor([[4.0, -2.0], [0.0, 1.0], [9.0, 9.0]])  # differences (3, -4), (0, 1), (4, 4)
    x = torch.zeros(3, 1, 1, 2)
    x_adv = torch.tensor([[0.3, 0.4], [0.0, 0.2], [0.0, 0.0]]).view(3, 1, 1, 2)  # the third has not moved
    torch.testing.assert_close(slopes(logits, moved, x, x_adv, 2, 2), torch.tensor([10.0, 5.0, 0.0]))
    torch.testing.assert_close(slopes(logits, moved, x, x_adv, 1, torch.inf), torch.tensor([17.5, 5.0, 0.0]))


def test_the_slope_of_a_linear_map_is_at_most_its_largest_singular_value() -> None:
    weight = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    singular = torch.linalg.svdvals(weight)[0]
    _, _, right = torch.linalg.svd(weight)
    x = torch.zeros(50, 1, 2, 4)
    x_adv = torch.randn(50, 1, 2, 4, generator=torch.Generator().manual_seed(1))
    x_adv[0] = right[0].view(1, 2, 4)  # the direction that attains it
    found = slopes(x.flatten(1) @ weight.T, x_adv.flatten(1) @ weight.T, x, x_adv, 2, 2)
    assert (found <= singular * (1 + 1e-5)).all()
    torch.testing.assert_close(found[0], singular)
    assert found[1:].max() < singular
    assert singular < sqrt(3) * weight.norm()
