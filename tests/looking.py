"""What the tests of stage one look at: fixed squares, cut out of every frame."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from extract.clips import Side
from extract.decode import Hearing, Look
from extract.picture import Picture, Pixels, View
from extract.views import cut_fixed

RATE = 16000
HEARD = Hearing(RATE)


def looks(*views: View, side: Side | None = None) -> Look:
    """A look that cuts these views out of every picture."""

    def look(picture: Picture | None, seconds: Fraction) -> Mapping[View, Pixels | None]:
        del seconds
        return {view: None if picture is None else cut_fixed(picture, view, side) for view in views}

    return look
