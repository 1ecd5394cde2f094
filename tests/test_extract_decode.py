"""Decoding against files whose times, pictures and sounds are known because the tests wrote them."""

from __future__ import annotations

import json
import os
import re
import threading
import wave
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from looking import HEARD, RATE, looks
from media import HEIGHT, MPEG_TICK, WIDTH, brightness, click, even_ticks, quarters, tone, write_media
from numpy.typing import NDArray

from cache.clock import Clock
from extract.clips import Side
from extract.decode import Damage, Frames, Hearing, MediaError, Samples, decode, frame_clock, pictures
from extract.picture import View
from extract.recipe import Channels

WHOLE, SQUARE = View("whole", 31), View("square", 29)
RED, GREEN, BLUE, WHITE = (220, 20, 20), (20, 200, 20), (20, 20, 220), (230, 230, 230)


def frames_of(
    path: Path, view: View = WHOLE, threads: int = 1, side: Side | None = None
) -> tuple[Clock, NDArray[np.uint8]]:
    pieces = list(decode(path, look=looks(view, side=side), threads=threads))
    assert all(isinstance(piece, Frames) for piece in pieces)
    ticks = np.concatenate([piece.clock.all_ticks() for piece in pieces])
    pixels = np.concatenate([piece.cut[view].pixels for piece in pieces])
    return Clock.explicit(ticks, pieces[0].clock.tick_seconds), pixels


def sound_of(path: Path, rate_hz: int = RATE) -> tuple[int, NDArray[np.float32]]:
    """First sample's number and all samples; pieces must follow one another without a gap."""
    pieces = list(decode(path, hearings=[Hearing(rate_hz)]))
    assert all(isinstance(piece, Samples) and piece.hearing.rate_hz == rate_hz for piece in pieces)
    for before, after in pairwise(pieces):
        assert before.start + len(before.values) == after.start
    return pieces[0].start, np.concatenate([piece.values for piece in pieces])


def peak_seconds(path: Path) -> float:
    start, values = sound_of(path)
    return (start + int(np.abs(values).argmax())) / RATE


# ------------------------------------------------------------------------------------------------ pictures


TIMES = {
    "25 fps": (even_ticks(67, 25), MPEG_TICK),
    "30 fps, time base of x264": (even_ticks(41, 30, Fraction(1, 15360)), Fraction(1, 15360)),
    "29.97 fps": ([1001 * i for i in range(37)], Fraction(1, 30000)),
    "variable": (np.cumsum([0, 3600, 1, 2999, 45000, 7, 90001, 3003] * 5).tolist(), MPEG_TICK),
    "starts late": (even_ticks(11, 25, first=90 * 340), MPEG_TICK),
    "one frame": ([0], MPEG_TICK),
}


@pytest.mark.parametrize(("ticks", "tick_seconds"), TIMES.values(), ids=TIMES)
def test_presentation_times_are_exact_and_each_picture_is_at_its_own(
    tmp_path: Path, ticks: list[int], tick_seconds: Fraction
) -> None:
    ticks = [first for first, after in zip(ticks, [*ticks[1:], None], strict=True) if first != after]
    path = write_media(tmp_path / "a.mp4", ticks, tick_seconds=tick_seconds)
    clock, pixels = frames_of(path)
    assert clock == Clock.explicit(ticks, tick_seconds)
    assert frame_clock(path) == clock, "read without decoding, they are the same"
    assert pixels.shape == (len(ticks), 31, 31, 3)
    wanted = np.array([brightness(i) for i in range(len(ticks))])
    # crf 12, limited range and 8 bits leave a few of 255 levels; neighbouring frames are 37 apart.
    assert np.abs(pixels.mean((1, 2, 3)) - wanted).max() < 6


