"""When each row of a track happens. The only file that rounds time.

A clock counts in ticks: integers of an exact fraction of a second. A regular clock (audio hops, 100 ms
labels) is start, step and count; an explicit one (decoded frames, variable frame rate) lists its ticks.

      row         0     1     2     3
      tick        t0    t1    t2    t3         row i stands for the half-open interval [t_i, t_i+1)
      seconds     t0 * tick_seconds, ...

Time zero is that of the media's container, the same for picture and sound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ticks = NDArray[np.int64]

_LARGEST_TICK = 2**62


@dataclass(frozen=True, eq=False)
class Clock:
    """Row times of one track: `count` strictly increasing ticks of `tick_seconds` each.

    Make one with `Clock.regular` or `Clock.explicit`. Two clocks are equal if all their rows happen at the
    same exact times, however they are written.
    """

    tick_seconds: Fraction
    count: int
    start: int = 0
    step: int = 1
    ticks: Ticks | None = field(default=None, repr=False)  # None: regular

    def __post_init__(self) -> None:
        if self.tick_seconds <= 0:
            raise ValueError(f"tick_seconds is {self.tick_seconds}; a tick must last longer than 0 seconds")
        if self.count < 0:
            raise ValueError(f"count is {self.count}; a clock has 0 rows or more")
        if self.ticks is None:
            if self.step <= 0:
                raise ValueError(f"step is {self.step}; rows must move forward by 1 tick or more")
            return
        if self.ticks.ndim != 1 or len(self.ticks) != self.count:
            raise ValueError(f"ticks has shape {self.ticks.shape}, wanted ({self.count},)")
        backwards = np.flatnonzero(np.diff(self.ticks) <= 0)
        if len(backwards):
            i = int(backwards[0])
            raise ValueError(
                f"ticks must strictly increase; row {i} is at {self.ticks[i]}, row {i + 1} at {self.ticks[i + 1]}"
            )
        self.ticks.setflags(write=False)

    @classmethod
    def regular(cls, step_seconds: Fraction, count: int, start_seconds: Fraction = Fraction(0)) -> Self:
        """Rows at start + i * step, both exact fractions of a second."""
        step_seconds, start_seconds = Fraction(step_seconds), Fraction(start_seconds)
        tick = Fraction(1, lcm(step_seconds.denominator, start_seconds.denominator))
        return cls(tick, count, start=int(start_seconds / tick), step=int(step_seconds / tick))

    @classmethod
    def explicit(cls, ticks: ArrayLike, tick_seconds: Fraction) -> Self:
        """Rows at the given integer ticks, in order."""
        array = np.array(ticks)
        if array.size and not np.issubdtype(array.dtype, np.integer):
            raise ValueError(f"ticks are {array.dtype}; a clock counts in integers of tick_seconds")
        return cls(Fraction(tick_seconds), len(array), ticks=array.astype(np.int64))

    @classmethod
    def of_ticks(cls, ticks: ArrayLike, tick_seconds: Fraction) -> Self:
        """Rows at the given integer ticks, in order: regular where all steps are equal, else explicit."""
        clock = cls.explicit(ticks, tick_seconds)
        assert clock.ticks is not None
        steps = np.diff(clock.ticks)
        if not len(steps) or (steps != steps[0]).any():
            return clock
        return cls(clock.tick_seconds, clock.count, start=int(clock.ticks[0]), step=int(steps[0]))

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any], ticks: ArrayLike | None) -> Self:
        """Read back what `attributes` wrote; explicit ticks come from their own array."""
        tick_seconds = Fraction(attributes["tick_seconds"])
        if attributes["kind"] == "explicit":
            if ticks is None:
                raise ValueError("this clock is explicit, but no array of ticks came with it")
            return cls.explicit(ticks, tick_seconds)
        return cls(tick_seconds, int(attributes["count"]), start=int(attributes["start"]), step=int(attributes["step"]))

    def attributes(self) -> dict[str, Any]:
        """The clock as JSON; the ticks of an explicit clock go into an array beside it."""
        if self.ticks is not None:
            return {"kind": "explicit", "tick_seconds": str(self.tick_seconds), "count": self.count}
        return {
            "kind": "regular",
            "tick_seconds": str(self.tick_seconds),
            "start": self.start,
            "step": self.step,
            "count": self.count,
        }

    def __len__(self) -> int:
        return self.count

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Clock):
            return NotImplemented
        if self.count != other.count:
            return False
        mine, theirs = _on_common_ticks(self, other)
        return bool(np.array_equal(mine, theirs))

    __hash__ = None  # type: ignore[assignment]

    def all_ticks(self) -> Ticks:
        """[T] int64 ticks, one a row."""
        if self.ticks is not None:
            return self.ticks
        return self.start + self.step * np.arange(self.count, dtype=np.int64)

    def seconds(self) -> NDArray[np.float64]:
        """[T] row times in seconds, each the float64 nearest to the exact time (for display, never for rounding)."""
        return self.all_ticks() * self.tick_seconds.numerator / self.tick_seconds.denominator

    def typical_step(self) -> int:
        """Ticks between rows: the step, or the median step of explicit ticks (0 if there are fewer than 2)."""
        if self.ticks is None:
            return self.step
        return int(np.sort(np.diff(self.ticks))[(self.count - 1) // 2]) if self.count > 1 else 0

    def duration_seconds(self) -> Fraction:
        """From the first row to the end of the last one's interval."""
        if not self.count:
            return Fraction(0)
        ticks = self.all_ticks()
        return (int(ticks[-1]) - int(ticks[0]) + self.typical_step()) * self.tick_seconds

    def rows(self, start: int, stop: int) -> Clock:
        """The clock of rows [start, stop)."""
        if not 0 <= start <= stop <= self.count:
            raise ValueError(f"rows [{start}, {stop}) are not within the {self.count} rows of this clock")
        if self.ticks is not None:
            return Clock.explicit(self.ticks[start:stop], self.tick_seconds)
        return Clock(self.tick_seconds, stop - start, start=self.start + start * self.step, step=self.step)

    def resized(self, count: int) -> Clock:
        """The first `count` rows; rows beyond the last one continue with the typical step."""
        if count <= self.count:
            return self.rows(0, count)
        if self.ticks is None:
            return Clock(self.tick_seconds, count, start=self.start, step=self.step)
        step = self.typical_step()
        if step == 0:
            raise ValueError(f"a clock of {self.count} explicit rows has no step to continue with to {count} rows")
        more = self.ticks[-1] + step * np.arange(1, count - self.count + 1, dtype=np.int64)
        return Clock.explicit(np.concatenate([self.ticks, more]), self.tick_seconds)

    def at_rate(self, rate_hz: Fraction) -> Clock:
        """Regular rows at `rate_hz` from this clock's first row to the end of its last one's interval."""
        if not self.count:
            return Clock.regular(1 / rate_hz, 0)
        rows = max(1, -(-self.duration_seconds() * rate_hz // 1))
        return Clock.regular(1 / rate_hz, int(rows), int(self.all_ticks()[0]) * self.tick_seconds)

    def shifted(self, seconds: Fraction) -> Clock:
        """The same rows, `seconds` later; exact."""
        seconds = Fraction(seconds)
        tick = Fraction(1, lcm(self.tick_seconds.denominator, seconds.denominator))
        scale, shift = int(self.tick_seconds / tick), int(seconds / tick)
        if self.ticks is not None:
            return Clock.explicit(_scaled(self.ticks, scale) + shift, tick)
        return Clock(tick, self.count, start=self.start * scale + shift, step=self.step * scale)


def nearest_rows(source: Clock, target: Clock) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """For each row of `target` the nearest row of `source` and how far it is.

    Returns rows [T] (the earlier one where two are equally near) and gaps [T] in seconds. Raises ValueError
    if source is empty.
    """
    _wants_rows(source)
    s, t = _on_common_ticks(source, target)
    right = np.searchsorted(s, t).clip(1, len(s) - 1) if len(s) > 1 else np.zeros(len(t), np.intp)
    left = np.maximum(right - 1, 0)
    rows = np.where(t - s[left] <= s[right] - t, left, right)
    return rows, _gap_seconds(np.abs(s[rows] - t), source, target)


def surrounding_rows(
    source: Clock, target: Clock
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """For each row of `target` the source rows before and after it, for linear interpolation.

    Returns left [T], right [T], the weight of the right row [T] in [0, 1], and the distance between the two
    in seconds [T]. Outside the source, and on one of its rows, left and right are the same row; outside, the
    distance is that to this row.
    """
    _wants_rows(source)
    s, t = _on_common_ticks(source, target)
    left = (np.searchsorted(s, t, side="right") - 1).clip(0, len(s) - 1)
    right = np.where((s[left] < t) & (left + 1 < len(s)), np.minimum(left + 1, len(s) - 1), left)
    span = s[right] - s[left]
    weight = np.where(span > 0, (t - s[left]) / np.where(span > 0, span, 1), 0.0)
    return left, right, weight, _gap_seconds(np.where(span > 0, span, np.abs(s[left] - t)), source, target)


def interval_rows(source: Clock, target: Clock) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For each target row i the source rows [first, last) whose time lies in [t_i, t_i+1).

    The last interval has the typical length. An interval without source rows has first == last.
    """
    s, t = _on_common_ticks(source, target)
    if not len(t):
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    step = int(target.typical_step() * target.tick_seconds / _common_tick(source, target))
    ends = np.append(t[1:], t[-1] + max(step, 1))
    return np.searchsorted(s, t), np.searchsorted(s, ends)


def middle_of_intervals(source: Clock, target: Clock) -> Fraction:
    """How far after a target row's tick the middle of the source rows in its interval lies: the median, in seconds.

    To the microsecond. Not half the interval: of rows at t, t + s .. t + h - s the middle is at t + (h - s) / 2.
    0 if no interval has a row.
    """
    first, last = interval_rows(source, target)
    some = last > first
    if not some.any():
        return Fraction(0)
    sums = np.concatenate([[0.0], np.cumsum(source.seconds())])
    middles = (sums[last] - sums[first])[some] / (last - first)[some]
    return Fraction(round(float(np.median(middles - target.seconds()[some])) * 10**6), 10**6)


def nearest_ticks(times: NDArray[np.number], unit_seconds: Fraction, tick_seconds: Fraction) -> Ticks:
    """[T] the tick nearest to each time that a file holds as a binary number, in units of unit_seconds.

    Only for such files: decimal text is exact and needs no rounding. Raises ValueError for times that aren't finite, or
    that their type does not know to half a tick (float32 has 7 digits), where the nearest tick would be chance.
    """
    exact = times.astype(np.float64)
    if not np.isfinite(exact).all():
        row = int(np.flatnonzero(~np.isfinite(exact))[0])
        raise ValueError(f"the time of row {row} is {times[row]}; wanted a finite number")
    if not len(exact):
        return np.zeros(0, np.int64)
    scale = Fraction(unit_seconds) / Fraction(tick_seconds)
    largest = np.abs(exact).max()
    apart = float(np.spacing(largest.astype(times.dtype))) if np.issubdtype(times.dtype, np.floating) else 0.0
    if largest * float(scale) >= _LARGEST_TICK or apart * float(scale) > 1:
        raise ValueError(
            f"times up to {float(largest):g} as {times.dtype} are known to {apart * float(unit_seconds):.2g} s only, "
            f"coarser than ticks of {float(tick_seconds):g} s; wanted coarser ticks, or times of a wider type"
        )
    return np.rint(exact * scale.numerator / scale.denominator).astype(np.int64)


def sample_at(seconds: Fraction, rate_hz: int) -> int:
    """The sample whose time is nearest to `seconds` (ties to the later one): exact at any rate and length."""
    doubled = 2 * Fraction(seconds) * rate_hz
    return (doubled.numerator + doubled.denominator) // (2 * doubled.denominator)


def _common_tick(a: Clock, b: Clock) -> Fraction:
    return Fraction(1, lcm(a.tick_seconds.denominator, b.tick_seconds.denominator))


def _on_common_ticks(a: Clock, b: Clock) -> tuple[Ticks, Ticks]:
    tick = _common_tick(a, b)
    return _scaled(a.all_ticks(), int(a.tick_seconds / tick)), _scaled(b.all_ticks(), int(b.tick_seconds / tick))


def _scaled(ticks: Ticks, factor: int) -> Ticks:
    largest = max(abs(int(ticks[0])), abs(int(ticks[-1]))) * factor if len(ticks) else 0
    if largest > _LARGEST_TICK:
        raise ValueError(
            f"two clocks have no common tick that fits 64 bits (a tick of {largest} is needed); their tick_seconds "
            "are not those of media, so look at how the clock was made"
        )
    return ticks * np.int64(factor)


def _gap_seconds(ticks: Ticks, a: Clock, b: Clock) -> NDArray[np.float64]:
    # The common tick is 1 / denominator, and a division rounds once: the same gap in any unit is the same number.
    return ticks.astype(np.float64) / _common_tick(a, b).denominator


def _wants_rows(source: Clock) -> None:
    if not source.count:
        raise ValueError("the source clock has no rows, so nothing can be aligned to it")
