"""Follow one person through a clip, by where and how large the face is."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from cache.clock import Clock
from extract.clips import Side
from extract.faces.face import Face
from extract.faces.settings import FaceSettings


class Follower:
    """Chooses, frame by frame and in their order, the face of one person; for one clip.

    1. The face that overlaps the last place most is the same person, from `overlap` on: intersection over union,
       which falls with distance and with difference in size. That person may cross into the other half.
    2. If no face does, there is none in this frame, and the last place stays good up to `hold_seconds` after it was
       seen: a glance away or a missed frame.
    3. After that (at once, where frames lie further apart) the last place is forgotten, and the largest face, area
       times score, starts anew; of a clip with a side only a face whose centre is in that half of the picture. So
       after a cut in the film the face is found again within `hold_seconds`.
    """

    def __init__(self, settings: FaceSettings, side: Side | None) -> None:
        self._overlap, self._side = settings.overlap, side
        self._hold = exact(settings.hold_seconds)
        self._last: tuple[Face, Fraction] | None = None

    def choose(self, faces: Sequence[Face], width: int, seconds: Fraction) -> Face | None:
        """The person's face among those of a frame, or None. width: the picture's, in pixels. seconds: its time."""
        chosen = None
        if self._last is not None:
            place, when = self._last
            chosen = max(faces, key=lambda face: overlap(face, place), default=None)
            if chosen is not None and overlap(chosen, place) < self._overlap:
                chosen = None
            if chosen is None and seconds - when > self._hold:
                self._last = None
        if self._last is None:
            there = [face for face in faces if self._side is None or _half(face, width) == self._side]
            chosen = max(there, key=lambda face: face.score * float(face.box[2] * face.box[3]), default=None)
        if chosen is not None:
            self._last = (chosen, seconds)
        return chosen


def overlap(a: Face, b: Face) -> float:
    """Intersection over union of two boxes, in [0, 1]."""
    first, second = a.box.astype(np.float64), b.box.astype(np.float64)
    start = np.maximum(first[:2], second[:2])
    end = np.minimum(first[:2] + first[2:], second[:2] + second[2:])
    shared = float(np.prod(np.maximum(end - start, 0)))
    return shared / float(np.prod(first[2:]) + np.prod(second[2:]) - shared)


def held(found: NDArray[np.bool_], clock: Clock, hold: Fraction) -> NDArray[np.bool_]:
    """[T] True for rows without a face that may use the last place: those of short gaps between two found rows.

    found: bool [T]. hold: seconds, exact. A gap lasts from the last row with a face to the next one:

        row     0     1     2     3     4           row 1 and 2 are held if t3 - t0 <= hold, and else neither is;
        found   yes   no    no    yes   no          row 4 never: nobody knows whether the face comes back
    """
    if found.shape != (len(clock),):
        raise ValueError(f"found has shape {found.shape}, its clock {len(clock)} rows; wanted as many")
    out = np.zeros(len(found), np.bool_)
    rows, ticks = np.flatnonzero(found), clock.all_ticks()
    for before in np.flatnonzero(np.diff(rows) > 1):
        last, following = int(rows[before]), int(rows[before + 1])
        if (int(ticks[following]) - int(ticks[last])) * clock.tick_seconds <= hold:
            out[last + 1 : following] = True
    return out


def exact(seconds: float) -> Fraction:
    """The number of seconds that was written: 0.3 is three tenths, not the float nearest to it."""
    return Fraction(str(seconds))


def _half(face: Face, width: int) -> Side:
    return "left" if float(face.box[0] + face.box[2] / 2) < width / 2 else "right"
