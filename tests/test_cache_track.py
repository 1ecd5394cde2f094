"""A track can't be malformed: what is refused, and that the message says why."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from cache.clock import Clock
from cache.track import Track

T, D = 7, 5
CLOCK = Clock.regular(Fraction(1, 25), T)


def values(dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(3).normal(size=(T, D)).astype(dtype)


def test_of_casts_marks_and_keeps_the_caller_s_array() -> None:
    mine, valid = values(), np.array([True, False, True, True, False, True, True])
    before = mine.copy()
    track = Track.of(mine, CLOCK, valid)
    assert (track.values.dtype, track.width, len(track)) == (np.float16, D, T)
    np.testing.assert_array_equal(track.valid, valid)
    assert np.isnan(track.values[~valid]).all()
    np.testing.assert_array_equal(track.values[valid], before[valid].astype(np.float16))
    np.testing.assert_array_equal(mine, before)
    valid[0] = False
    assert track.valid[0], "the track has marks of its own"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_rows_that_are_not_valid_hold_nan_whatever_was_there(dtype: str) -> None:
    mine = values()
    mine[2], mine[4] = np.inf, 1e30  # neither is seen: those rows are marked
    valid = np.ones(T, bool)
    valid[[2, 4]] = False
    track = Track.of(mine, CLOCK, valid, dtype=dtype)
    assert track.values.dtype == dtype
    assert np.isnan(track.values[[2, 4]]).all()
    assert np.isfinite(track.values[valid]).all()


def test_rows_are_a_track_of_a_part() -> None:
    track = Track.of(values(), CLOCK, [True] * 3 + [False] + [True] * 3)
    part = track.rows(2, 6)
    np.testing.assert_array_equal(part.values, track.values[2:6])
    np.testing.assert_array_equal(part.valid, [True, False, True, True])
    assert part.clock == CLOCK.rows(2, 6)


def test_a_silent_clip_has_a_track_of_no_rows() -> None:
    track = Track.of(np.zeros((0, D)), Clock.regular(Fraction(1, 25), 0))
    assert (len(track), track.width) == (0, D)


def test_wrong_shapes_are_refused_with_every_shape() -> None:
    right = values("float16")
    marks = np.ones(T, bool)
    with pytest.raises(ValueError, match=r"values \(7, 5\), valid \(6,\), clock of 7 rows"):
        Track(right, marks[:6], CLOCK)
    with pytest.raises(ValueError, match=r"values \(7, 5\), valid \(7,\), clock of 11 rows"):
        Track(right, marks, Clock.regular(Fraction(1, 25), 11))
    with pytest.raises(ValueError, match=r"values \(35,\), valid \(7,\), clock of 7 rows"):
        Track(right.reshape(-1), marks, CLOCK)
    with pytest.raises(ValueError, match=r"1 column or more; got values \(7, 0\)"):
        Track(right[:, :0], marks, CLOCK)
    with pytest.raises(ValueError, match=r"valid has shape \(3,\), values \(7, 5\); wanted one mark a row"):
        Track.of(right, CLOCK, [True] * 3)


def test_wrong_types_are_refused() -> None:
    with pytest.raises(ValueError, match="values are int64, valid bool; wanted one of float16, float32, float64"):
        Track(np.zeros((T, D), np.int64), np.ones(T, bool), CLOCK)
    with pytest.raises(ValueError, match="values are float32, valid uint8"):
        Track(values(), np.ones(T, np.uint8), CLOCK)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_valid_row_that_is_not_finite_is_refused(bad: float) -> None:
    mine = values()
    mine[5, 3] = bad
    with pytest.raises(ValueError, match="1 valid rows hold values that are not finite, the first is row 5"):
        Track.of(mine, CLOCK, name="face")


def test_a_number_in_a_row_that_is_not_valid_is_refused() -> None:
    with pytest.raises(ValueError, match=r"rows that are not valid must hold NaN; make the track with Track\.of"):
        Track(values(), np.arange(T) != 4, CLOCK)


def test_an_overflow_names_the_feature_the_value_and_the_remedy() -> None:
    mine = values()
    mine[3, 2] = -70000
    with pytest.raises(ValueError, match=r"face has values up to 7e\+04, more than float16 holds .* `dtype: float32`"):
        Track.of(mine, CLOCK, name="face")
    remedied = Track.of(mine, CLOCK, name="face", dtype="float32")
    assert remedied.values[3, 2] == -70000


def test_the_largest_float16_still_fits() -> None:
    mine = values()
    mine[0, 0] = np.finfo(np.float16).max
    assert Track.of(mine, CLOCK).values[0, 0] == 65504


def test_every_half_is_taken_for_what_it_is() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)[:, None]
    clock = Clock.regular(Fraction(1, 25), len(halves))
    with pytest.raises(ValueError, match=f"{2 * 2**10} valid rows hold values that are not finite, the first is row"):
        Track(halves, np.ones(len(halves), bool), clock)
    finite = np.isfinite(halves.astype(np.float64)).all(1)
    assert len(Track.of(halves, clock, finite)) == len(halves)
    swapped = halves.astype(">f2")
    assert len(Track.of(swapped, clock, finite)) == len(halves)
    with pytest.raises(ValueError, match="2048 valid rows hold values that are not finite"):
        Track(swapped, np.ones(len(halves), bool), clock)


def test_a_checked_track_is_not_looked_at_again_but_has_the_right_shapes() -> None:
    bad = np.full((T, D), np.inf, np.float32)
    assert Track.checked(bad, np.ones(T, bool), CLOCK).values is bad
    with pytest.raises(ValueError, match="a track wants values"):
        Track.checked(bad[1:], np.ones(T, bool), CLOCK)
    with pytest.raises(ValueError, match="wanted one of float16"):
        Track.checked(np.zeros((T, D), "i8"), np.ones(T, bool), CLOCK)
