"""One person followed: who it is, when the place is forgotten, which half, and which gaps are held."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from faces import face
from hypothesis import given
from hypothesis import strategies as st

from cache.clock import Clock
from extract.clips import Side
from extract.faces.face import MARKS, Face
from extract.faces.follow import Follower, exact, held, overlap
from extract.faces.settings import FaceSettings

WIDTH = 401
A, NEAR_A, B = face(50, 60, 70, 90), face(57, 63, 73, 94), face(280, 50, 100, 120)


def follower(hold_seconds: float = 0.2, minimum: float = 0.3, side: Side | None = None) -> Follower:
    return Follower(FaceSettings(method="detect", weights="x", hold_seconds=hold_seconds, overlap=minimum), side)


def at(frame: int, rate_hz: int = 25) -> Fraction:
    return Fraction(frame, rate_hz)


# ------------------------------------------------------------------------------------------------ faces


def test_marks_come_back_as_the_face() -> None:
    points = np.arange(10).reshape(5, 2) * 1.7
    there = face(3, 5, 7, 11, score=0.8, points=points)
    again = Face.of_marks(there.marks())
    assert len(MARKS) == len(there.marks()) == 15
    assert dict(zip(MARKS, there.marks().tolist(), strict=True))["nose_y"] == pytest.approx(5 * 1.7)
    assert again is not None
    assert again.points is not None
    np.testing.assert_array_equal(again.marks(), there.marks())
    without = Face.of_marks(face(3, 5, 7, 11).marks())
    assert without is not None
    assert without.points is None
    assert Face.of_marks(np.full(15, np.nan, np.float32)) is None


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ([0.9, 1, 2, 0, 4, *range(10)], r"the box is .*; wanted a finite place and edges longer than 0 pixels"),
        ([0.9, np.inf, 2, 3, 4, *range(10)], r"the box is .*wanted a finite place"),
        ([0.9, 1, 2, 3, 4, np.inf, *range(9)], r"the points are .*; wanted finite places"),
        ([1.1, 1, 2, 3, 4, *range(10)], r"the score is 1\.1\d*; wanted 0 to 1"),
        ([0.9] * 14, r"marks have shape \(14,\); wanted \(15,\): score, left, top"),
    ],
)
def test_a_face_that_exists_is_right(row: list[float], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Face.of_marks(np.array(row, np.float32))


def test_a_face_of_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"wants box \[4\] and points \[5, 2\] or none; got .*points \(4, 2\)"):
        Face(0.5, A.box, np.zeros((4, 2), np.float32))


def test_overlap_by_hand() -> None:
    assert overlap(A, A) == 1
    assert overlap(A, B) == 0
    assert overlap(face(0, 0, 4, 4), face(2, 1, 4, 4)) == pytest.approx(6 / 26)  # shared 2 x 3, together 16 + 16 - 6
    assert overlap(face(0, 0, 10, 10), face(3, 3, 5, 5)) == pytest.approx(0.25), "one inside the other: size counts"


# ------------------------------------------------------------------------------------------------ rules


def test_the_largest_starts_and_stays() -> None:
    person = follower()
    assert person.choose([A, B], WIDTH, at(0)) is B
    larger = face(20, 20, 190, 190)
    assert person.choose([larger, B], WIDTH, at(1)) is B, "a larger one comes in: still the same person"


def test_size_counts_times_score() -> None:
    small, large = face(0, 0, 30, 30, score=0.95), face(200, 0, 33, 30, score=0.7)
    assert follower().choose([small, large], WIDTH, at(0)) is small  # 855 to 693


def test_the_nearest_in_place_and_size_is_the_same_person() -> None:
    person = follower(minimum=0.1)
    person.choose([A], WIDTH, at(0))
    around = face(20, 30, 160, 170)
    assert person.choose([around, NEAR_A], WIDTH, at(1)) is NEAR_A


def test_a_place_holds_its_time_and_not_longer() -> None:
    """Seen at 0; another face elsewhere is nobody for 0.2 s, and a new start at the first frame after that."""
    person = follower(0.2)
    person.choose([A], WIDTH, at(0))
    chosen = [person.choose([B], WIDTH, at(i)) for i in range(1, 8)]
    assert chosen == [None, None, None, None, None, B, B]  # frame 5 is at 0.2 s exactly: held to the end


def test_who_comes_back_in_time_is_the_same_person() -> None:
    person = follower(0.2)
    person.choose([A], WIDTH, at(0))
    for i in range(1, 5):
        assert person.choose([], WIDTH, at(i)) is None
    assert person.choose([B, NEAR_A], WIDTH, at(5)) is NEAR_A


def test_who_was_forgotten_starts_anew() -> None:
    person = follower(0.2)
    person.choose([A], WIDTH, at(0))
    for i in range(1, 7):
        assert person.choose([], WIDTH, at(i)) is None
    assert person.choose([B, NEAR_A], WIDTH, at(7)) is B, "the largest, not the nearest to where somebody once was"


def test_frames_far_apart_are_followed_all_the_same() -> None:
    """A frame a second: longer than the hold, but nothing was missed in between."""
    person = follower(0.2)
    person.choose([A], WIDTH, at(0, 1))
    assert person.choose([NEAR_A, B], WIDTH, at(1, 1)) is NEAR_A
    assert person.choose([B], WIDTH, at(2, 1)) is B, "and a cut is answered at once"


@pytest.mark.parametrize(("side", "wanted"), [("left", A), ("right", B), (None, B)])
def test_a_side_is_a_half_of_the_picture(side: Side | None, wanted: Face) -> None:
    assert follower(side=side).choose([A, B], WIDTH, at(0)) is wanted


def test_the_middle_of_the_face_decides_the_side() -> None:
    across = face(160, 60, 80, 90)  # its middle is at 200 of 401: left
    assert follower(side="left").choose([across, B], WIDTH, at(0)) is across
    assert follower(side="right").choose([across], WIDTH, at(0)) is None
    at_the_middle = face(160.5, 60, 80, 90)
    assert follower(side="right").choose([at_the_middle], WIDTH, at(0)) is at_the_middle


def test_a_person_may_walk_across() -> None:
    person = follower(side="left")
    for i, left in enumerate(range(50, 330, 20)):
        walking = face(left, 60, 70, 90)
        assert person.choose([walking], WIDTH, at(i)) is walking
    for i in range(14, 20):
        person.choose([], WIDTH, at(i))
    assert person.choose([walking], WIDTH, at(20)) is None, "a new start looks in its own half again"


# ------------------------------------------------------------------------------------------------ gaps


def found(text: str) -> np.ndarray:
    return np.array([letter == "x" for letter in text])


def drawn(held_rows: np.ndarray) -> str:
    return "".join("h" if row else "." for row in held_rows)


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        ("x....x", ".hhhh."),  # 5 steps of 40 ms
        ("x.....x", "......."),  # 6
        ("..x..x..", "...hh..."),  # before the first and after the last nobody knows
        ("x.x......x.x", ".h........h."),
        ("xxx", "..."),
        ("...", "..."),
        ("", ""),
    ],
)
def test_gaps_at_25_hz(seen: str, wanted: str) -> None:
    clock = Clock.regular(Fraction(1, 25), len(seen), Fraction(7, 3))
    assert drawn(held(found(seen), clock, Fraction(1, 5))) == wanted


def test_gaps_are_measured_in_time_not_rows() -> None:
    #                       x  .    x    .    .    x    .    x
    clock = Clock.explicit([0, 199, 201, 250, 300, 401, 500, 602], Fraction(1, 1000))
    assert drawn(held(found("x.x..x.x"), clock, Fraction(1, 5))) == "...hh..."


def test_the_limit_is_exact() -> None:
    """0.3 is three tenths: the float is a little less, and a gap of exactly 0.3 s would be lost with it."""
    assert exact(0.3) == Fraction(3, 10) != Fraction(0.3)
    clock = Clock.regular(Fraction(1, 10), 4)
    assert drawn(held(found("x..x"), clock, exact(0.3))) == ".hh."
    assert drawn(held(found("x..x"), Clock.regular(Fraction(1001, 10000), 4), exact(0.3))) == "...."


@given(st.lists(st.booleans(), max_size=29), st.lists(st.integers(1, 9), min_size=29, max_size=29), st.integers(0, 20))
def test_held_is_what_its_definition_says(seen: list[bool], steps: list[int], hold: int) -> None:
    ticks = np.cumsum(steps)[: len(seen)]
    rows = held(np.array(seen, bool), Clock.explicit(ticks, Fraction(1, 7)), Fraction(hold, 7))
    for row, is_held in enumerate(rows):
        before = [i for i in range(row) if seen[i]]
        after = [i for i in range(row + 1, len(seen)) if seen[i]]
        short = bool(before and after) and ticks[after[0]] - ticks[before[-1]] <= hold
        assert is_held == (not seen[row] and short)


def test_as_many_marks_as_rows() -> None:
    with pytest.raises(ValueError, match=r"found has shape \(3,\), its clock 4 rows; wanted as many"):
        held(found("x.x"), Clock.regular(Fraction(1, 10), 4), Fraction(1))
