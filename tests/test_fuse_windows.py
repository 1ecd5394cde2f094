"""Where windows start, and predictions put back: every row covered, overlaps averaged, nothing missing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuse.windows import Stitcher, window_starts


@st.composite
def grids(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """rows, length, hop, offset that fit together."""
    length = draw(st.integers(1, 37))
    hop = draw(st.integers(1, length))
    return draw(st.integers(1, 211)), length, hop, draw(st.integers(0, hop - 1))


@given(grids())
def test_every_row_is_covered_and_no_window_leaves_the_clip(grid: tuple[int, int, int, int]) -> None:
    rows, length, hop, offset = grid
    starts = window_starts(rows, length, hop, offset)
    covered = np.zeros(rows, int)
    for start in starts:
        covered[start : start + length] += 1
    assert covered.min() >= 1
    assert starts[0] == 0
    assert starts.dtype == np.int64
    if rows <= length:
        assert starts.tolist() == [0]
    else:
        assert starts[-1] == rows - length  # right-aligned: it ends with the clip
        assert (np.diff(starts) > 0).all()
        assert (np.diff(starts) <= hop).all()
        on_grid = (starts - offset) % hop == 0
        assert on_grid[1:-1].all()


@given(grids())
def test_without_an_offset_there_are_no_more_windows_than_needed(grid: tuple[int, int, int, int]) -> None:
    rows, length, hop, _ = grid
    assert len(window_starts(rows, length, hop)) == 1 + max(0, -(-(rows - length) // hop))


def test_a_case_by_hand() -> None:
    assert window_starts(11, 5, 3).tolist() == [0, 3, 6]
    assert window_starts(12, 5, 3).tolist() == [0, 3, 6, 7]
    assert window_starts(12, 5, 3, 2).tolist() == [0, 2, 5, 7]
    assert window_starts(4, 5, 3, 2).tolist() == [0]


@pytest.mark.parametrize(
    ("rows", "length", "hop", "offset"),
    [(0, 5, 3, 0), (7, 0, 1, 0), (7, 5, 0, 0), (7, 5, 6, 0), (7, 5, 3, 3), (7, 5, 3, -1)],
)
def test_impossible_grids_are_refused(rows: int, length: int, hop: int, offset: int) -> None:
    with pytest.raises(ValueError, match=f"rows {rows}, length {length}, hop {hop}, offset {offset}: wanted"):
        window_starts(rows, length, hop, offset)


@given(grids(), st.integers(0, 2**32 - 1))
def test_windows_cut_and_stitched_are_the_whole(grid: tuple[int, int, int, int], seed: int) -> None:
    rows, length, hop, offset = grid
    whole = np.random.default_rng(seed).normal(size=(rows, 2)).astype(np.float32)
    stitcher = Stitcher(rows)
    for start in window_starts(rows, length, hop, offset):
        place = np.arange(start, min(start + length, rows))
        stitcher.add(place, whole[place])
    # Up to 37 equal float32 numbers, summed in float64 and divided again: the last bits of float64 at most.
    np.testing.assert_allclose(stitcher.predictions(), whole, rtol=1e-14)


def test_overlaps_are_averaged_also_within_one_call() -> None:
    stitcher = Stitcher(3)
    stitcher.add(np.array([0, 1, 1]), np.array([[1, 2], [3, 4], [5, 8]], np.float32))
    stitcher.add(np.array([2, 1]), np.array([[7, 7], [10, 0]], np.float32))
    np.testing.assert_array_equal(stitcher.predictions(), [[1, 2], [6, 4], [7, 7]])


def test_a_row_without_a_prediction_is_refused() -> None:
    stitcher = Stitcher(7)
    stitcher.add(np.array([0, 1, 3, 6]), np.zeros((4, 2), np.float32))
    with pytest.raises(ValueError, match="3 of 7 rows have no prediction, the first is 2"):
        stitcher.predictions()
