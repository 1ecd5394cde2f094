"""The rows of a visual feature: squares cut out of frames, through a network, onto the frames' clock."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cache.clock import Clock
from cache.track import Track, cast
from extract.decode import Cut
from extract.forward import Forward
from extract.picture import Pixels, View
from extract.recipe import FeatureSettings


class VisualRows:
    """The rows of one visual feature of one clip, one a frame; a frame without a square is a row that is not valid."""

    def __init__(self, name: str, feature: FeatureSettings, view: View, forward: Forward) -> None:
        self.view = view
        self._name, self._dtype, self._forward = name, feature.dtype, forward
        self._waiting: list[Pixels] = []
        self._present: list[NDArray[np.bool_]] = []
        self._done: list[NDArray[np.floating]] = []

    def add(self, cut: Cut) -> None:
        """The squares of the next frames."""
        self._waiting.append(cut.pixels)
        self._present.append(cut.present)
        if sum(map(len, self._waiting)) >= self._forward.batch_rows:
            self._flush()

    def finish(self, clock: Clock, valid: NDArray[np.bool_] | None = None) -> Track:
        """The track on the clock of all frames added. valid [T]: which of them count after all; None = all."""
        if sum(map(len, self._waiting)):
            self._flush()
        if not self._done:  # not one square in the whole clip: the network says how wide its rows would be
            blank = np.zeros((1, self.view.size_px, self.view.size_px, 3), np.uint8)
            self._done.append(cast(self._forward(blank)[:0], self._dtype, self._name))
        present, values = np.concatenate(self._present), np.concatenate(self._done)
        self._done = []  # a long clip's rows are large: not more copies of them than needed
        if not present.all():
            rows = values
            values = np.full((len(present), rows.shape[1]), np.nan, rows.dtype)
            values[present] = rows
        kept = present if valid is None else present & valid
        values[~kept] = np.nan
        return Track(values, kept, clock)

    def _flush(self) -> None:
        rows, step = np.concatenate(self._waiting), self._forward.batch_rows
        self._done += [
            cast(self._forward(rows[i : i + step]), self._dtype, self._name) for i in range(0, len(rows), step)
        ]
        self._waiting = []
