"""Instability of known logits."""

import pytest
import torch

from nas.evaluation.instability import instability


def test_known_logits() -> None:
    # (1/2, 1/2) to (1/4, 3/4): 0.1438410 nats; any shift of the logits changes nothing; equal logits: 0
    logits = torch.tensor([[0.0, 0.0], [7.0, 7.0], [1.0, 3.0]])
    moved = torch.tensor([[0.0, 1.0986123], [100.0, 101.0986123], [1.0, 3.0]])
    torch.testing.assert_close(
        instability(logits, moved), torch.tensor([0.143841, 0.143841, 0.0]), atol=1e-6, rtol=1e-4
    )


def test_a_certain_prediction_that_becomes_uniform_costs_ln_k() -> None:
    found = instability(torch.tensor([[200.0, 0, 0, 0]]), torch.zeros(1, 4))
    assert found.item() == pytest.approx(1.3862944)


def test_a_certain_prediction_that_flips_stays_finite() -> None:
    # ln p1 - ln q1 = 0 - (-200)
    found = instability(torch.tensor([[200.0, 0.0]]), torch.tensor([[0.0, 200.0]]))
    assert found.item() == pytest.approx(200)


def test_instability_is_never_negative() -> None:
    g = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(500, 10, generator=g)
    assert (instability(logits, logits + 0.01 * torch.randn(500, 10, generator=g)) > -1e-6).all()
