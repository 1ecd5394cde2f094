"""When each picture of a clip is shown, in exact ticks of an exact fraction of a second."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.demo.chance import Float

RATES = (Fraction(25), Fraction(30), Fraction(30000, 1001))
FINE = Fraction(1, 90_000)  # the clock of a file whose frames come when they like

DROPPED_SHARE = 0.1  # of single frames, as a phone drops them
GAPS_PER_SECOND, GAP_FRAMES = 0.15, 7  # and now and then several in a row
TREMBLE_SECONDS = 0.005  # each frame is up to this much early or late


@dataclass(frozen=True)
class Timeline:
    """Frame i is shown at ticks[i] * tick_seconds; the first at 0, each later than the one before.

         0        1        2                 3         frame
    |----|--------|--------|--------x--------|----->   x: a frame that was dropped
    """

    tick_seconds: Fraction
    ticks: NDArray[np.int64]  # [T]
    nominal_rate_hz: Fraction

    def __post_init__(self) -> None:
        if self.ticks.ndim != 1 or not len(self.ticks) or self.ticks[0] != 0 or (np.diff(self.ticks) <= 0).any():
            raise ValueError(f"ticks of shape {self.ticks.shape} must be one axis, start at 0 and always grow")

    @classmethod
    def constant(cls, rate_hz: Fraction, seconds: float) -> Self:
        """Every frame on time."""
        return cls(1 / rate_hz, np.arange(int(seconds * rate_hz), dtype=np.int64), rate_hz)

    @classmethod
    def variable(cls, rate_hz: Fraction, seconds: float, rng: np.random.Generator) -> Self:
        """Frames missing and frames trembling around a nominal rate."""
        count = int(seconds * rate_hz)
        kept = rng.random(count) >= DROPPED_SHARE
        for start in np.flatnonzero(rng.random(count) < GAPS_PER_SECOND / float(rate_hz)):
            kept[start : start + GAP_FRAMES] = False
        kept[0] = True
        tremble = rng.uniform(-TREMBLE_SECONDS, TREMBLE_SECONDS, count)
        tremble[0] = 0
        ticks = np.rint((np.arange(count) / float(rate_hz) + tremble) / float(FINE)).astype(np.int64)
        return cls(FINE, ticks[kept], rate_hz)

    @property
    def seconds(self) -> Float:
        """Presentation times [T]."""
        return self.ticks.astype(np.float64) * float(self.tick_seconds)

    @property
    def end_seconds(self) -> float:
        """When the last frame has been shown for one nominal frame."""
        return float(self.ticks[-1] * self.tick_seconds + 1 / self.nominal_rate_hz)
