"""Folders of numbered pictures: crops of faces, or whole frames, one a row of a clock."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cache.clock import Clock
from extract.clips import Images
from extract.decode import Batch, Damage, Frames, Look, MediaError
from extract.picture import Pixels

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")


def numbered(folder: Path) -> dict[int, Path]:
    """The pictures of a folder by the number that is their name. Raises ValueError where two have one number."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and path.stem.isdecimal():
            number = int(path.stem)
            if number in found:
                raise ValueError(f"{found[number]} and {path.name} have one number; keep one of them")
            found[number] = path
    return found


def look_through(images: Images, clock: Clock, look: Look) -> Generator[Frames | Damage]:
    """Every row of the clock: what `look` cuts out of its picture; where the number is missing it is shown None.

    A picture that can't be read counts as missing and as damage. Raises MediaError for a folder that can't be used.
    """
    try:
        paths = numbered(images.folder)
    except (OSError, ValueError) as error:
        raise MediaError(f"{images.folder.name}: {error}") from error
    if not any(images.first <= number < images.first + len(clock) for number in paths):
        raise MediaError(f"{images.folder.name}: no picture is numbered {images.first} to {len(clock)}")
    damaged, batch = 0, Batch(look, clock.tick_seconds)
    for row, tick in enumerate(clock.all_ticks().tolist()):
        path, picture = paths.get(images.first + row), None
        if path is not None:
            try:
                picture = ImagePicture(path)
            except (OSError, UnidentifiedImageError, ValueError):
                damaged += 1
        batch.add(tick, picture)
        if batch.full():
            yield batch.take()
    if batch.waiting():
        yield batch.take()
    if damaged:
        yield Damage(damaged, 0)


class ImagePicture:
    """An image file as a Picture. Raises OSError if it can't be read."""

    def __init__(self, path: Path) -> None:
        with Image.open(path) as opened:
            self._image = ImageOps.exif_transpose(opened).convert("RGB")  # cameras say which way is up
        self.width, self.height = self._image.size

    def rgb(self, width: int | None = None, height: int | None = None) -> Pixels:
        size = (width or self.width, height or self.height)
        image = self._image if size == self._image.size else self._image.resize(size, Image.Resampling.BICUBIC)
        return np.asarray(image)
