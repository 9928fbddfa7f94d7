"""Losses with known values and gradients."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nas.training.losses import kl_divergence, trades_loss
from tests.builders import generator


def logits(seed: int, scale: float = 2.0) -> Tensor:
    return (scale * torch.randn(6, 4, generator=generator(seed), dtype=torch.float64)).requires_grad_()


LABELS = torch.tensor([0, 1, 2, 3, 0, 1])


def test_kl_by_hand() -> None:
    # p = (1/2, 1/2), q = (1/4, 3/4): 0.5 ln 2 + 0.5 ln(2/3) = 0.1438410; p = q: 0
    log_p = torch.tensor([[0.5, 0.5], [0.2, 0.8]]).log()
    log_q = torch.tensor([[0.25, 0.75], [0.2, 0.8]]).log()
    torch.testing.assert_close(kl_divergence(log_p, log_q), torch.tensor([0.1438410, 0.0]))


def test_kl_is_not_symmetric_and_its_first_argument_is_the_clean_one() -> None:
    # KL((1/4, 3/4) || (1/2, 1/2)) = ln 2 - H = 0.1308120
    log_p, log_q = torch.tensor([[0.25, 0.75]]).log(), torch.tensor([[0.5, 0.5]]).log()
    assert kl_divergence(log_p, log_q).item() == pytest.approx(0.1308120)


def test_trades_by_hand() -> None:
    # f(x) = (1/2, 1/2), f(x') = (1/4, 3/4), beta = 6: ln 2 + 6 * 0.1438410
    clean, adversarial = torch.zeros(1, 2), torch.tensor([[0.25, 0.75]]).log()
    loss = trades_loss(clean, adversarial, torch.tensor([1]), 6.0)
    assert loss.item() == pytest.approx(0.6931472 + 6 * 0.1438410, abs=1e-6)


def test_trades_with_beta_zero_is_cross_entropy_in_value_and_gradient() -> None:
    clean, adversarial = logits(0), logits(1)
    loss, expected = trades_loss(clean, adversarial, LABELS, 0.0), F.cross_entropy(clean, LABELS)
    assert torch.equal(loss, expected)
    on_clean, on_adversarial = torch.autograd.grad(loss, (clean, adversarial))
    torch.testing.assert_close(on_clean, torch.autograd.grad(expected, clean)[0])
    assert not on_adversarial.any()


def test_trades_grows_linearly_in_beta_by_the_mean_kl() -> None:
    clean, adversarial = logits(0), logits(1)
    kl = (clean.softmax(1) * (clean.log_softmax(1) - adversarial.log_softmax(1))).sum(1).mean()
    for beta in (1.0, 6.0):
        difference = trades_loss(clean, adversarial, LABELS, beta) - trades_loss(clean, adversarial, LABELS, 0.0)
        torch.testing.assert_close(difference, beta * kl)


def test_trades_has_the_gradients_of_its_formula_on_both_sides() -> None:
    clean, adversarial = logits(0), logits(1)
    p, q = clean.softmax(1), adversarial.softmax(1)
    kl = (p * (p.log() - q.log())).sum(1, keepdim=True)
    one_hot = F.one_hot(LABELS, 4)
    # d CE / d clean = (p - y) / N; d KL / d clean = p * (ln p - ln q - KL); d KL / d adversarial = q - p
    expected_clean = ((p - one_hot) + 3 * p * (p.log() - q.log() - kl)) / 6
    expected_adversarial = 3 * (q - p) / 6
    found = torch.autograd.grad(trades_loss(clean, adversarial, LABELS, 3.0), (clean, adversarial))
    torch.testing.assert_close(found[0], expected_clean)
    torch.testing.assert_close(found[1], expected_adversarial)


@pytest.mark.parametrize("scale", [200.0, 2000.0])
def test_gradients_are_finite_where_softmax_underflows(scale: float) -> None:
    clean = torch.tensor([[scale, 0.0, 0.0]], requires_grad=True)
    adversarial = torch.tensor([[0.0, scale, 0.0]], requires_grad=True)
    assert clean.softmax(1)[0, 1] == 0, "the case in question"
    loss = trades_loss(clean, adversarial, torch.tensor([1]), 6.0)
    assert loss.isfinite()
    for gradient in torch.autograd.grad(loss, (clean, adversarial)):
        assert gradient.isfinite().all()
        assert gradient.any()
