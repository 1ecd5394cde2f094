"""Fixed squares of a picture: its centre or all of it, of one side or of the whole width."""

from __future__ import annotations

from extract.clips import Side
from extract.picture import Picture, Pixels, View


def cut_fixed(picture: Picture, view: View, side: Side | None) -> Pixels:
    """uint8 [S, S, 3] of the view's region.

    The whole picture is scaled, not only the region: the scaler's cost is in reading the source, every pixel format
    works alike, and views of one size share it.
    """
    left, width = 0.0, float(picture.width)
    if side is not None:
        width = picture.width / 2
        left = 0.0 if side == "left" else picture.width - width
    top, height = 0.0, float(picture.height)
    if view.region == "square":
        edge = min(width, height)
        left, top = left + (width - edge) / 2, (height - edge) / 2
        width = height = edge
    size = view.size_px
    scaled_width = max(size, round(picture.width * size / width))
    scaled_height = max(size, round(picture.height * size / height))
    scaled_left = min(round(left * size / width), scaled_width - size)
    scaled_top = min(round(top * size / height), scaled_height - size)
    scaled = picture.rgb(scaled_width, scaled_height)
    return scaled[scaled_top : scaled_top + size, scaled_left : scaled_left + size]
