"""Grids against Brevitas, where it is installed (`pip install brevitas`; 0.13 was)."""

import pytest
import torch

from nas.networks.grids import rounded_values, rounded_weight
from tests.builders import generator

qnn = pytest.importorskip("brevitas.nn")
quant = pytest.importorskip("brevitas.quant")


@pytest.mark.parametrize("bits", [8, 6, 4, 3])
@pytest.mark.parametrize("groups", [1, 8])
def test_weights_are_rounded_as_by_brevitas(bits: int, groups: int) -> None:
    rounding = {"weight_quant": quant.Int8WeightPerChannelFloat, "weight_bit_width": bits}
    with torch.random.fork_rng():  # which it draws its weights from
        conv = qnn.QuantConv2d(8, 8, 3, groups=groups, **rounding)
    with torch.no_grad():
        conv.weight.normal_(generator=generator(bits))
    assert torch.equal(conv.quant_weight().value, rounded_weight(conv.weight, bits))


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_relu6_is_rounded_as_by_brevitas(bits: int) -> None:
    step = 6 / (2**bits - 1)
    relu = qnn.QuantReLU(
        act_quant=quant.Uint8ActPerTensorFloatMaxInit, max_val=6.0, bit_width=bits, scaling_impl_type="const"
    )
    x = (4 * torch.randn(2000, generator=generator(1))).requires_grad_()
    expected, found = relu(x), rounded_values(x, step, 0, 2**bits - 1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    (theirs,), (ours,) = (torch.autograd.grad(out.sum(), x) for out in (expected, found))
    # Its clamp is behind the rounding, and lets the gradient of half a step above 6 through.
    same = (x <= 6) | (x > 6 + step / 2)
    assert torch.equal(ours[same], theirs[same])
    assert not ours[~same].any()
