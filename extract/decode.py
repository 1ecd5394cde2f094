"""Media into pictures and samples: one pass, streamed, on one time line. The only file that knows FFmpeg.

Picture and sound are demuxed together and each keeps the container's presentation times, so a start offset,
an edit list or encoder priming moves both. Each frame is looked at as it comes, upright and with square pixels, and
only what was cut out of it is kept; sound leaves as mono samples at the wanted rate, with silence where the
container has a hole. A packet that can't be decoded costs what is in it, is counted, and the rest goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from cache.clock import Clock, sample_at
from extract.picture import Picture, Pixels, View

_BATCH_FRAMES = 32
# FFmpeg's default resampler lets images through at -26 dB; this one at -91 dB.
_RESAMPLER = "filter_size=64:cutoff=0.97:phase_shift=10"
# FFmpeg's default adds the channels of float sound, so that a stereo copy of a mono file is 3 dB louder and leaves
# [-1, 1]; weights that sum to 1 average them.
_MIX = "rematrix_maxval=1"
# Sound whose stated time differs from the counted one by more than this has a hole or an overlap there.
_TOLERANCE_SECONDS = Fraction(1, 50)

Look = Callable[[Picture | None, Fraction], Mapping[View, Pixels | None]]  # None: the frame has no picture


class MediaError(Exception):
    """A media file that can't be decoded; the message says which and why."""


@dataclass(frozen=True)
class Hearing:
    """How sound is wanted: its rate, and which of its channels."""

    rate_hz: int
    channels: Literal["averaged", "first", "second"] = "averaged"


@dataclass(frozen=True, eq=False)
class Cut:
    """pixels uint8 [M, S, S, 3], RGB, of the M frames that had something to cut; present bool [N] says which."""

    pixels: NDArray[np.uint8]
    present: NDArray[np.bool_]

    @classmethod
    def of(cls, pictures: Sequence[Pixels | None], size_px: int) -> Cut:
        """From one square a frame, None where there is nothing."""
        there = [picture for picture in pictures if picture is not None]
        pixels = np.stack(there) if there else np.zeros((0, size_px, size_px, 3), np.uint8)
        return cls(pixels, np.array([picture is not None for picture in pictures], bool))


@dataclass(frozen=True, eq=False)
class Frames:
    """N frames in a row. clock: their presentation times. cut: what was cut out of them, by view."""

    cut: dict[View, Cut]
    clock: Clock


@dataclass(frozen=True, eq=False)
class Samples:
    """values float32 [N], mono; the first one is sample number `start` of the container's time line."""

    values: NDArray[np.float32]
    start: int
    hearing: Hearing


@dataclass(frozen=True)
class Damage:
    """The last piece of a file of which so many packets could not be decoded."""

    pictures: int
    sounds: int


def decode(
    path: Path, *, look: Look | None = None, hearings: Sequence[Hearing] = (), threads: int = 1
) -> Generator[Frames | Samples | Damage]:
    """Decode a media file once, yielding pieces of both streams in the order of the file.

    look: called with each frame and its time in seconds, gives what is kept of it; None = the picture is not decoded.
    hearings: how the sound is wanted; none = it is not decoded. A file without sound yields no Samples. Raises
    MediaError.
    """
    try:
        with av.open(str(path)) as container:
            yield from _decode(container, look, hearings, threads)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path.name}: {_reason(error)}") from error


def pictures(path: Path, threads: int = 1) -> Generator[tuple[Picture, Fraction]]:
    """Each frame, upright, with its time in seconds. A picture is good until the next one. Raises MediaError."""
    try:
        with av.open(str(path)) as container:
            stream = _picture_stream(container)
            reel, tally = _Reel(stream, threads), _Tally()
            for packet in container.demux(stream):
                for frame in _decoded(packet, tally):
                    if isinstance(frame, av.VideoFrame):
                        tick, picture = reel.add(frame)
                        yield picture, tick * reel.time_base
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
    container: av.container.InputContainer, look: Look | None, hearings: Sequence[Hearing], threads: int
) -> Iterator[Frames | Samples | Damage]:
    streams: list[av.VideoStream | av.AudioStream] = []
    reel = batch = None
    sounds: list[_Sound] = []
    if look is not None:
        stream = _picture_stream(container)
        streams.append(stream)
        reel = _Reel(stream, threads)
        batch = Batch(look, reel.time_base)
    if hearings and container.streams.audio:
        streams.append(container.streams.audio[0])
        sounds = [_Sound(hearing) for hearing in dict.fromkeys(hearings)]
    if not streams:
        return
    tally = _Tally()
    for packet in container.demux(*streams):
        for frame in _decoded(packet, tally):
            if isinstance(frame, av.VideoFrame):
                assert reel is not None
                assert batch is not None
                batch.add(*reel.add(frame))
                if batch.full():
                    yield batch.take()
            elif isinstance(frame, av.AudioFrame):
                for sound in sounds:
                    yield from sound.add(frame)
    if batch is not None:
        if not batch.count:
            raise ValueError(f"the video stream has no frame that can be decoded{_because(tally)}")
        if batch.waiting():
            yield batch.take()
    for sound in sounds:
        yield from sound.finish()
        if not sound.heard and tally.sounds:
            raise ValueError(f"the sound stream has nothing that can be decoded{_because(tally)}")
    if tally.pictures or tally.sounds:
        yield Damage(tally.pictures, tally.sounds)


