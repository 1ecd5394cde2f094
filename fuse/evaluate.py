"""Predictions of a whole split, every row once, and their scores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cache.clock import surrounding_rows
from fuse.bank import Bank
from fuse.metrics import DIMENSIONS, Moments
from fuse.windows import Stitcher

_BATCH_WINDOWS = 64


@dataclass(frozen=True, eq=False)
class Predictions:
    """predictions and labels [R, 2], labels_valid [R], seconds [R], for clips whose rows begin at offsets [C + 1]."""

    clips: list[str]
    groups: list[str]
    offsets: NDArray[np.int64]
    seconds: NDArray[np.float64]
    predictions: NDArray[np.float64]
    labels: NDArray[np.float32]
    labels_valid: NDArray[np.bool_]

    def moments_by_clip(self) -> Moments:
        """Moments [C, 2]."""
        return Moments.stack(
            [
                Moments.of(self.predictions[a:b], self.labels[a:b], self.labels_valid[a:b])
                for a, b in zip(self.offsets[:-1], self.offsets[1:], strict=True)
            ]
        )

    def moments_by_group(self) -> tuple[list[str], Moments]:
        """The groups, sorted, and their moments [G, 2]: what resampling draws."""
        by_clip = self.moments_by_clip()
        names = sorted(set(self.groups))
        member = np.array([[float(group == name) for group in self.groups] for name in names])
        return names, by_clip.merged(member)


@torch.inference_mode()
def predict(model: nn.Module, bank: Bank, length: int, clips: Iterable[int] | None = None) -> NDArray[np.float64]:
    """[R, 2]: every row of the given clips (all by default) exactly once; windows overlap by half and are averaged.

    Rows of other clips are NaN.
    """
    chosen = list(range(len(bank.clips)) if clips is None else clips)
    windows = bank.windows(chosen, length, max(1, length // 2))
    rows = bank.rows_of(chosen).cpu().numpy()
    place = np.cumsum(rows) - 1  # bank row -> row among the chosen
    stitcher = Stitcher(int(rows.sum()))
    was_training = model.training
    model.eval()
    for which in torch.arange(len(windows), device=bank.device).split(_BATCH_WINDOWS):
        batch = bank.batch(windows, which)
        out = model(batch.features, batch.valid, batch.inside)
        inside = batch.inside.cpu().numpy()
        stitcher.add(place[batch.rows.cpu().numpy()[inside]], out.float().cpu().numpy()[inside])
    model.train(was_training)
    result = np.full((bank.rows, 2), np.nan)
    result[rows] = stitcher.predictions()
    return result


def predictions_of(model: nn.Module, bank: Bank, length: int) -> Predictions:
    """The predictions of a whole bank on the label clocks, with what is needed to score and to draw them."""
    predicted = predict(model, bank, length)
    clocks, values, labels, valid = [], [], [], []
    for clip, (start, stop) in enumerate(zip(bank.offsets[:-1], bank.offsets[1:], strict=True)):
        published = bank.published[clip]
        if published is None:
            clocks.append(bank.clocks[clip])
            values.append(predicted[start:stop])
            labels.append(bank.labels[start:stop].cpu().numpy())
            valid.append(bank.labels_valid[start:stop].cpu().numpy())
        else:
            left, right, weight, _ = surrounding_rows(bank.middles(clip), published.clock)
            rows = predicted[start:stop]
            clocks.append(published.clock)
            values.append(rows[left] * (1 - weight[:, None]) + rows[right] * weight[:, None])
            labels.append(np.where(published.valid[:, None], published.values, 0).astype(np.float32))
            valid.append(published.valid)
    return Predictions(
        clips=bank.clips,
        groups=bank.groups,
        offsets=np.concatenate([[0], np.cumsum([len(clock) for clock in clocks])]),
        seconds=np.concatenate([clock.seconds() for clock in clocks]),
        predictions=np.concatenate(values),
        labels=np.concatenate(labels),
        labels_valid=np.concatenate(valid),
    )


def scores(predictions: Predictions) -> dict[str, Any]:
    """Every score of a split under its full name; NaN is None.

    ccc_concat is over all valid rows at once (Aff-Wild2, AVEC CES, MuSe); ccc_per_clip_mean averages the clips'
    own (AVEC 2018 GES): they can differ wildly.
    """
    by_clip = predictions.moments_by_clip()
    pooled = by_clip.merged()
    with np.errstate(invalid="ignore"):
        per_clip = by_clip.ccc()
    counted = np.isfinite(per_clip)
    per_clip_mean = np.where(
        counted.any(0), np.where(counted, per_clip, 0).sum(0) / np.maximum(counted.sum(0), 1), np.nan
    )
    return {
        "ccc_concat": _named(pooled.ccc()),
        "ccc_per_clip_mean": _named(per_clip_mean),
        "pearson": _named(pooled.pearson()),
        "rmse": _named(pooled.rmse()),
        "sign_agreement": _named(pooled.sign_agreement()),
        "n_rows": int(pooled.n[0]),
        "n_clips": len(predictions.clips),
        "n_groups": len(set(predictions.groups)),
        "constant_predictions": [
            name for name, constant in zip(DIMENSIONS, pooled.constant_predictions(), strict=True) if constant
        ],
    }


def _named(values: NDArray[np.float64]) -> dict[str, float | None]:
    named = dict(zip(DIMENSIONS, values.tolist(), strict=True)) | {"mean": float(values.mean())}
    return {name: value if np.isfinite(value) else None for name, value in named.items()}
