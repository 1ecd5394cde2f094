"""One face in one picture: how sure, where, and the fifteen numbers that it is stored as."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")  # left and right as one sees them
MARKS = ("score", "left", "top", "width", "height", *(f"{point}_{axis}" for point in POINTS for axis in "xy"))


@dataclass(frozen=True, eq=False)
class Face:
    """score in [0, 1]; 1 where a corpus gives the face. Places are in pixels of the upright picture.

    box float32 [4]: left, top, width, height; 0 is the left edge of the first pixel. points float32 [5, 2]: x, y in
    the order of POINTS, None = not known; 0 is the centre of the first pixel, as in OpenCV and in face templates.
    """

    score: float
    box: NDArray[np.float32]
    points: NDArray[np.float32] | None

    def __post_init__(self) -> None:
        shapes = f"box {self.box.shape}, points {None if self.points is None else self.points.shape}"
        if self.box.shape != (4,) or (self.points is not None and self.points.shape != (5, 2)):
            raise ValueError(f"a face wants box [4] and points [5, 2] or none; got {shapes}")
        if not (np.isfinite(self.box).all() and (self.box[2:] > 0).all()):
            raise ValueError(f"the box is {self.box.tolist()}; wanted a finite place and edges longer than 0 pixels")
        if self.points is not None and not np.isfinite(self.points).all():
            raise ValueError(f"the points are {self.points.tolist()}; wanted finite places, or none at all")
        if not 0 <= self.score <= 1:
            raise ValueError(f"the score is {self.score}; wanted 0 to 1")

    @classmethod
    def of_marks(cls, row: NDArray[np.float32]) -> Face | None:
        """The face that `marks` wrote: row [15], NaN points = none known; None where there is no box."""
        if row.shape != (len(MARKS),):
            raise ValueError(f"marks have shape {row.shape}; wanted ({len(MARKS)},): {', '.join(MARKS)}")
        if np.isnan(row[1:5]).any():
            return None
        points = row[5:].reshape(5, 2)
        return cls(float(row[0]), row[1:5], None if np.isnan(points).any() else points)

    def marks(self) -> NDArray[np.float32]:
        """float32 [15] in the order of MARKS; NaN where there are no points."""
        points = np.full(10, np.nan, np.float32) if self.points is None else self.points.reshape(-1)
        return np.concatenate([[self.score], self.box, points]).astype(np.float32)
