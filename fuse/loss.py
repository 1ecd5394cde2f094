"""What training minimises: 1 - CCC, with a little squared error, over the valid rows of a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from fuse.settings import LossSettings

_EPSILON = 1e-8  # a batch whose predictions and labels are one constant has gradient 0, not NaN


def concordance(predictions: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
    """CCC [2] over all valid rows (Lin 1989, population moments); equal to `Moments.ccc` of the same rows.

    predictions, labels: [..., 2]; valid: bool [...]; rows that are not valid may hold anything. Without a valid
    row it is 0 and has no gradient.
    """
    mask = valid.unsqueeze(-1)
    predictions, labels = torch.where(mask, predictions, 0), torch.where(mask, labels, 0)
    weight = mask.to(predictions.dtype)
    axes = tuple(range(predictions.ndim - 1))
    n = weight.sum().clamp_min(1)
    mean_p, mean_t = predictions.sum(axes) / n, labels.sum(axes) / n
    p, t = (predictions - mean_p) * weight, (labels - mean_t) * weight
    covariance, variance_p, variance_t = (p * t).sum(axes) / n, (p * p).sum(axes) / n, (t * t).sum(axes) / n
    return 2 * covariance / (variance_p + variance_t + (mean_p - mean_t).square() + _EPSILON)


def affect_loss(predictions: Tensor, labels: Tensor, valid: Tensor, settings: LossSettings) -> Tensor:
    """Scalar: the weighted mean over valence and arousal of ccc * (1 - CCC) + mse * squared error.

    predictions, labels [B, L, 2], valid [B, L]. Rows that are not valid contribute nothing, whatever they hold.
    """
    weights = predictions.new_tensor([settings.valence, settings.arousal])
    mask = valid.unsqueeze(-1)
    squares = torch.where(mask, predictions - labels, 0).square()
    error = squares.flatten(0, -2).sum(0) / valid.sum().clamp_min(1)
    if settings.ccc == 0:
        terms = settings.mse * error
    else:
        terms = settings.ccc * (1 - concordance(predictions, labels, valid)) + settings.mse * error
    return (terms * weights).sum() / weights.sum()
