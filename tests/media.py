"""Tiny real media for the tests, with the times, clicks, offsets, holes and turns asked for.

H.264 and AAC in MP4; in .mov the sound is lossless, in .mpg it is MP2.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Sound = NDArray[np.float32]

WIDTH, HEIGHT = 74, 46  # upright pixels; even, as yuv420p wants, and nothing else in the tests is of this size
MPEG_TICK = Fraction(1, 90000)
_AAC_FRAME = 1024
_STORED_AS = {  # counter-clockwise turns that make it upright -> the track's display matrix
    0: None,
    90: (0, -1, 1, 0),
    180: (-1, 0, 0, -1),
    270: (0, 1, -1, 0),
}


def even_ticks(frames: int, rate_hz: Fraction | int, tick_seconds: Fraction = MPEG_TICK, first: int = 0) -> list[int]:
    """Ticks of a constant frame rate, each rounded down to the container's clock, as encoders do."""
    return [first + int(Fraction(i) / rate_hz / tick_seconds) for i in range(frames)]


def brightness(i: int) -> int:
    """The grey level of frame i of `plain`: tells frames apart after encoding."""
    return 40 + 37 * i % 170


def plain(i: int) -> Picture:
    """One grey level a frame."""
    return np.full((HEIGHT, WIDTH, 3), brightness(i), np.uint8)


def quarters(i: int) -> Picture:
    """Upright: red top left, green top right, blue bottom left, white bottom right."""
    del i
    picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    middle, centre = HEIGHT // 2, WIDTH // 2
    picture[:middle, :centre], picture[:middle, centre:] = (220, 20, 20), (20, 200, 20)
    picture[middle:, :centre], picture[middle:, centre:] = (20, 20, 220), (230, 230, 230)
    return picture


def click(at_seconds: float, length_seconds: float, rate_hz: int = 48000, channels: int = 1) -> Sound:
    """[channels, N] silence with one short smooth pulse whose peak is at at_seconds."""
    time = np.arange(round(length_seconds * rate_hz)) / rate_hz
    pulse = 0.9 * np.exp(-0.5 * ((time - at_seconds) / 0.0004) ** 2)
    return np.tile(pulse.astype(np.float32), (channels, 1))


def tone(hertz: float, length_seconds: float, rate_hz: int = 48000, channels: int = 1, loudness: float = 0.5) -> Sound:
    """[channels, N] a sine."""
    time = np.arange(round(length_seconds * rate_hz)) / rate_hz
    return np.tile((loudness * np.sin(2 * np.pi * hertz * time)).astype(np.float32), (channels, 1))


def write_media(
    path: Path,
    ticks: Sequence[int] | None = None,
    *,
    tick_seconds: Fraction = MPEG_TICK,
    picture: Callable[[int], Picture] = plain,
    turned: int = 0,
    aspect: Fraction | None = None,
    sound: Sound | None = None,
    sound_rate_hz: int = 48000,
    sound_start_seconds: Fraction = Fraction(0),
    hole: tuple[int, int] | None = None,
) -> Path:
    """Write one file. ticks: presentation times of the frames, None = no picture.

    turned: store the pictures so that they must be turned by so many degrees counter-clockwise to be upright, and
    say so in the file. aspect: of a pixel, width to height. sound: [channels, N], None = no sound; its first sample is
    at sound_start_seconds. hole: AAC frames [first, last) of the sound are left out, with the times of the others as
    they are.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    packets: list[av.Packet] = []
    with av.open(str(path), "w") as container:
        video = audio = None
        if ticks is not None:
            video = _add_video(container, picture(0), tick_seconds, turned)
            if aspect is not None:
                video.codec_context.sample_aspect_ratio = aspect
        if sound is not None:
            codec = {".mpg": "mp2", ".mov": "pcm_s16le"}.get(path.suffix, "aac")
            audio = container.add_stream(codec, rate=sound_rate_hz)
            audio.codec_context.layout = {1: "mono", 2: "stereo"}[len(sound)]
            if codec != "pcm_s16le":
                audio.codec_context.bit_rate = 128_000
        if video is not None:
            for i, tick in enumerate(ticks or ()):
                stored = np.ascontiguousarray(np.rot90(picture(i), -turned // 90))
                frame = av.VideoFrame.from_ndarray(stored, format="rgb24")
                frame.pts, frame.time_base = tick, tick_seconds
                packets += video.encode(frame)
            packets += video.encode(None)
        if audio is not None and sound is not None:
            first = int(sound_start_seconds * sound_rate_hz)
            for n, start in enumerate(range(0, sound.shape[1], _AAC_FRAME)):
                if hole is not None and hole[0] <= n < hole[1]:
                    continue
                part = np.ascontiguousarray(sound[:, start : start + _AAC_FRAME])
                form = "fltp"
                if codec == "pcm_s16le":
                    part, form = np.ascontiguousarray((part * 32767).round().astype(np.int16).T.reshape(1, -1)), "s16"
                heard = av.AudioFrame.from_ndarray(part, format=form, layout=audio.codec_context.layout.name)
                heard.sample_rate, heard.pts, heard.time_base = sound_rate_hz, first + start, Fraction(1, sound_rate_hz)
                packets += audio.encode(heard)
            packets += audio.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def _add_video(
    container: av.container.OutputContainer, first: Picture, tick_seconds: Fraction, turned: int
) -> av.VideoStream:
    stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "12", "threads": "1"})
    stream.height, stream.width = first.shape[:2] if turned % 180 == 0 else first.shape[1::-1]
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = stream.time_base = tick_seconds
    matrix = _STORED_AS[turned]
    if matrix is not None:
        a, b, c, d = (value << 16 for value in matrix)
        stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
    return stream


def write_affwild2(
    root: Path, clips: Iterable[tuple[str, str, Sequence[tuple[float, float]]]], subjects: dict[str, str] | None = None
) -> Path:
    """The label files of a tree as ABAW ships it: (clip, folder of its split, rows). Media are written apart."""
    for name, folder, rows in clips:
        file = root / "VA_Estimation_Challenge" / folder / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = ["valence,arousal", *(f"{valence:g},{arousal:g}" for valence, arousal in rows)]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if subjects is not None:
        with (root / "subjects.csv").open("w", newline="", encoding="utf-8") as handle:
            csv.writer(handle).writerows([("clip", "subject"), *subjects.items()])
    return root
