"""What a score is: agreement of predictions and labels, from moments that merge.

Every score of Duet comes from here, in float64 and with population moments. Moments of two sets of rows
merge into the moments of their union (Chan, Golub and LeVeque 1983), so a score is always "sum, then
divide": the CCC of a split is not the mean of the CCCs of its clips, and nothing here can confuse the two.

CCC = 2 cov(p, t) / (var p + var t + (mean p - mean t)^2)            (Lin 1989, population form)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]

DIMENSIONS = ("valence", "arousal")


@dataclass(frozen=True)
class Moments:
    """Counts, means and centred sums of predictions p and labels t, for one or many sets of rows.

    Every field has the same shape: `()` for one set, `[2]` for valence and arousal, `[G, 2]` for groups.
    """

    n: Float
    mean_p: Float
    mean_t: Float
    m2_p: Float  # sum of (p - mean p)^2
    m2_t: Float
    c_pt: Float  # sum of (p - mean p) (t - mean t)
    agreeing: Float  # rows where p and t have the same sign

    @classmethod
    def of(cls, predictions: ArrayLike, labels: ArrayLike, valid: ArrayLike | None = None) -> Self:
        """Moments over the first axis.

        predictions, labels: [T] or [T, 2]. valid: bool [T] or as labels, True = the row counts; the rows
        that do not count may hold anything. Raises ValueError for shapes that differ and for a counted
        value that is not finite: a missing prediction is an error, not a row to drop.
        """
        p, t = np.asarray(predictions, np.float64), np.asarray(labels, np.float64)
        if p.shape != t.shape or p.ndim not in (1, 2):
            raise ValueError(
                f"predictions have shape {p.shape}, labels {t.shape}; both must be [T] or both [T, dimensions]"
            )
        keep = np.ones(p.shape, bool) if valid is None else np.asarray(valid, bool)
        if keep.ndim < p.ndim and keep.shape == p.shape[:1]:
            keep = np.broadcast_to(keep[:, None], p.shape)
        if keep.shape != p.shape:
            raise ValueError(f"valid has shape {keep.shape}, wanted {p.shape} or {p.shape[:1]}")
        for name, values in (("predictions", p), ("labels", t)):
            bad = int(np.sum(keep & ~np.isfinite(values)))
            if bad:
                raise ValueError(f"{name} hold {bad} values that are not finite among the rows that count")
        n = keep.sum(0).astype(np.float64)
        mean_p, dp = _mean_and_deviations(p, keep, n)
        mean_t, dt = _mean_and_deviations(t, keep, n)
        return cls(
            n,
            mean_p,
            mean_t,
            (dp * dp).sum(0),
            (dt * dt).sum(0),
            (dp * dt).sum(0),
            (keep & (np.sign(np.where(keep, p, 0)) == np.sign(np.where(keep, t, 0)))).sum(0).astype(np.float64),
        )

    @classmethod
    def stack(cls, parts: list[Self]) -> Self:
        """Moments of several sets side by side: a new first axis, nothing merged."""
        return cls(*(np.stack([getattr(m, f) for m in parts]) for f in cls.__dataclass_fields__))

    def merged(self, weights: ArrayLike | None = None) -> Self:
        """The moments of the union of the sets along the first axis.

        weights: how often each set counts, [G] for one union or [R, G] for R unions at once (a bootstrap
        draws rows of such counts). The result has shape `[...]` or `[R, ...]`, where self has `[G, ...]`.
        """
        w = np.ones(self.n.shape[:1]) if weights is None else np.asarray(weights, np.float64)
        # Deviations from the mean of one of the sets keep the sums small, and are exactly zero where all sets
        # share one mean, so a constant stays a constant.
        safe = np.where(self.n > 0, self.n, 0)
        reference_p, reference_t = _reference(self.mean_p, safe), _reference(self.mean_t, safe)
        d_p = np.where(self.n > 0, self.mean_p - reference_p, 0)
        d_t = np.where(self.n > 0, self.mean_t - reference_t, 0)

        def total(x: Float) -> Float:
            return np.tensordot(w, x, axes=(-1, 0))

        n = total(safe)
        divisor = np.where(n > 0, n, 1)
        shift_p, shift_t = total(safe * d_p) / divisor, total(safe * d_t) / divisor
        return type(self)(
            n,
            reference_p + shift_p,
            reference_t + shift_t,
            np.maximum(total(self.m2_p + safe * d_p * d_p) - n * shift_p * shift_p, 0),
            np.maximum(total(self.m2_t + safe * d_t * d_t) - n * shift_t * shift_t, 0),
            total(self.c_pt + safe * d_p * d_t) - n * shift_p * shift_t,
            total(self.agreeing),
        )

    def ccc(self) -> Float:
        """Lin's concordance. NaN only where n < 2 or the denominator is 0; a constant prediction scores 0."""
        denominator = self.m2_p + self.m2_t + self.n * (self.mean_p - self.mean_t) ** 2
        return _ratio(2 * self.c_pt, denominator, self.n)

    def pearson(self) -> Float:
        """Pearson's correlation; NaN where either side is constant."""
        return _ratio(self.c_pt, np.sqrt(self.m2_p * self.m2_t), self.n)

    def rmse(self) -> Float:
        """Root of the mean squared error; NaN where n is 0."""
        squares = self.m2_p + self.m2_t - 2 * self.c_pt + self.n * (self.mean_p - self.mean_t) ** 2
        return np.sqrt(np.maximum(_ratio(squares, self.n, self.n, least=1), 0))

    def sign_agreement(self) -> Float:
        """Share of rows whose prediction has the label's sign (SAGR); NaN where n is 0."""
        return _ratio(self.agreeing, self.n, self.n, least=1)

    def constant_predictions(self) -> NDArray[np.bool_]:
        """True where every prediction is the same while the labels vary: such a CCC of 0 deserves a word."""
        return np.asarray((self.n >= 2) & (self.m2_p == 0) & (self.m2_t > 0))


def _mean_and_deviations(x: Float, keep: NDArray[np.bool_], n: Float) -> tuple[Float, Float]:
    """Mean of the kept rows, and deviations (0 where not kept); exact for constants."""
    if not len(x):
        return np.zeros(x.shape[1:]), np.zeros_like(x)
    first = np.take_along_axis(x, np.argmax(keep, 0)[None], 0)[0]
    first = np.where(n > 0, first, 0)  # the first counted value: subtracting it makes constants exact zeros
    shifted = np.where(keep, np.where(keep, x, 0) - first, 0)
    shift = shifted.sum(0) / np.where(n > 0, n, 1)
    return first + shift, np.where(keep, shifted - shift, 0)


def _reference(mean: Float, n: Float) -> Float:
    """The mean of the first set that has rows."""
    first = np.take_along_axis(mean, np.argmax(n > 0, 0)[None], 0)[0]
    return np.where((n > 0).any(0), first, 0)


def _ratio(numerator: Float, denominator: Float, n: Float, least: int = 2) -> Float:
    defined = (n >= least) & (denominator > 0)
    return np.where(defined, numerator / np.where(defined, denominator, 1), np.nan)
