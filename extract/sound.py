"""The rows of an audio feature: windows or overlapping chunks of sound through a network, onto an exact clock.

Sound comes in pieces of any size and leaves as the same rows. What is held of it is a batch of windows or of chunks,
whatever its length; finished rows are held as the track will keep them.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from cache.clock import Clock
from cache.track import Track, cast
from extract.backbones.registry import Chunks, Windows
from extract.decode import Samples
from extract.forward import Forward
from extract.recipe import FeatureSettings

# A chunk is hundreds of rows and takes the memory of many pictures: by default one goes at a time.
_ROWS_A_CHUNK = 64


def rows_of(name: str, feature: FeatureSettings, forward: Forward) -> SoundRows:
    """Rows of the kind that the feature's backbone reads sound in."""
    sound, rate_hz = feature.spec.sound, feature.spec.rate_hz
    if isinstance(sound, Chunks):
        return ChunkRows(name, sound, rate_hz, feature.dtype, forward)
    assert sound is not None, f"{feature.backbone} is no audio backbone"
    return WindowRows(name, Windows(sound.window_samples, feature.hop_samples), rate_hz, feature.dtype, forward)


class WindowRows:
    """The rows of one audio feature of one clip: row i looks at the window centred on sample first + i * hop.

    first sample                                              end of sound
        |---------|---------|---------|---- hop ----|---------|
        row 0     1         2    [....window....]             no row here
    Where a window reaches beyond the sound it holds silence there.
    """

    def __init__(self, name: str, windows: Windows, rate_hz: int, dtype: str, forward: Forward) -> None:
        self._name, self._rate_hz, self._dtype, self._forward = name, rate_hz, dtype, forward
        self._window, self._hop = windows.window_samples, windows.hop_samples
        self._first: int | None = None
        self._buffer = np.zeros(0, np.float32)  # starts where the next row's window starts
        self._sound_samples = 0
        self._done: list[NDArray[np.floating]] = []

    def add(self, samples: Samples) -> None:
        """The next samples of the clip."""
        if self._first is None:
            self._first = samples.start
            self._buffer = np.zeros(self._window // 2, np.float32)
        self._sound_samples += len(samples.values)
        self._buffer = np.concatenate([self._buffer, samples.values])
        if len(self._buffer) >= self._window + self._hop * self._forward.batch_rows:
            self._flush()

    def finish(self) -> Track:
        """The track of all samples added; of 0 rows if there were none. Raises ValueError if a value overflows."""
        rows_wanted = -(-self._sound_samples // self._hop)
        if self._first is not None:
            self._buffer = np.concatenate([self._buffer, np.zeros(self._window + self._hop, np.float32)])
            self._flush()
        if not self._done:  # the network says how wide its rows would be
            self._keep(self._forward(np.zeros((1, self._window), np.float32))[:0])
        values = np.concatenate(self._done)[:rows_wanted]
        start_seconds = Fraction(self._first or 0, self._rate_hz)
        clock = Clock.regular(Fraction(self._hop, self._rate_hz), len(values), start_seconds)
        return Track.of(values, clock, dtype=self._dtype, name=self._name)

    def _flush(self) -> None:
        if len(self._buffer) < self._window:
            return
        # No more windows than whole hops are here: with a hop longer than the window, the next row may start beyond.
        hops = len(self._buffer) // self._hop
        windows = np.lib.stride_tricks.sliding_window_view(self._buffer, self._window)[:: self._hop][:hops]
        step = self._forward.batch_rows
        for i in range(0, len(windows), step):
            self._keep(self._forward(windows[i : i + step]))
        self._buffer = self._buffer[len(windows) * self._hop :]

    def _keep(self, rows: NDArray[np.float32]) -> None:
        self._done.append(cast(rows, self._dtype, self._name))


class ChunkRows:
    """The rows of one audio feature of one clip whose network reads long sound, in chunks that overlap.

    first sample                                                        end of sound
        |------ first body -------|-context-|
                        |-context-|------ body ------|-context-|
                                           |-context-|----- last body -----|
    Chunk k starts at sample k * body. The first body has the first chunk's left context too, the last one reaches to
    the end; so sound that fits into one chunk is read in one pass. Of each chunk those rows are kept whose centre lies
    in its body (half-open), in whole half samples: at any length no row is there twice and none is missing. Only
    chunks of equal length share a batch; the last one goes alone, as long as it is. The last rows are those whose
    centre lies within the sound, as far as the network gives them; sound that is too short for a row is followed by
    silence and gives one.
    """

    def __init__(self, name: str, chunks: Chunks, rate_hz: int, dtype: str, forward: Forward) -> None:
        self._name, self._rate_hz, self._dtype, self._forward = name, rate_hz, dtype, forward
        self._chunks = chunks
        self._at_once = max(1, forward.batch_rows // _ROWS_A_CHUNK)
        self._first: int | None = None
        self._pieces: list[NDArray[np.float32]] = []  # from the next chunk's first sample on
        self._held_samples = 0
        self._full: list[NDArray[np.float32]] = []  # chunks that wait for their batch
        self._is_first_chunk = True
        self._done: list[NDArray[np.floating]] = []

    def add(self, samples: Samples) -> None:
        """The next samples of the clip."""
        if self._first is None:
            self._first = samples.start
        self._pieces.append(samples.values)
        self._held_samples += len(samples.values)
        length = self._chunk_samples
        if self._held_samples <= length:  # a chunk is full once it is known that more sound follows
            return
        buffer = np.concatenate(self._pieces)
        while len(buffer) > length:
            self._full.append(buffer[:length])
            buffer = buffer[self._chunks.body_samples :]
            if len(self._full) == self._at_once:
                self._flush()
        self._pieces, self._held_samples = [buffer.copy()], len(buffer)

    def finish(self) -> Track:
        """The track of all samples added; of 0 rows if there were none. Raises ValueError if a value overflows."""
        if self._full:
            self._flush()
        if self._held_samples:
            self._finish_with(np.concatenate(self._pieces))
        if not self._done:  # the network says how wide its rows would be
            self._keep(self._forward(self._lengthened(np.zeros(0, np.float32))[None])[0, :0])
        values = np.concatenate(self._done)
        chunks = self._chunks
        first_half_sample = 2 * (self._first or 0) + chunks.first_centre_half_samples
        clock = Clock.regular(
            Fraction(chunks.hop_samples, self._rate_hz), len(values), Fraction(first_half_sample, 2 * self._rate_hz)
        )
        return Track.of(values, clock, dtype=self._dtype, name=self._name)

    @property
    def _chunk_samples(self) -> int:
        return self._chunks.body_samples + 2 * self._chunks.context_samples

    def _flush(self) -> None:
        """Full chunks through the network; of each the rows of its body."""
        stop = self._rows_before(self._chunks.context_samples + self._chunks.body_samples)
        for rows in self._forward(np.stack(self._full)):  # [T, D]
            assert len(rows) >= stop, f"{self._name} gave {len(rows)} rows of a chunk; its spec says {stop} or more"
            self._keep(rows[self._start() : stop])
            self._is_first_chunk = False
        self._full = []

    def _finish_with(self, sound: NDArray[np.float32]) -> None:
        """The last chunk, of which all rows are kept that nothing before it had."""
        rows = self._forward(self._lengthened(sound)[None])[0]  # [T, D]
        stop = max(self._rows_before(len(sound)), 1 if self._is_first_chunk else 0)
        self._keep(rows[self._start() : stop])

    def _start(self) -> int:
        return 0 if self._is_first_chunk else self._rows_before(self._chunks.context_samples)

    def _rows_before(self, sample: int) -> int:
        """How many of a chunk's rows are centred before this sample of the chunk."""
        half_samples = 2 * sample - self._chunks.first_centre_half_samples
        return max(0, -(-half_samples // (2 * self._chunks.hop_samples)))

    def _lengthened(self, sound: NDArray[np.float32]) -> NDArray[np.float32]:
        """The sound, followed by silence where the network needs more."""
        least = self._chunk_samples if self._chunks.fixed else self._chunks.shortest_samples
        return np.pad(sound, (0, max(0, least - len(sound))))

    def _keep(self, rows: NDArray[np.float32]) -> None:
        self._done.append(cast(rows, self._dtype, self._name))


SoundRows = WindowRows | ChunkRows
