"""A folder of a clip's face squares, laid out as ABAW's `cropped_aligned`: 00001.jpg ..., a missing number = no face.

It is filled aside and gets its name once it is whole, so a folder with the clip's name is a finished one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from extract.picture import Pixels

_QUALITY = 95


class CropFolder:
    """Squares in, row by row, then `finish` or `drop`. Raises ValueError if the clip's folder is there already."""

    def __init__(self, parent: Path, clip: str) -> None:
        self.path = parent / clip
        if self.path.exists():
            raise ValueError(f"{self.path} is there already, and nothing finished is overwritten; delete it first")
        self._aside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        self._aside.mkdir(parents=True)
        self._rows: list[int] = []

    def add(self, row: int, square: Pixels) -> None:
        """Row 0 is 00001.jpg."""
        Image.fromarray(square).save(self._file(row), quality=_QUALITY, subsampling=0)
        self._rows.append(row)

    def finish(self, valid: Sequence[bool]) -> Path:
        """Keep the rows that are valid in the end, and give the folder its name."""
        for row in self._rows:
            if not valid[row]:
                self._file(row).unlink()
        os.rename(self._aside, self.path)
        return self.path

    def drop(self) -> None:
        """Leave nothing of what is not finished; a finished folder stays."""
        shutil.rmtree(self._aside, ignore_errors=True)

    def _file(self, row: int) -> Path:
        return self._aside / f"{row + 1:05d}.jpg"
