"""One clip of a corpus: a person's part of a media file, with its labels, before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cache.clock import Clock
from cache.key import digest_of
from cache.track import Track

Side = Literal["left", "right"]


@dataclass(frozen=True, eq=False)
class ClipLabels:
    """values float32 [N, 2] of valence and arousal in [-1, 1], valid [N]; clock None = one row a video frame."""

    values: NDArray[np.float32]
    valid: NDArray[np.bool_]
    clock: Clock | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != 2 or self.valid.shape != self.values.shape[:1]:
            raise ValueError(f"labels want values [N, 2] and valid [N]; got {self.values.shape}, {self.valid.shape}")
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
class Clip:
    """name: unique in the corpus. media_name: the file's path within the corpus. side: which person, of two."""

    name: str
    media: Path
    media_name: str
    split: str
    subject: str | None = None
    side: Side | None = None
    labels: ClipLabels | None = None

    def source(self, media_digest: str) -> str:
        """The digest of what this clip is cut from: the media's bytes, and the side where one is chosen."""
        return media_digest if self.side is None else digest_of({"media": media_digest, "side": self.side})
