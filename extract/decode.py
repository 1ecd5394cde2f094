"""Media into frames and samples: one pass, streamed, on one time line. The only file that knows FFmpeg.

Picture and sound are demuxed together and each keeps the container's presentation times, so a start offset,
an edit list or encoder priming moves both. Frames leave here cropped and scaled, in batches; sound leaves as
mono samples at the wanted rate, with silence where the container has a hole.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from cache.clock import Clock, sample_at
from extract.clips import Side

_BATCH_FRAMES = 32
# FFmpeg's default resampler lets images through at -26 dB; this one at -91 dB.
_RESAMPLER = "filter_size=64:cutoff=0.97:phase_shift=10"
# FFmpeg's default adds the channels of float sound, so that a stereo copy of a mono file is 3 dB louder and leaves
# [-1, 1]; weights that sum to 1 average them.
_MIX = "rematrix_maxval=1"
# Sound whose stated time differs from the counted one by more than this has a hole or an overlap there.
_TOLERANCE_SECONDS = Fraction(1, 50)


class MediaError(Exception):
    """A media file that can't be decoded; the message says which and why."""


@dataclass(frozen=True)
class View:
    """What of each picture is wanted: a square of size_px from the region, of one side or of the whole width."""

    region: str
    size_px: int
    side: Side | None = None


@dataclass(frozen=True, eq=False)
class Frames:
    """pixels: view -> uint8 [N, S, S, 3], RGB, upright. clock: the N presentation times."""

    pixels: dict[View, NDArray[np.uint8]]
    clock: Clock


@dataclass(frozen=True, eq=False)
class Samples:
    """values float32 [N], mono; the first one is sample number `start` of the container's time line at rate_hz."""

    values: NDArray[np.float32]
    start: int
    rate_hz: int


def decode(
    path: Path, *, views: Sequence[View] = (), rate_hz: int | None = None, threads: int = 1
) -> Generator[Frames | Samples]:
    """Decode a media file once, yielding pieces of both streams in the order of the file.

    views: the pictures wanted of every frame; none = the picture is not decoded. rate_hz: the sound's rate;
    None = the sound is not decoded. A file without sound yields no Samples. Raises MediaError.
    """
    try:
        with av.open(str(path)) as container:
            yield from _decode(container, views, rate_hz, threads)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path.name}: {_reason(error)}") from error


def frame_clock(path: Path) -> Clock:
    """The presentation times of a file's frames, read without decoding. Raises MediaError."""
    try:
        with av.open(str(path)) as container:
            stream = _picture_stream(container)
            ticks = [
                packet.pts if packet.pts is not None else packet.dts
                for packet in container.demux(stream)
                # A packet to be discarded is one that an edit list cuts away: needed to decode others, never shown.
                if packet.size and not packet.is_discard and (packet.pts is not None or packet.dts is not None)
            ]
            return _frame_clock(sorted(tick for tick in ticks if tick is not None), _time_base(stream))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path.name}: {_reason(error)}") from error


def _decode(
    container: av.container.InputContainer, views: Sequence[View], rate_hz: int | None, threads: int
) -> Iterator[Frames | Samples]:
    streams: list[av.VideoStream | av.AudioStream] = []
    picture = sound = None
    if views:
        stream = _picture_stream(container)
        stream.codec_context.thread_count = threads
        stream.thread_type = "AUTO"
        streams.append(stream)
        picture = _Picture(views, _time_base(stream))
    if rate_hz is not None and container.streams.audio:
        streams.append(container.streams.audio[0])
        sound = _Sound(rate_hz)
    if not streams:
        return
    for packet in container.demux(*streams):
        for frame in packet.decode():
            if isinstance(frame, av.VideoFrame):
                assert picture is not None
                picture.add(frame)
                if picture.full():
                    yield picture.take()
            elif isinstance(frame, av.AudioFrame):
                assert sound is not None
                yield from sound.add(frame)
    if picture is not None:
        if not picture.count:
            raise ValueError("the video stream has no frame that can be decoded")
        if picture.waiting():
            yield picture.take()
    if sound is not None:
        yield from sound.finish()


class _Picture:
    """Frames of one stream, turned, scaled and cropped as they come, handed out in batches."""

    def __init__(self, views: Sequence[View], time_base: Fraction) -> None:
        self._views = list(dict.fromkeys(views))
        self._time_base = time_base
        self._reformatter = VideoReformatter()
        self._pixels: dict[View, list[NDArray[np.uint8]]] = {view: [] for view in self._views}
        self._ticks: list[int] = []
        self._last: int | None = None
        self.count = 0

    def add(self, frame: av.VideoFrame) -> None:
        tick = frame.pts if frame.pts is not None else frame.dts
        if tick is None:
            raise ValueError(f"frame {self.count} has no presentation time")
        # Two frames at one time happen in damaged files; both keep their row, the second one tick later.
        tick = int(tick) if self._last is None else max(int(tick), self._last + 1)
        self._last = tick
        self._ticks.append(tick)
        self.count += 1
        turns = round(frame.rotation / 90) % 4  # counter-clockwise quarter turns that make the picture upright
        scaled: dict[tuple[int, int], NDArray[np.uint8]] = {}
        for view in self._views:
            left, top, width, height = _upright_size(frame, turns, view)
            if (width, height) not in scaled:
                stored = (height, width) if turns % 2 else (width, height)
                small = self._reformatter.reformat(
                    frame, stored[0], stored[1], "rgb24", interpolation=Interpolation.BICUBIC, threads=1
                )
                scaled[width, height] = np.rot90(small.to_ndarray(), turns)
            self._pixels[view].append(scaled[width, height][top : top + view.size_px, left : left + view.size_px])

    def waiting(self) -> bool:
        return bool(self._ticks)

    def full(self) -> bool:
        return len(self._ticks) >= _BATCH_FRAMES

    def take(self) -> Frames:
        pixels = {view: np.stack(pictures) for view, pictures in self._pixels.items()}  # [N, S, S, 3]
        clock = Clock.explicit(self._ticks, self._time_base)
        self._pixels = {view: [] for view in self._views}
        self._ticks = []
        return Frames(pixels, clock)


