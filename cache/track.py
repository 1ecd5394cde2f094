"""One feature of one clip: values [T, D], valid [T] and the clock that says when each row happens.

A row that is not valid (no face found, a window outside the sound) is marked, never dropped, and holds NaN,
so that whoever forgets the mask notices. A valid row is finite. Values are float16 by default; a value that
does not fit is an error here, where its name is still known, not an infinity later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cache.clock import Clock

DTYPES = ("float16", "float32", "float64")


@dataclass(frozen=True, eq=False)
class Track:
    """values [T, D] float, valid bool [T] (True = observed), clock of T rows. T may be 0: a silent clip."""

    values: NDArray[np.floating]
    valid: NDArray[np.bool_]
    clock: Clock

    def __post_init__(self) -> None:
        self._refuse_shapes()
        finite = _finite_rows(self.values)
        bad = np.flatnonzero(self.valid & ~finite)
        if len(bad):
            raise ValueError(
                f"{len(bad)} valid rows hold values that are not finite, the first is row {bad[0]}; mark such rows "
                "as not valid, or find out why the backbone made them"
            )
        if not np.isnan(self.values[~self.valid]).all():
            raise ValueError("rows that are not valid must hold NaN; make the track with Track.of")

    def _refuse_shapes(self) -> None:
        shapes = f"values {self.values.shape}, valid {self.valid.shape}, clock of {len(self.clock)} rows"
        if self.values.ndim != 2 or self.valid.shape != self.values.shape[:1] or len(self.clock) != len(self.values):
            raise ValueError(f"a track wants values [T, D], valid [T] and a clock of T rows; got {shapes}")
        if self.values.shape[1] == 0:
            raise ValueError(f"a track has 1 column or more; got {shapes}")
        if self.values.dtype.name not in DTYPES or self.valid.dtype != np.bool_:
            raise ValueError(
                f"values are {self.values.dtype}, valid {self.valid.dtype}; wanted one of {', '.join(DTYPES)} and bool"
            )

    @classmethod
    def checked(cls, values: NDArray[np.floating], valid: NDArray[np.bool_], clock: Clock) -> Self:
        """A track of numbers that were looked at when it was first made, and have not changed since.

        For stores that know so by checksums: to look at all of them again takes longer than to read them. Shapes and
        types are checked.
        """
        track = object.__new__(cls)
        for name, value in (("values", values), ("valid", valid), ("clock", clock)):
            object.__setattr__(track, name, value)
        track._refuse_shapes()
        return track

    @classmethod
    def of(
        cls, values: ArrayLike, clock: Clock, valid: ArrayLike | None = None, *, dtype: str = "float16", name: str = ""
    ) -> Track:
        """Make a track: cast to `dtype`, put NaN where not valid. `name` is for messages (the feature's name).

        Raises ValueError if a finite value overflows dtype: the message says which feature and what to do.
        """
        array = np.asarray(values)
        mask = np.ones(len(array), bool) if valid is None else np.array(valid, bool)
        if mask.shape != array.shape[:1]:
            raise ValueError(f"valid has shape {mask.shape}, values {array.shape}; wanted one mark a row")
        held = cast(array if mask.all() else np.where(mask[:, None], array, 0), dtype, name)
        if not mask.all():
            held[~mask] = np.nan
        return cls(held, mask, clock)

    @property
    def width(self) -> int:
        """D, the number of columns."""
        return int(self.values.shape[1])

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, start: int, stop: int) -> Track:
        """Rows [start, stop)."""
        return Track.checked(self.values[start:stop], self.valid[start:stop], self.clock.rows(start, stop))


def cast(values: NDArray[Any], dtype: str, name: str = "") -> NDArray[np.floating]:
    """The values as a track of this dtype keeps them, always a copy.

    Raises ValueError if a finite value overflows dtype: the message says which feature (`name`) and what to do.
    """
    with np.errstate(over="ignore"):
        held: NDArray[np.floating] = values.astype(dtype)
    if np.isfinite(values).all() and not np.isfinite(held).all():
        raise ValueError(
            f"{name or 'a track'} has values up to {float(np.abs(values).max()):.4g}, more than {dtype} holds "
            f"({np.finfo(dtype).max:.4g}); set `dtype: float32` for this feature"
        )
    return held


def _finite_rows(values: NDArray[np.floating]) -> NDArray[np.bool_]:
    """[T] whether all values of a row are finite."""
    if values.dtype == np.float16 and values.dtype.isnative:
        # By the bits, six times as fast: numpy widens each half to ask it. All bits of the exponent: no finite number.
        bits = np.ascontiguousarray(values).view(np.uint16)
        return np.asarray(((bits & 0x7C00) != 0x7C00).all(1))
    return np.asarray(np.isfinite(values).all(1))
