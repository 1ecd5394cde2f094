"""Pictures in memory for the tests of faces, and a face drawn so that each of its points can be told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from extract.faces.face import Face

Pixels = NDArray[np.uint8]
Places = NDArray[np.float64]  # [N, 2]: x, y, from pixel centres


@dataclass(frozen=True, eq=False)
class Still:
    """A picture that is there already: pixels uint8 [H, W, 3]."""

    pixels: Pixels

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    def rgb(self, width: int | None = None, height: int | None = None) -> Pixels:
        if width is None or height is None:
            return self.pixels
        return np.asarray(Image.fromarray(self.pixels).resize((width, height), Image.Resampling.BICUBIC))


def face(
    left: float, top: float, width: float, height: float, *, score: float = 0.9, points: Places | None = None
) -> Face:
    box = np.array([left, top, width, height], np.float32)
    return Face(score, box, None if points is None else points.astype(np.float32))


def spots(places: Places, width: int, height: int, spread_px: float) -> Pixels:
    """A black picture with a smooth bright spot about each place."""
    x, y = np.arange(width), np.arange(height)[:, None]
    light = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * spread_px**2)) for px, py in places)
    return np.repeat(np.clip(250 * light, 0, 255).round().astype(np.uint8)[..., None], 3, axis=2)


def centre_of(pixels: Pixels, near: NDArray[np.float64], reach_px: int) -> NDArray[np.float64]:
    """[2]: the centre of light, from pixel centres, in the square of reach_px about a place."""
    x, y = np.round(near).astype(int)
    left, top = max(0, x - reach_px), max(0, y - reach_px)
    part = pixels[top : y + reach_px + 1, left : x + reach_px + 1, 0].astype(float)
    rows, columns = np.arange(part.shape[0])[:, None], np.arange(part.shape[1])
    return np.array([(part * columns).sum(), (part * rows).sum()]) / part.sum() + (left, top)