class _Sound:
    """Samples of one stream: resampled, mixed to mono, and placed on the container's time line."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._graph: av.filter.Graph | None = None
        self._format: tuple[int, str, str] | None = None
        self._next: int | None = None  # the sample number that comes next

    def add(self, frame: av.AudioFrame) -> Iterator[Samples]:
        form = (frame.sample_rate, frame.format.name, frame.layout.name)
        if self._graph is None or form != self._format:  # the stream may change its format on the way
            yield from self.finish()
            self._graph, self._format = self._resampler(frame), form
        self._graph.push(frame)
        yield from self._pull()

    def finish(self) -> Iterator[Samples]:
        if self._graph is not None:
            self._graph.push(None)
            yield from self._pull()
            self._graph = None

    def _resampler(self, frame: av.AudioFrame) -> av.filter.Graph:
        graph = av.filter.Graph()
        source = graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format,
            layout=frame.layout,
            time_base=frame.time_base or Fraction(1, frame.sample_rate),
        )
        resample = graph.add("aresample", f"{self._rate_hz}:out_sample_fmt=flt:out_chlayout=mono:{_MIX}:{_RESAMPLER}")
        sink = graph.add("abuffersink")
        graph.link_nodes(source, resample, sink).configure()
        return graph

    def _pull(self) -> Iterator[Samples]:
        assert self._graph is not None
        while True:
            try:
                frame = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            assert isinstance(frame, av.AudioFrame)
            values = np.asarray(frame.to_ndarray(), np.float32).reshape(-1)
            stated = None
            if frame.pts is not None and frame.time_base is not None:
                stated = sample_at(frame.pts * frame.time_base, self._rate_hz)
            for part in self._placed(values, stated):
                start = self._next or 0
                self._next = start + len(part)
                yield Samples(part, start, self._rate_hz)

    def _placed(self, values: NDArray[np.float32], stated: int | None) -> Iterator[NDArray[np.float32]]:
        """These samples: after silence, by the second, where there is a hole before them; less what overlaps."""
        if self._next is None:
            self._next = stated or 0
        shift = stated - self._next if stated is not None else 0
        if abs(shift) <= _TOLERANCE_SECONDS * self._rate_hz:
            shift = 0
        for filled in range(0, shift, self._rate_hz):
            yield np.zeros(min(self._rate_hz, shift - filled), np.float32)
        kept = values[max(0, -shift) :]
        if len(kept):
            yield kept


def _upright_size(frame: av.VideoFrame, turns: int, view: View) -> tuple[int, int, int, int]:
    """Where the view lies once the whole upright picture is scaled: left, top, and the picture's scaled size.

    The whole picture is scaled, not only the region: the scaler's cost is in reading the source, and every
    pixel format works alike.
    """
    full_width, full_height = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
    left, width = 0.0, float(full_width)
    if view.side is not None:
        width = full_width / 2
        left = 0.0 if view.side == "left" else full_width - width
    top, height = 0.0, float(full_height)
    if view.region == "square":
        edge = min(width, height)
        left, top = left + (width - edge) / 2, (height - edge) / 2
        width = height = edge
    scaled_width = max(view.size_px, round(full_width * view.size_px / width))
    scaled_height = max(view.size_px, round(full_height * view.size_px / height))
    scaled_left = min(round(left * view.size_px / width), scaled_width - view.size_px)
    scaled_top = min(round(top * view.size_px / height), scaled_height - view.size_px)
    return scaled_left, scaled_top, scaled_width, scaled_height


def _picture_stream(container: av.container.InputContainer) -> av.VideoStream:
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:  # a cover picture is no video
            return stream
    raise ValueError("the file has no video stream")


def _time_base(stream: av.VideoStream) -> Fraction:
    if not stream.time_base:
        raise ValueError("the video stream states no time base, so its frames have no times")
    return stream.time_base


def _frame_clock(ticks: list[int], time_base: Fraction) -> Clock:
    for i in range(1, len(ticks)):
        ticks[i] = max(ticks[i], ticks[i - 1] + 1)
    return Clock.explicit(np.array(ticks, np.int64), time_base)


def _reason(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"{type(error).__name__}: {text}" if isinstance(error, av.error.FFmpegError) else text
