"""One upright picture of a clip, whatever it came from, and what is cut out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # [H, W, 3], RGB


class Picture(Protocol):
    """A frame of a video or an image file, upright. Sizes are in pixels of the upright picture."""

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...

    def rgb(self, width: int | None = None, height: int | None = None) -> Pixels:
        """[height, width, 3]: the whole picture, scaled where a size is given. Not to be written to."""
        ...


@dataclass(frozen=True)
class View:
    """A square of size_px that a feature wants of every frame: of the face, the centre, or the whole picture."""

    region: Literal["face", "square", "whole"]
    size_px: int
