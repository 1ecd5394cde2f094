"""Pictures and sound into an MP4 file of H.264 and AAC, the same bytes each time."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.demo.chance import Float
from pipeline.demo.timeline import Timeline

# One thread: with more, x264's choices can depend on which is faster. cpu-independent: without it, with B-frames
# and its macroblock tree, x264's fast paths read memory that nobody has set, and the bytes vary from run to run
# (seen with FFmpeg 8.1's libx264 under MALLOC_PERTURB_); it costs nothing that could be measured here.
VIDEO_OPTIONS = {"preset": "veryfast", "crf": "25", "threads": "1", "x264-params": "cpu-independent=1"}
SOUND_BITS_PER_SECOND = 64_000
SOUND_CHUNK = 1024


def write_media(
    path: Path,
    timeline: Timeline,
    pictures: Iterable[NDArray[np.uint8]],
    sound: Float | None,
    sample_rate: int,
    sideways: bool = False,
) -> None:
    """Write one file.

    pictures: upright RGB [height, width, 3], one for each tick of the timeline. sound: mono in [-1, 1] from
    time 0, as long as it is; None writes no sound track. sideways: store the pictures lying on their left
    side, with a display matrix in the track header that tells players to turn them a quarter clockwise, as
    a phone does.
    """
    with av.open(str(path), "w", format="mp4") as container:
        video: VideoStream | None = None
        audio = _add_sound(container, sample_rate) if sound is not None else None
        said = 0
        for tick, picture in zip(timeline.ticks.tolist(), pictures, strict=True):
            stored = np.ascontiguousarray(np.rot90(picture)) if sideways else picture
            if video is None:
                video = _add_video(container, timeline, stored.shape[1], stored.shape[0], sideways)
            frame = av.VideoFrame.from_ndarray(stored, format="rgb24")
            frame.pts, frame.time_base = tick, timeline.tick_seconds
            container.mux(video.encode(frame))
            if audio is not None and sound is not None:  # keep both tracks side by side in the file
                said = _say(container, audio, sound, said, int(tick * timeline.tick_seconds * sample_rate))
        assert video is not None  # a timeline has at least one tick
        if audio is not None and sound is not None:
            _say(container, audio, sound, said, len(sound))
            container.mux(audio.encode(None))
        container.mux(video.encode(None))


def _add_video(container: OutputContainer, timeline: Timeline, width: int, height: int, sideways: bool) -> VideoStream:
    stream = container.add_stream("libx264", rate=timeline.nominal_rate_hz, options=dict(VIDEO_OPTIONS))
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    # The exact clock, in the encoder and in the file: a frame rate alone would round irregular times to its grid.
    stream.codec_context.time_base = timeline.tick_seconds
    stream.time_base = timeline.tick_seconds
    if sideways:
        # x' = stored height - y, y' = x in 16.16 fixed point; the last entry is 1 in 2.30.
        one = 1 << 16
        stream.set_display_matrix([0, one, 0, -one, 0, 0, height * one, 0, 1 << 30])
    return stream


def _add_sound(container: OutputContainer, sample_rate: int) -> AudioStream:
    stream = container.add_stream("aac", rate=sample_rate)
    stream.codec_context.layout = "mono"
    stream.codec_context.bit_rate = SOUND_BITS_PER_SECOND
    return stream


def _say(container: OutputContainer, stream: AudioStream, sound: Float, start: int, end: int) -> int:
    """Encode whole chunks of sound[start:end], and a last part that is no whole chunk; returns where to go on."""
    end = min(end, len(sound))
    while start < end and (start + SOUND_CHUNK <= end or end == len(sound)):
        part = sound[start : min(start + SOUND_CHUNK, end)].astype(np.float32)
        frame = av.AudioFrame.from_ndarray(part[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = stream.rate, start, Fraction(1, stream.rate)
        container.mux(stream.encode(frame))
        start += len(part)
    return start
