"""The face pass of one clip: where to cut each frame while it is there, and at the end which rows were right."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from cache.clock import Clock
from extract.clips import GivenFaces, Side
from extract.faces.face import MARKS, Face
from extract.faces.follow import Follower, exact, held
from extract.faces.settings import FaceSettings
from extract.picture import Picture

Finder = Callable[[Picture], list[Face]]  # a Detector, of this thread alone
Marks = NDArray[np.float32]  # [T, 15], columns as in MARKS; NaN where there is no face


class FacePass:
    """One clip's frames in order through `look`, then once `finish`; all in one thread.

    source: what finds faces in a picture, of which one person is followed; or where the corpus says that the face is;
    or the marks of an earlier pass, which give the same places without looking. Rows beyond those have no face.
    """

    def __init__(self, settings: FaceSettings, side: Side | None, source: Finder | GivenFaces | Marks) -> None:
        if settings.method == "crops":
            raise ValueError("faces.method is crops, so no face is looked for; wanted detect or box")
        if isinstance(source, np.ndarray) and source.shape[1:] != (len(MARKS),):
            raise ValueError(f"marks have shape {source.shape}; wanted [T, {len(MARKS)}]: {', '.join(MARKS)}")
        self._source = source
        self._follower = Follower(settings, side)
        self._hold = exact(settings.hold_seconds)
        self._last: tuple[Face, Fraction] | None = None
        self._rows: list[Face | None] = []
        self._pictures: list[bool] = []

    def look(self, picture: Picture | None, seconds: Fraction) -> Face | None:
        """Where to cut this frame: at its face, or for up to `hold_seconds` at the last one, else nowhere: None.

        picture None: the frame has no picture (a missing number in a folder of images), so nothing can be cut.
        """
        face = self._find(picture, seconds) if picture is not None else None
        self._rows.append(face)
        self._pictures.append(picture is not None)
        if face is not None:
            self._last = (face, seconds)
            return face
        if picture is None or self._last is None or seconds - self._last[1] > self._hold:
            return None
        return self._last[0]

    def finish(self, clock: Clock) -> tuple[Marks, NDArray[np.bool_], NDArray[np.bool_]]:
        """marks float32 [T, 15], found bool [T], valid bool [T]. clock: of the T frames that were looked at.

        found: a face was found in that very frame; the marks of other rows are NaN, and so are points that nobody
        gave. valid: found, or held in a gap that turned out short enough; `look` gave a place to all of these, and
        perhaps to more.
        """
        rows = len(self._rows)
        if len(clock) != rows:
            raise ValueError(f"{rows} frames were looked at, but their clock has {len(clock)} rows; wanted as many")
        marks = np.full((rows, len(MARKS)), np.nan, np.float32)
        for row, face in enumerate(self._rows):
            if face is not None:
                marks[row] = face.marks()
        found = np.array([face is not None for face in self._rows], np.bool_)
        return marks, found, found | (held(found, clock, self._hold) & np.array(self._pictures, np.bool_))

    def _find(self, picture: Picture, seconds: Fraction) -> Face | None:
        row, source = len(self._rows), self._source
        if isinstance(source, np.ndarray):
            return Face.of_marks(source[row]) if row < len(source) else None
        if isinstance(source, GivenFaces):
            return _given(source, row)
        return self._follower.choose(source(picture), picture.width, seconds)


def _given(faces: GivenFaces, row: int) -> Face | None:
    if row >= len(faces.boxes) or not faces.valid[row]:
        return None
    points = faces.points[row] if faces.points is not None else None
    return Face(1.0, faces.boxes[row], points if points is not None and np.isfinite(points).all() else None)