def test_many_threads_and_one_decode_the_same(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", TIMES["variable"][0][:1] + [4000 + 3600 * i for i in range(66)])
    (clock, pixels), (other_clock, other_pixels) = frames_of(path), frames_of(path, threads=3)
    assert clock == other_clock
    np.testing.assert_array_equal(pixels, other_pixels)


def corners(pixels: NDArray[np.uint8]) -> list[list[int]]:
    """Top left, top right, bottom left, bottom right of the last frame."""
    near, far = 3, -4
    return [pixels[-1, y, x].astype(int).tolist() for y, x in ((near, near), (near, far), (far, near), (far, far))]


def close(seen: list[list[int]], wanted: list[tuple[int, int, int]]) -> bool:
    return bool(np.abs(np.array(seen) - np.array(wanted)).max() < 16)  # colours lose more than grey in 4:2:0


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_a_rotated_file_comes_out_upright(tmp_path: Path, turned: int) -> None:
    path = write_media(tmp_path / "a.mp4", even_ticks(3, 25), picture=quarters, turned=turned)
    for view in (WHOLE, SQUARE):
        _, pixels = frames_of(path, view)
        assert pixels.shape == (3, view.size_px, view.size_px, 3)
        assert close(corners(pixels), [RED, GREEN, BLUE, WHITE])


@pytest.mark.parametrize("turned", [0, 270])
@pytest.mark.parametrize("region", ["whole", "square"])
@pytest.mark.parametrize(
    ("side", "wanted"), [("left", [RED, RED, BLUE, BLUE]), ("right", [GREEN, GREEN, WHITE, WHITE])]
)
def test_a_side_is_that_half_of_the_upright_picture(
    tmp_path: Path, turned: int, region: str, side: Side, wanted: list[tuple[int, int, int]]
) -> None:
    path = write_media(tmp_path / "a.mp4", even_ticks(3, 25), picture=quarters, turned=turned)
    _, pixels = frames_of(path, View(region, 23), side=side)
    assert close(corners(pixels), wanted)


def test_the_square_is_the_centred_one_and_the_whole_has_everything(tmp_path: Path) -> None:
    def edges(i: int) -> NDArray[np.uint8]:
        """White outside the centred square, black in it."""
        del i
        picture = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
        margin = (WIDTH - HEIGHT) // 2
        picture[:, margin : margin + HEIGHT] = 0
        return picture

    path = write_media(tmp_path / "a.mp4", even_ticks(2, 25), picture=edges)
    square = frames_of(path, View("square", HEIGHT))[1][-1].astype(int)
    assert square[:, 2:-2].max() < 40  # two columns may hold the blur of the edge and of chroma
    whole = frames_of(path, View("whole", WIDTH))[1][-1].astype(int)
    assert whole[:, :10].min() > 215
    assert whole[:, -10:].min() > 215


def test_all_that_is_asked_for_comes_in_one_pass_as_it_would_alone(tmp_path: Path) -> None:
    sound = tone(440, 2.9) + click(1.3, 2.9)
    path = write_media(tmp_path / "a.mp4", even_ticks(71, 25), picture=quarters, sound=sound)
    views = [WHOLE, SQUARE, View("square", 17)]
    pieces = list(decode(path, look=looks(*views), hearings=[HEARD]))
    for view in views:
        together = np.concatenate([piece.cut[view].pixels for piece in pieces if isinstance(piece, Frames)])
        np.testing.assert_array_equal(together, frames_of(path, view)[1])
    heard = np.concatenate([piece.values for piece in pieces if isinstance(piece, Samples)])
    np.testing.assert_array_equal(heard, sound_of(path)[1])
    kinds = [type(piece) for piece in pieces]
    assert Samples in kinds[: kinds.index(Frames)], "both streams come side by side, not one after the other"
    assert Samples in kinds[kinds.index(Frames) :]


# ------------------------------------------------------------------------------------------------ sound


@pytest.mark.parametrize("sound_rate_hz", [44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_click_lands_where_it_was_made_and_200_ms_later_when_the_sound_is(
    tmp_path: Path, sound_rate_hz: int, channels: int
) -> None:
    # The encoder primes with 1024 samples (21 to 23 ms); whoever forgets to drop them is wrong by as much.
    sound, ticks = click(0.313, 0.71, sound_rate_hz, channels), even_ticks(23, 25)
    at = [
        peak_seconds(
            write_media(
                tmp_path / f"{n}.mp4", ticks, sound=sound, sound_rate_hz=sound_rate_hz, sound_start_seconds=start
            )
        )
        for n, start in enumerate((Fraction(0), Fraction(1, 5)))
    ]
    # MP4 edit lists count milliseconds, so a millisecond is what such a file can say.
    assert at[0] == pytest.approx(0.313, abs=0.001)
    assert at[1] - at[0] == pytest.approx(0.2, abs=0.001)


def test_sound_starts_where_the_container_says_though_the_picture_starts_elsewhere(tmp_path: Path) -> None:
    sound = click(0.313, 0.71)
    late_picture = write_media(tmp_path / "a.mp4", even_ticks(11, 25, first=90 * 340), sound=sound)
    assert peak_seconds(late_picture) == pytest.approx(0.313, abs=0.001)  # one millisecond, as above
    assert frames_of(late_picture)[0].seconds()[0] == 0.34


def test_channels_are_averaged_so_that_a_mono_file_and_its_stereo_copy_sound_alike(tmp_path: Path) -> None:
    mono = tone(330, 0.7)
    heard = []
    for name, sound in (("mono", mono), ("both", np.tile(mono, (2, 1))), ("one", np.stack([mono[0], 0 * mono[0]]))):
        _, values = sound_of(write_media(tmp_path / f"{name}.mp4", sound=sound))
        heard.append(values[1600:9600])  # away from the ends
    loudness = [float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) for values in heard]
    # AAC at 128 kbit/s keeps a tone's level to a per cent.
    assert loudness == pytest.approx([0.5 / 2**0.5, 0.5 / 2**0.5, 0.25 / 2**0.5], rel=0.01)


def test_a_hole_in_the_sound_is_silence_and_what_follows_stays_in_its_place(tmp_path: Path) -> None:
    sound = tone(500, 1.1) + click(0.9, 1.1)
    path = write_media(tmp_path / "a.mp4", even_ticks(29, 25), sound=sound, hole=(10, 20))
    start, values = sound_of(path)
    assert start == 0
    # Frames 10 to 19 of 1024 samples at 48 kHz; a frame overlaps its neighbours by one, so one more on each side.
    first, last = (round((n * 1024 / 48000) * RATE) for n in (11, 19))
    assert np.abs(values[first:last]).max() < 1e-3
    assert np.abs(values[: first - 700]).max() > 0.4
    assert (start + np.abs(values).argmax()) / RATE == pytest.approx(0.9, abs=0.001)
    whole = sound_of(write_media(tmp_path / "b.mp4", even_ticks(29, 25), sound=sound))[1]
    assert len(values) == len(whole)


def test_a_long_hole_is_handed_out_in_small_pieces(tmp_path: Path) -> None:
    packets = tmp_path / "a.mkv"
    sound = np.concatenate([tone(500, 0.2), np.zeros((1, 48000 * 60), np.float32), click(0.1, 0.3)], axis=1)
    write_media(packets, sound=sound, hole=(12, 2800))  # a minute of nothing
    lengths = [len(piece.values) for piece in decode(packets, hearings=[HEARD]) if isinstance(piece, Samples)]
    assert max(lengths) <= RATE
    assert peak_seconds(packets) == pytest.approx(60.3, abs=0.001)


def write_wave(path: Path, values: NDArray[np.float64], rate_hz: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((values * 32767).round().astype("<i2").tobytes())
    return path


@pytest.mark.parametrize("rate_hz", [44100, 48000, 96000])
def test_resampling_keeps_what_the_new_rate_can_hold_and_folds_nothing_else_into_it(
    tmp_path: Path, rate_hz: int
) -> None:
    time = np.arange(rate_hz) / rate_hz
    low, high = 0.5 * np.sin(2 * np.pi * 1000 * time), 0.5 * np.sin(2 * np.pi * 9500 * time)
    start, kept = sound_of(write_wave(tmp_path / "low.wav", low, rate_hz))
    assert (start, len(kept)) == (0, RATE)
    inner = slice(800, -800)  # away from where the sound begins and ends at once
    wanted = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    assert np.abs(kept - wanted)[inner].max() < 5e-4  # the filter's ripple of 0.1 %
    _, gone = sound_of(write_wave(tmp_path / "high.wav", high, rate_hz))
    assert np.abs(gone[inner]).max() < 0.5 * 10 ** (-80 / 20)  # -91 dB was measured; FFmpeg's default gives -26


def test_sound_at_its_own_rate_is_untouched(tmp_path: Path) -> None:
    values = np.random.default_rng(11).uniform(-1, 1, 7919)
    start, heard = sound_of(write_wave(tmp_path / "a.wav", values, RATE))
    assert start == 0
    np.testing.assert_array_equal(heard, ((values * 32767).round() / 32768).astype(np.float32))


# ------------------------------------------------------------------------------------------------ what is not there


def test_a_file_without_sound_yields_its_pictures_only(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", even_ticks(5, 25))
    assert {type(piece) for piece in decode(path, look=looks(WHOLE), hearings=[HEARD])} == {Frames}
    assert list(decode(path, hearings=[HEARD])) == []


def test_a_file_without_picture_asked_for_one_says_so_and_gives_its_sound(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.m4a", sound=click(0.1, 0.3))
    with pytest.raises(MediaError, match=r"^a\.m4a: the file has no video stream$"):
        list(decode(path, look=looks(WHOLE), hearings=[HEARD]))
    with pytest.raises(MediaError, match=r"^a\.m4a: the file has no video stream$"):
        frame_clock(path)
    assert peak_seconds(path) == pytest.approx(0.1, abs=0.001)  # a millisecond, as above


@pytest.mark.parametrize("harm", ["cut", "junk", "empty", "missing", "folder"])
def test_a_broken_file_is_one_line_that_names_it(tmp_path: Path, harm: str) -> None:
    path = tmp_path / "broken.mp4"
    if harm == "cut":
        write_media(path, even_ticks(31, 25), sound=tone(300, 1.2))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif harm == "junk":
        path.write_bytes(np.random.default_rng(13).bytes(4099))
    elif harm == "empty":
        path.touch()
    elif harm == "folder":
        path.mkdir()
    for attempt in (lambda: list(decode(path, look=looks(WHOLE), hearings=[HEARD])), lambda: frame_clock(path)):
        with pytest.raises(MediaError, match=r"^broken\.mp4: .*\w") as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_a_stream_whose_pictures_are_all_junk_is_an_error(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", even_ticks(9, 25))
    content = bytearray(path.read_bytes())
    begin = content.index(b"mdat") + 4
    end = content.index(b"moov") - 4
    content[begin:end] = bytes(end - begin)
    path.write_bytes(content)
    with pytest.raises(MediaError, match=r"^a\.mp4: .*\w"):
        list(decode(path, look=looks(WHOLE)))


def damaged(path: Path, stream: str, packets: slice, tail: bytes = b"") -> Path:
    """The same packets in another file, some of one stream overwritten with noise."""
    noise = np.random.default_rng(17)
    copy = path.with_name(f"damaged{path.suffix}")
    with av.open(str(path)) as whole, av.open(str(copy), "w") as out:
        streams = {one.index: out.add_stream_from_template(one) for one in whole.streams}
        count = 0
        for packet in whole.demux():
            if not packet.size:
                continue
            kind = packet.stream.type
            harmed = kind == stream and count in range(10**6)[packets]
            count += kind == stream
            sent = packet
            if harmed:
                sent = av.Packet(noise.bytes(packet.size))
                sent.pts, sent.dts, sent.time_base = packet.pts, packet.dts, packet.time_base
                sent.is_keyframe = packet.is_keyframe
            sent.stream = streams[packet.stream.index]
            out.mux(sent)
    return copy


def test_a_damaged_packet_costs_its_frames_and_is_counted(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mkv", even_ticks(40, 25, Fraction(1, 1000)), tick_seconds=Fraction(1, 1000))
    harmed = damaged(path, "video", slice(11, 14))
    pieces = list(decode(harmed, look=looks(WHOLE)))
    assert isinstance(pieces[-1], Damage)
    assert (pieces[-1].pictures, pieces[-1].sounds) == (3, 0)
    seen = {tick for piece in pieces if isinstance(piece, Frames) for tick in piece.clock.all_ticks().tolist()}
    whole = frame_clock(path).all_ticks().tolist()
    assert 20 < len(seen) <= 37, "some that refer to them are lost as well"
    assert seen < set(whole)
    assert frame_clock(harmed).all_ticks().tolist() == whole, "all that should be there is still known"


def test_sound_that_can_not_be_decoded_at_all_is_an_error_and_not_silence(tmp_path: Path) -> None:
    path = damaged(write_media(tmp_path / "a.mkv", sound=tone(300, 0.5)), "audio", slice(0, None))
    with pytest.raises(MediaError, match=r"^damaged\.mkv: the sound stream has nothing that can be decoded \(.*\w\)$"):
        list(decode(path, hearings=[HEARD]))


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", even_ticks(3, 25), picture=quarters, aspect=Fraction(16, 11))
    seen = [(picture.width, picture.height, picture.rgb().shape) for picture, _ in pictures(path)]
    assert seen == [(round(WIDTH * 16 / 11), HEIGHT, (HEIGHT, round(WIDTH * 16 / 11), 3))] * 3


def test_pictures_come_one_by_one_upright_with_their_exact_times(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", [3600 * i for i in range(5)], picture=quarters, turned=90)
    seen = []
    for picture, seconds in pictures(path):
        assert (picture.width, picture.height) == (WIDTH, HEIGHT)
        assert close(corners(picture.rgb()[None]), [RED, GREEN, BLUE, WHITE])
        assert picture.rgb(37, 23).shape == (23, 37, 3)
        seen.append(seconds)
    assert seen == [Fraction(i, 25) for i in range(5)]


@pytest.mark.parametrize(("channels", "heard"), [("averaged", 0.375), ("first", 0.5), ("second", 0.25)])
def test_which_channels_are_heard_is_a_choice(tmp_path: Path, channels: Channels, heard: float) -> None:
    loud = np.concatenate([tone(300, 1.1, loudness=0.5), tone(300, 1.1, loudness=0.25)])
    path = write_media(tmp_path / "a.m4a", sound=loud)
    pieces = list(decode(path, hearings=[Hearing(RATE, channels)]))
    values = np.concatenate([piece.values for piece in pieces if isinstance(piece, Samples)])
    middle = values[4000:12000]
    assert np.sqrt(2 * (middle**2).mean()) == pytest.approx(
        heard, rel=0.03
    )  # AAC keeps a tone's level to a few percent


def test_several_hearings_come_in_one_pass_as_they_would_alone(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.m4a", sound=np.concatenate([tone(300, 0.7), tone(500, 0.7)]))
    wanted = [Hearing(RATE), Hearing(RATE, "second"), Hearing(8000)]
    pieces = [piece for piece in decode(path, hearings=wanted) if isinstance(piece, Samples)]
    for one in wanted:
        together = np.concatenate([piece.values for piece in pieces if piece.hearing == one])
        alone = np.concatenate([piece.values for piece in decode(path, hearings=[one]) if isinstance(piece, Samples)])
        np.testing.assert_array_equal(together, alone)


def test_a_second_channel_that_is_not_there_is_said(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.m4a", sound=tone(300, 0.3))
    with pytest.raises(
        MediaError, match=r"^a\.m4a: the sound has 1 channel, so `channels: second` has nothing to hear$"
    ):
        list(decode(path, hearings=[Hearing(RATE, "second")]))


# ------------------------------------------------------------------------------------------------ resources


def test_pieces_are_small_however_long_the_clip_is(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", even_ticks(211, 25), sound=tone(300, 8.3))
    pieces = list(decode(path, look=looks(WHOLE), hearings=[HEARD]))
    assert max(len(piece.clock) for piece in pieces if isinstance(piece, Frames)) == 32
    assert max(len(piece.values) for piece in pieces if isinstance(piece, Samples)) <= RATE // 10


def open_files() -> list[str]:
    """Files that this process has open, apart from those of the system."""
    found = []
    for handle in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{handle}"))
        except FileNotFoundError:  # the one that lists them
            continue
    return [name for name in found if name.endswith(".mp4")]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")
def test_stopping_in_the_middle_leaves_no_file_open_and_no_thread(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", even_ticks(101, 25), sound=tone(300, 4.1))
    threads, tasks = threading.active_count(), len(os.listdir("/proc/self/task"))
    pieces = decode(path, look=looks(WHOLE), hearings=[HEARD], threads=3)
    next(pieces)
    assert len(open_files()) == 1
    pieces.close()
    assert open_files() == []
    assert (threading.active_count(), len(os.listdir("/proc/self/task"))) == (threads, tasks)


# ------------------------------------------------------------------------------------------------ real files


@pytest.mark.samples
def test_the_times_of_a_real_film_are_those_that_ffprobe_wrote_down(samples: Callable[[str], Path]) -> None:
    path = samples("odd/torchcodec/nasa_13013.mp4")
    clock, _ = frames_of(path)
    stated = []
    for stream in ("0", "3"):
        text = samples(f"odd/torchcodec/nasa_13013.mp4.stream{stream}.all_frames_info.json").read_text()
        stated.append([float(frame["pts_time"]) for frame in json.loads(text)])
    (wanted,) = (times for times in stated if len(times) == len(clock))
    ticks = [round(Fraction(time) / clock.tick_seconds) for time in wanted]  # six digits of seconds name one tick
    assert clock.all_ticks().tolist() == ticks
    assert frame_clock(path) == clock


@pytest.mark.samples
def test_every_file_of_grid_has_75_frames_and_3_seconds_of_sound(samples: Callable[[str], Path]) -> None:
    films = sorted(samples("grid").glob("*.mpg"))
    assert len(films) >= 8
    for film in films:
        clock, _ = frames_of(film)
        assert len(clock) == 75, film.name
        assert set(np.diff(clock.all_ticks()) * clock.tick_seconds) == {Fraction(1, 25)}
        start, values = sound_of(film)
        # The sound is said to be 48 ms shorter than the picture; a frame of MP2 is 26 ms.
        assert len(values) / RATE == pytest.approx(3 - 0.048, abs=0.027), film.name
        assert abs(start / RATE - float(clock.seconds()[0])) < 0.1, "both streams are on one time line"


@pytest.mark.samples
def test_edit_lists_cut_the_same_frames_with_and_without_decoding(samples: Callable[[str], Path]) -> None:
    for name in ("sample_edit_list.mp4", "iibbibb_editlist_videoonly.mp4", "sample_fragmented.mp4"):
        path = samples(f"odd/androidx/{name}")
        assert frame_clock(path) == frames_of(path)[0], name


# What the files' makers or their edit lists hide: an AVI whose header counts 2 frames more than it holds, frames that
# edit lists cut away.
_FEWER = {"sample.avi": 2, "sample_edit_list.mp4": 9, "iibbibb_editlist_videoonly.mp4": 1}


@pytest.mark.samples
def test_odd_files_have_the_frames_that_their_list_says_or_one_line_why_not(samples: Callable[[str], Path]) -> None:
    lines = samples("MANIFEST.tsv").read_text(encoding="utf-8").splitlines()
    stated = {}
    for line in lines:
        name, *_, what = line.split("\t")
        if name.startswith("odd/") and (found := re.search(r" (\d+)fr ", what)):
            stated[name] = int(found[1])
    assert len(stated) > 25
    for name, frames in stated.items():
        path = samples(name)
        clock, _ = frames_of(path)
        assert len(clock) == frames - _FEWER.get(path.name, 0), name
        assert frame_clock(path) == clock, name


@pytest.mark.samples
def test_every_odd_file_is_decoded_or_is_one_line(samples: Callable[[str], Path]) -> None:
    failed = {}
    for path in sorted(samples("odd").glob("*/*")):
        if path.suffix == ".json":
            continue
        try:
            pieces = list(decode(path, hearings=[HEARD]))
        except MediaError as error:
            failed[path.name] = str(error)
            continue
        heard = sum(len(piece.values) for piece in pieces if isinstance(piece, Samples))
        with av.open(str(path)) as container:
            assert bool(heard) == bool(container.streams.audio), path.name
    assert failed == {
        name: f"{name}: Invalid data found when processing input"
        for name in ("1024_incrementing_bytes.mp3", "sample_malformed_free_box.mp4")
    }
