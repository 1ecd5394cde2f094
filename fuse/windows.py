"""Where windows start, and how their predictions go back to rows.

rows of a clip      0 . . . . . . . . . . . . . . . . n          windows are half-open: [start, start + length)
windows             [-------)
                          [-------)
                                [-------)
                                   [-------)                     the last one ends at n, so no row is lost
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def window_starts(rows: int, length: int, hop: int, offset: int = 0) -> NDArray[np.int64]:
    """First rows of the windows that cover a clip of `rows` rows, the last one right-aligned.

    offset in [0, hop): where the second window's grid begins, so that training can see other cuts each epoch;
    row 0 is always covered. A clip shorter than `length` is one window that starts at 0 and is padded.
    """
    if rows < 1 or length < 1 or not 1 <= hop <= length or not 0 <= offset < hop:
        raise ValueError(
            f"rows {rows}, length {length}, hop {hop}, offset {offset}: wanted rows and length of 1 or more, "
            "1 <= hop <= length and 0 <= offset < hop"
        )
    last = max(rows - length, 0)
    inner = np.arange(offset, last, hop, dtype=np.int64)
    return np.unique(np.concatenate([[0], inner, [last]]))


class Stitcher:
    """Predictions of overlapping windows, averaged into one prediction a row: shape [R, 2] over all clips."""

    def __init__(self, rows: int, columns: int = 2) -> None:
        self._sums = np.zeros((rows, columns))
        self._counts = np.zeros(rows)

    def add(self, rows: NDArray[np.int64], predictions: NDArray[np.float32]) -> None:
        """rows [N] (each any number of times), predictions [N, 2]."""
        np.add.at(self._sums, rows, predictions)
        np.add.at(self._counts, rows, 1)

    def predictions(self) -> NDArray[np.float64]:
        """[R, 2]. Raises ValueError if a row was never predicted."""
        missing = np.flatnonzero(self._counts == 0)
        if len(missing):
            raise ValueError(
                f"{len(missing)} of {len(self._counts)} rows have no prediction, the first is {missing[0]}"
            )
        return self._sums / self._counts[:, None]
