"""The loss is the metric: equal to Moments.ccc, blind to rows that don't count, with the right gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fuse.loss import affect_loss, concordance
from fuse.metrics import Moments
from fuse.settings import LossSettings

B, L = 3, 13


def a_batch(seed: int, share: float = 0.7) -> tuple[Tensor, Tensor, Tensor]:
    """predictions and labels [B, L, 2] in float64, and valid [B, L]."""
    rng = np.random.default_rng(seed)
    labels = rng.uniform(-1, 1, (B, L, 2))
    predictions = 0.5 * labels + rng.normal(size=(B, L, 2)) * 0.4 + 0.1
    return torch.from_numpy(predictions), torch.from_numpy(labels), torch.from_numpy(rng.random((B, L)) < share)


def moments(predictions: Tensor, labels: Tensor, valid: Tensor) -> Moments:
    return Moments.of(*(x.numpy().reshape(-1, 2) for x in (predictions, labels)), valid.numpy().ravel())


@settings(max_examples=50)
@given(st.integers(0, 2**31), st.floats(0.1, 1))
def test_concordance_is_the_metric(seed: int, share: float) -> None:
    predictions, labels, valid = a_batch(seed, share)
    if valid.sum() < 2:
        valid[0, :2] = True
    wanted = moments(predictions, labels, valid).ccc()
    # 1e-8 is added to a denominator of at least some 1e-2: 1e-6 relative at the worst.
    np.testing.assert_allclose(concordance(predictions, labels, valid).numpy(), wanted, rtol=1e-6, atol=1e-9)
    exact = moments(predictions, labels, valid)
    denominator = (exact.m2_p + exact.m2_t) / exact.n + (exact.mean_p - exact.mean_t) ** 2
    # With that 1e-8 taken into account, float64 alone is left.
    np.testing.assert_allclose(
        concordance(predictions, labels, valid).numpy(), wanted * denominator / (denominator + 1e-8), rtol=1e-11
    )


def test_concordance_is_over_the_batch_and_not_per_sequence() -> None:
    predictions, labels, _ = a_batch(3)
    everywhere = torch.ones(B, L, dtype=torch.bool)
    whole = concordance(predictions, labels, everywhere)
    assert torch.allclose(whole, concordance(predictions.flatten(0, 1), labels.flatten(0, 1), everywhere.flatten()))
    each = torch.stack([concordance(predictions[b], labels[b], everywhere[b]) for b in range(B)]).mean(0)
    assert not torch.allclose(whole, each, atol=1e-3)


@settings(max_examples=30)
@given(st.integers(0, 2**31), *[st.floats(0.1, 3) for _ in range(4)])
def test_the_loss_is_its_formula(seed: int, ccc: float, mse: float, valence: float, arousal: float) -> None:
    predictions, labels, valid = a_batch(seed)
    wanted = 0.0
    score = concordance(predictions, labels, valid)
    for d, weight in enumerate((valence, arousal)):
        squares = [
            float(predictions[b, i, d] - labels[b, i, d]) ** 2 for b in range(B) for i in range(L) if valid[b, i]
        ]
        wanted += weight * (ccc * (1 - float(score[d])) + mse * sum(squares) / len(squares))
    loss = affect_loss(predictions, labels, valid, LossSettings(ccc=ccc, mse=mse, valence=valence, arousal=arousal))
    assert float(loss) == pytest.approx(wanted / (valence + arousal), rel=1e-12)


def test_weights_of_zero_leave_a_term_out() -> None:
    predictions, labels, valid = a_batch(5)
    score, errors = concordance(predictions, labels, valid), moments(predictions, labels, valid).rmse() ** 2

    def loss(**weights: float) -> float:
        return float(affect_loss(predictions, labels, valid, LossSettings(**weights)))

    assert loss(mse=0) == pytest.approx(1 - float(score.mean()), rel=1e-12)
    assert loss(ccc=0, mse=1) == pytest.approx(errors.mean(), rel=1e-12)
    assert loss(mse=0, arousal=0) == pytest.approx(1 - float(score[0]), rel=1e-12)
    assert loss(ccc=0, mse=2, valence=0) == pytest.approx(2 * errors[1], rel=1e-12)


@pytest.mark.parametrize("poison", [float("nan"), 1e30, float("inf")])
@pytest.mark.parametrize("terms", [{}, {"ccc": 0.0}, {"mse": 0.0}], ids=["both", "mse alone", "ccc alone"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_that_are_not_valid_change_nothing(poison: float, terms: dict[str, float], dtype: torch.dtype) -> None:
    predictions, labels, valid = a_batch(7)
    values, gradients = [], []
    for spoilt in (False, True):
        p, t = (torch.where(valid.unsqueeze(-1) | (not spoilt), x, poison).to(dtype) for x in (predictions, labels))
        p.requires_grad_()
        loss = affect_loss(p, t, valid, LossSettings(**terms))
        loss.backward()
        values.append(loss.detach())
        gradients.append(p.grad)
    assert torch.equal(values[0], values[1])
    assert torch.equal(gradients[0], gradients[1])
    assert gradients[1].isfinite().all()
    assert (gradients[1][~valid] == 0).all()
    assert (gradients[1][valid] != 0).any()


@pytest.mark.parametrize("terms", [{}, {"ccc": 0.0}, {"mse": 0.0}], ids=["both", "mse alone", "ccc alone"])
def test_a_batch_without_a_valid_row_teaches_nothing(terms: dict[str, float]) -> None:
    predictions, labels, valid = a_batch(11)
    predictions.requires_grad_()
    loss = affect_loss(predictions, torch.full_like(labels, torch.nan), torch.zeros_like(valid), LossSettings(**terms))
    loss.backward()
    assert loss.isfinite()
    assert (predictions.grad == 0).all()


def test_a_window_without_a_valid_row_adds_nothing_to_the_others() -> None:
    predictions, labels, valid = a_batch(13)
    valid[1] = False
    kept = torch.tensor([0, 2])
    assert float(affect_loss(predictions, labels, valid, LossSettings())) == pytest.approx(
        float(affect_loss(predictions[kept], labels[kept], valid[kept], LossSettings())), rel=1e-12
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_constant_on_both_sides_has_gradient_zero(dtype: torch.dtype) -> None:
    predictions = torch.full((B, L, 2), 0.3, dtype=dtype, requires_grad=True)
    loss = affect_loss(
        predictions, torch.full((B, L, 2), 0.3, dtype=dtype), torch.ones(B, L, dtype=torch.bool), LossSettings()
    )
    loss.backward()
    assert loss.isfinite()
    # float32: the mean of 39 times 0.3 is off by one in its last place, 3e-8, times 2 / 1e-8 / 39 rows.
    assert predictions.grad.abs().max() <= (0.5 if dtype is torch.float32 else 1e-8)


def test_the_gradient_is_that_of_finite_differences() -> None:
    predictions, labels, valid = a_batch(17)
    predictions.requires_grad_()
    settings = LossSettings(ccc=0.7, mse=0.3, valence=1.3, arousal=0.4)
    assert torch.autograd.gradcheck(lambda p: affect_loss(p, labels, valid, settings), (predictions,))
    assert torch.autograd.gradcheck(lambda p: concordance(p, labels, valid), (predictions,))


def test_perfect_predictions_have_no_loss_and_contrary_ones_the_most() -> None:
    _, labels, valid = a_batch(19)
    settings = LossSettings(mse=0)
    labels = labels - labels[valid].mean(0)
    # 1e-8 in the denominator against a variance of about a third.
    assert float(affect_loss(labels, labels, valid, settings)) == pytest.approx(0, abs=1e-7)
    assert float(affect_loss(-labels, labels, valid, settings)) == pytest.approx(2, abs=1e-7)
