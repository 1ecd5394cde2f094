"""One dimension's ratings at exact times, and two of them as the labels of a clip."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from cache.clock import Clock
from extract.clips import ClipLabels
from extract.corpora.findings import is_large


@dataclass(frozen=True)
class Series:
    """values: in the corpus's own range, NaN = not rated; row i at ticks[i], read from lines[i] of the file."""

    file: Path
    ticks: list[int]
    values: list[float]
    lines: list[int]

    def __post_init__(self) -> None:
        if not len(self.ticks) == len(self.values) == len(self.lines):
            raise ValueError(f"{self.file}: {len(self.ticks)} times, {len(self.values)} values; wanted as many")

    def within(self, limit: float) -> Series:
        """The same. Raises ValueError where values lie outside [-limit, limit], with the first one's line."""
        outside = [i for i, value in enumerate(self.values) if abs(value) > limit]
        if outside:
            first = outside[0]
            raise ValueError(
                f"{self.file}: {len(outside)} values lie outside [{-limit:g}, {limit:g}], the first is line "
                f"{self.lines[first]}: {self.values[first]:g}"
            )
        return self


def joined(
    valence: Series, arousal: Series, tick_seconds: Fraction | None, limit: float = 1.0
) -> tuple[ClipLabels, str | None]:
    """The labels of one clip, and a note where one dimension has rows that the other lacks.

    Values are mapped from [-limit, limit] to [-1, 1]. A row is valid where both are rated. tick_seconds: of the
    series' ticks; None = they count video frames, from 0. Raises ValueError for values out of range and for series
    that can't belong together.
    """
    ticks = sorted({*valence.ticks, *arousal.ticks})
    alone = len(ticks) - len({*valence.ticks} & {*arousal.ticks})
    note = None
    if alone:
        counts = f"{valence.file} has {len(valence.ticks)} rows, {arousal.file} {len(arousal.ticks)}"
        note = f"{counts}: {alone} are in one only"
        if is_large(alone, len(ticks)):
            raise ValueError(note)
    values = np.full((len(ticks), 2), np.nan)
    for column, series in enumerate((valence.within(limit), arousal.within(limit))):
        values[np.searchsorted(ticks, series.ticks), column] = series.values
    valid = ~np.isnan(values).any(1)
    mapped = np.where(valid[:, None], values / limit, np.nan).astype(np.float32)
    clock = None if tick_seconds is None else clock_of(ticks, tick_seconds)
    return ClipLabels(mapped, valid, clock, (-limit, limit)), note


def clock_of(ticks: list[int], tick_seconds: Fraction) -> Clock:
    """A regular clock where the ticks are evenly spaced, else an explicit one."""
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1
    first = ticks[0] if ticks else 0
    if ticks == list(range(first, first + step * len(ticks), step)):
        return Clock.regular(step * tick_seconds, len(ticks), first * tick_seconds)
    return Clock.explicit(ticks, tick_seconds)
