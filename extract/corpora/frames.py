"""How many frames a video has and when they end, without decoding, and remembered from one check to the next."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from cache.memory import FileMemory, stamp_of


@dataclass(frozen=True)
class FrameCount:
    """frames: in the file's first video. end_seconds: of the last one's interval, on the container's time line."""

    frames: int
    end_seconds: Fraction


class FrameCounts:
    """Frame counts by file. memory: where they are kept, beside the store. files_read: how many were not known."""

    def __init__(self, memory: Path) -> None:
        self._memory = FileMemory(memory, "frames")
        self.files_read = 0

    def __call__(self, path: Path) -> FrameCount:
        """Of the file at `path`. Raises MediaError for a file without a video that can be read, OSError."""
        name = os.path.abspath(path)
        stamp = stamp_of(os.stat(name))
        known = self._memory.recall(name, stamp)
        if known is not None:
            return FrameCount(int(known[0]), Fraction(known[1]))
        from extract.decode import frame_clock

        clock = frame_clock(path)
        self.files_read += 1
        start = int(clock.all_ticks()[0]) * clock.tick_seconds if len(clock) else Fraction(0)
        count = FrameCount(len(clock), start + clock.duration_seconds())
        self._memory.keep(name, stamp, [count.frames, str(count.end_seconds)])
        return count