class _Tally:
    """Packets that could not be decoded, and what was wrong with the first of them."""

    def __init__(self) -> None:
        self.pictures = self.sounds = 0
        self.first = ""

    def add(self, kind: str, error: Exception) -> None:
        self.first = self.first or _reason(error)
        if kind == "video":
            self.pictures += 1
        else:
            self.sounds += 1


def _decoded(packet: av.Packet[Any], tally: _Tally) -> list[Any]:
    """The frames of a packet; none, counted, if it is damaged."""
    try:
        return list(packet.decode())
    except av.error.FFmpegError as error:
        tally.add(packet.stream.type, error)
        return []


class _Reel:
    """Frames of one stream on their way to being pictures: their ticks, and what makes them upright."""

    def __init__(self, stream: av.VideoStream, threads: int) -> None:
        stream.codec_context.thread_count = threads
        stream.thread_type = "AUTO"
        self.time_base = _time_base(stream)
        aspect = stream.sample_aspect_ratio
        self._aspect = aspect if aspect and aspect > 0 else Fraction(1)
        self._reformatter = VideoReformatter()
        self._last: int | None = None
        self._count = 0

    def add(self, frame: av.VideoFrame) -> tuple[int, Picture]:
        tick = frame.pts if frame.pts is not None else frame.dts
        if tick is None:
            raise ValueError(f"frame {self._count} has no presentation time")
        # Two frames at one time happen in damaged files; both keep their row, the second one tick later.
        self._last = int(tick) if self._last is None else max(int(tick), self._last + 1)
        self._count += 1
        return self._last, _VideoPicture(frame, self._reformatter, self._aspect)


class _VideoPicture:
    """A decoded frame as a Picture: turned upright, its pixels made square, each size converted once."""

    def __init__(self, frame: av.VideoFrame, reformatter: VideoReformatter, aspect: Fraction) -> None:
        self._frame, self._reformatter = frame, reformatter
        self._turns = round(frame.rotation / 90) % 4  # counter-clockwise quarter turns that make it upright
        wide = max(1, round(frame.width * aspect))  # of the picture as it is stored, once its pixels are square
        self.width, self.height = (frame.height, wide) if self._turns % 2 else (wide, frame.height)
        self._scaled: dict[tuple[int, int], Pixels] = {}

    def rgb(self, width: int | None = None, height: int | None = None) -> Pixels:
        size = (width or self.width, height or self.height)
        if size not in self._scaled:
            stored = size[::-1] if self._turns % 2 else size
            small = self._reformatter.reformat(
                self._frame, stored[0], stored[1], "rgb24", interpolation=Interpolation.BICUBIC, threads=1
            )
            self._scaled[size] = np.rot90(small.to_ndarray(), self._turns)
        return self._scaled[size]


class Batch:
    """Frames looked at as they come, and handed out many at a time."""

    def __init__(self, look: Look, time_base: Fraction) -> None:
        self._look, self._time_base = look, time_base
        self._seen: list[Mapping[View, Pixels | None]] = []
        self._ticks: list[int] = []
        self.count = 0

    def add(self, tick: int, picture: Picture | None) -> None:
        self._seen.append(self._look(picture, tick * self._time_base))
        self._ticks.append(tick)
        self.count += 1

    def waiting(self) -> bool:
        return bool(self._ticks)

    def full(self) -> bool:
        return len(self._ticks) >= _BATCH_FRAMES

    def take(self) -> Frames:
        views = self._seen[0].keys()
        cut = {view: Cut.of([seen[view] for seen in self._seen], view.size_px) for view in views}
        clock = Clock.explicit(self._ticks, self._time_base)
        self._seen, self._ticks = [], []
        return Frames(cut, clock)


class _Sound:
    """Samples of one stream: resampled, mixed to mono, and placed on the container's time line."""

    def __init__(self, hearing: Hearing) -> None:
        self._hearing, self._rate_hz = hearing, hearing.rate_hz
        self._graph: av.filter.Graph | None = None
        self._format: tuple[int, str, str] | None = None
        self._next: int | None = None  # the sample number that comes next

    @property
    def heard(self) -> bool:
        """Whether there was any sample yet."""
        return self._next is not None

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
        line = [source, resample, sink]
        chosen = {"averaged": None, "first": 0, "second": 1}[self._hearing.channels]
        if chosen is not None:
            channels = len(frame.layout.channels)
            if chosen >= channels:
                raise ValueError(f"the sound has {channels} channel, so `channels: second` has nothing to hear")
            line.insert(1, graph.add("pan", f"mono|c0=c{chosen}"))
        graph.link_nodes(*line).configure()
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
                yield Samples(part, start, self._hearing)

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
    if isinstance(error, av.error.FFmpegError | OSError) and error.strerror:
        return str(error.strerror)  # without the number and the path, which whoever reports this knows
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _because(tally: _Tally) -> str:
    return f" ({tally.first})" if tally.first else ""
