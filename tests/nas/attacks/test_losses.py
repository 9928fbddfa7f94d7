"""Every loss and its slope against autograd, by hand, and where float32 cancels."""

import pytest
import torch
from torch import Tensor

from nas.attacks.losses import LOSSES, Loss, cross_entropy_slope, targeted_dlr
from nas.base.errors import UsageError
from tests.builders import generator

LABELS = torch.tensor([0, 3, 5, 1, 2, 2, 4, 0])
TARGETS = torch.tensor([1, 0, 2, 4, 5, 0, 3, 3])
EVERY: dict[str, Loss] = {**LOSSES, "targeted_dlr": targeted_dlr(TARGETS)}  # type: ignore[dict-item]


def some_logits() -> Tensor:
    return 3 * torch.randn(8, 6, dtype=torch.float64, generator=generator())


@pytest.mark.parametrize("name", EVERY)
def test_the_slope_is_the_derivative_of_the_value(name: str) -> None:
    logits = some_logits().requires_grad_()
    value = EVERY[name].value(logits, LABELS)
    (expected,) = torch.autograd.grad(value.sum(), logits)
    assert value.shape == (8,)
    torch.testing.assert_close(EVERY[name].slope(logits.detach(), LABELS), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", EVERY)
def test_the_slope_is_the_finite_difference(name: str) -> None:
    logits, loss = some_logits(), EVERY[name]
    direction = torch.randn(8, 6, dtype=torch.float64, generator=generator(1))
    step = 1e-6
    rise = (loss.value(logits + step * direction, LABELS) - loss.value(logits - step * direction, LABELS)) / (2 * step)
    torch.testing.assert_close((loss.slope(logits, LABELS) * direction).sum(1), rise, rtol=1e-6, atol=1e-8)


def test_values_by_hand() -> None:
    logits, label = torch.tensor([[4.0, 1.0, 3.0, 0.0]]), torch.tensor([0])
    assert LOSSES["margin"].value(logits, label).item() == -1
    assert LOSSES["margin"].slope(logits, label).tolist() == [[-1, 0, 1, 0]]
    assert LOSSES["dlr"].value(logits, label).item() == pytest.approx(-1 / 3)  # (3 - 4) / (4 - 1)
    targeted = targeted_dlr(torch.tensor([1])).value(logits, label)
    assert targeted.item() == pytest.approx(-3 / 3.5)  # (1 - 4) / (4 - (1 + 0) / 2)
    assert LOSSES["margin"].value(logits, torch.tensor([3])).item() == 4


@pytest.mark.parametrize("name", ["dlr", "targeted_dlr"])
def test_dlr_does_not_depend_on_the_scale_of_the_logits(name: str) -> None:
    logits = some_logits()
    for factor in (1e-2, 1e2):
        torch.testing.assert_close(EVERY[name].value(factor * logits, LABELS), EVERY[name].value(logits, LABELS))


@pytest.mark.parametrize("margin", [5.0, 17.0, 20.0, 40.0, 80.0])
def test_the_slope_of_a_confident_network_survives_in_float32(margin: float) -> None:
    logits = torch.tensor([[margin, 0.0, -1.0]])
    slope = cross_entropy_slope(logits, torch.tensor([0]))
    exact = logits.double().softmax(1)
    expected = torch.tensor([[-(exact[0, 1] + exact[0, 2]), exact[0, 1], exact[0, 2]]])
    assert (slope != 0).all()
    torch.testing.assert_close(slope.double(), expected, rtol=1e-5, atol=0)
    if margin >= 20:
        assert logits.softmax(1)[0, 0] - 1 == 0, "the plain formula would do as well: this test shows nothing"


def test_too_few_classes_are_refused_with_a_way_out() -> None:
    with pytest.raises(UsageError, match=r"DLR loss compares at least 3 classes, the network has 2; use loss: margin"):
        LOSSES["dlr"].slope(torch.zeros(1, 2), torch.tensor([0]))
    with pytest.raises(UsageError, match="at least 4 classes, the network has 3"):
        targeted_dlr(torch.tensor([1])).value(torch.zeros(1, 3), torch.tensor([0]))
