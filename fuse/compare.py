"""How sure a score is, and whether one model is better than another: resampling whole groups.

Rows of one subject are not independent, so what is drawn is subjects (or media files, where subjects are not
known). Each draw merges the groups' moments and computes the pooled CCC anew; seeds are averaged within a draw.
Intervals are expanded percentiles (Hesterberg 2015): the bootstrap's spread is that of a mean with G in
the denominator and not G - 1, and its tails are normal ones, so its quantiles are taken as far out as Student's t is.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from fuse.metrics import DIMENSIONS, Moments

FEWEST_GROUPS = 8
_DRAWS = 2000
_SEED = 20220325


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % bootstrap interval over `groups` groups."""

    value: float
    low: float
    high: float
    groups: int

    @property
    def enough_groups(self) -> bool:
        """Under 8 groups a percentile interval covers far less than it says."""
        return self.groups >= FEWEST_GROUPS


def mean_ccc(seeds: list[Moments]) -> dict[str, Interval]:
    """Concatenated CCC of valence, arousal and their mean, averaged over seeds, with intervals.

    seeds: for each seed the moments by group, [G, 2], groups in one order.
    """
    value = _values(seeds, np.ones((1, len(seeds[0].n))))[0]
    drawn = _values(seeds, _draws(len(seeds[0].n)))
    return {name: _interval(value[i], drawn[:, i], len(seeds[0].n)) for i, name in enumerate((*DIMENSIONS, "mean"))}


def difference(a: list[Moments], b: list[Moments]) -> dict[str, Interval]:
    """CCC of `a` minus that of `b`, drawn in pairs: the same groups for both. Both as in `mean_ccc`."""
    groups = len(a[0].n)
    if not all(np.array_equal(moments.n, a[0].n) for moments in (*a, *b)):
        raise ValueError("the two models were scored on different groups or rows, so their difference can't be paired")
    value = (_values(a, np.ones((1, groups))) - _values(b, np.ones((1, groups))))[0]
    weights = _draws(groups)
    drawn = _values(a, weights) - _values(b, weights)
    return {name: _interval(value[i], drawn[:, i], groups) for i, name in enumerate((*DIMENSIONS, "mean"))}


def _draws(groups: int) -> NDArray[np.float64]:
    """[R, G]: how often each group is drawn."""
    rng = np.random.default_rng(_SEED)
    return rng.multinomial(groups, np.full(groups, 1 / groups), size=_DRAWS).astype(np.float64)


def _values(seeds: list[Moments], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """[R, 3]: valence, arousal, mean, averaged over seeds."""
    ccc = np.mean([moments.merged(weights).ccc() for moments in seeds], 0)  # [R, 2]
    return np.concatenate([ccc, ccc.mean(1, keepdims=True)], 1)


def _interval(value: float, drawn: NDArray[np.float64], groups: int) -> Interval:
    level = _level(groups)
    low, high = np.nanquantile(drawn, [level, 1 - level])
    return Interval(float(value), float(low), float(high), groups)


def _level(groups: int) -> float:
    """Which quantile of the draws is the low end: 2.5 % for very many groups, farther out for few, 0 for one."""
    from scipy import stats  # a second to import, and only reports draw intervals

    if groups < 2:
        return 0.0
    return float(stats.norm.cdf(stats.t.ppf(0.025, groups - 1) * sqrt(groups / (groups - 1))))
