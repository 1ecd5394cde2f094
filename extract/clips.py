"""One clip of a corpus: a person's part of some media, with its labels, before anything is decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cache.clock import Clock
from cache.key import digest_of
from cache.track import Track

Side = Literal["left", "right"]
Part = Literal["picture", "crops", "box", "sound"]  # what of a clip a feature is made from


@dataclass(frozen=True, eq=False)
class ClipLabels:
    """values float32 [N, 2] of valence and arousal in [-1, 1], valid [N]; clock None = one row a video frame.

    native_range: what -1 and 1 were in the corpus's files, before a reader mapped them.
    """

    values: NDArray[np.float32]
    valid: NDArray[np.bool_]
    clock: Clock | None = None
    native_range: tuple[float, float] = (-1.0, 1.0)

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != 2 or self.valid.shape != self.values.shape[:1]:
            raise ValueError(f"labels want values [N, 2] and valid [N]; got {self.values.shape}, {self.valid.shape}")
        if self.clock is not None and len(self.clock) != len(self.values):
            raise ValueError(f"labels have {len(self.values)} rows, their clock {len(self.clock)}; wanted as many")
        inside = np.abs(self.values[self.valid]) <= 1
        if not inside.all():
            row = int(np.flatnonzero(self.valid)[np.flatnonzero(~inside.all(1))[0]])
            raise ValueError(
                f"{int((~inside).any(1).sum())} valid label rows lie outside [-1, 1], the first is row {row}: "
                f"{self.values[row].tolist()}"
            )

    def on(self, frames: Clock) -> tuple[Track, str | None]:
        """The labels as a track, on their own clock or that of the decoded frames, and a note where counts differ."""
        clock, note = self.clock, None
        if clock is None:
            clock = frames.resized(len(self.values))
            if len(frames) != len(self.values):
                note = f"{len(self.values)} label rows for {len(frames)} frames"
        return Track.of(self.values, clock, self.valid, dtype="float32", name="labels"), note


@dataclass(frozen=True, eq=False)
class Images:
    """A folder of numbered pictures, one a frame: `00001.jpg`. A missing number is a frame without a picture.

    first: the number of row 0. cropped: they show one aligned face, not the whole picture. clock: when the rows
    happen, all of them, missing ones included; None = they are the frames of the clip's media.
    """

    folder: Path
    first: int
    cropped: bool
    clock: Clock | None = None


@dataclass(frozen=True, eq=False)
class GivenFaces:
    """Where the face is, as a corpus says: row i belongs to frame i of the upright picture, in its pixels.

    boxes float32 [N, 4]: left, top, width, height. points float32 [N, 5, 2]: x, y of the eye on the picture's left,
    the other eye, nose tip, mouth corner on the picture's left, the other corner; None = not given. valid bool [N].
    """

    boxes: NDArray[np.float32]
    points: NDArray[np.float32] | None
    valid: NDArray[np.bool_]

    def __post_init__(self) -> None:
        rows = len(self.boxes)
        points = None if self.points is None else self.points.shape
        if self.boxes.shape != (rows, 4) or self.valid.shape != (rows,) or points not in (None, (rows, 5, 2)):
            raise ValueError(
                f"given faces want boxes [N, 4], points [N, 5, 2] or none, valid [N]; "
                f"got {self.boxes.shape}, {points}, {self.valid.shape}"
            )
        there = self.boxes[self.valid]
        if not (np.isfinite(there).all() and (there[:, 2:] > 0).all()):
            raise ValueError("valid boxes want finite places and edges longer than 0 pixels")


@dataclass(frozen=True, eq=False)
class Clip:
    """One person in one recording.

    name: unique in the corpus. media: the video or sound file, None where there are only images or imported features.
    media_name: its path within the corpus (or that of the images, or the name): clips that share it are one group
    where no subject is known. side: which person, of two. sound: a file of its own, instead of the media's sound.
    """

    name: str
    media: Path | None
    media_name: str
    split: str
    subject: str | None = None
    side: Side | None = None
    labels: ClipLabels | None = None
    sound: Path | None = None
    images: Images | None = None
    faces: GivenFaces | None = None

    def files(self) -> list[Path]:
        """Every file and folder that must be there."""
        some = (self.media, self.sound, self.images.folder if self.images is not None else None)
        return [path for path in some if path is not None]

    @property
    def main_part(self) -> Part:
        """What the clip itself is known by: its picture, else its crops, else its sound."""
        if self.media is not None or (self.images is not None and not self.images.cropped):
            return "picture"
        return "crops" if self.images is not None else "sound"

    def source(self, part: Part, digest: Callable[[Path], str]) -> str:
        """The digest of what a feature of this part is made from. digest: of a file, or of a folder of images.

        A plain video is known by its bytes alone, so that its features are found again under any name; a side, crops,
        given faces, a sound file of its own join in for the features that they change. Raises OSError.
        """
        if part == "sound":
            heard = self.sound or self.media
            return digest(heard) if heard is not None else digest_of({"sound": None})
        made_from: dict[str, Any] = {}
        images = self.images if self.images is not None and self.images.cropped == (part == "crops") else None
        if images is not None:
            made_from |= {"images": digest(images.folder), "first": images.first}
            if images.clock is not None:
                made_from["clock"] = _said(images.clock)
        if self.media is not None and (images is None or images.clock is None):
            made_from["media"] = digest(self.media)
        if self.side is not None and images is None:
            made_from["side"] = self.side
        if part == "box" and self.faces is not None:
            made_from["faces"] = _digest_of_faces(self.faces)
        return str(made_from["media"]) if made_from.keys() == {"media"} else digest_of(made_from)


def _said(clock: Clock) -> dict[str, Any]:
    ticks = None if clock.ticks is None else clock.ticks.tolist()
    return {**clock.attributes(), "ticks": ticks}


def _digest_of_faces(faces: GivenFaces) -> str:
    return digest_of(
        {
            "boxes": np.ascontiguousarray(faces.boxes[faces.valid], "<f4").tobytes().hex(),
            "points": None
            if faces.points is None
            else np.ascontiguousarray(faces.points[faces.valid], "<f4").tobytes().hex(),
            "valid": faces.valid.tobytes().hex(),
        }
    )
