"""One worker: which row a picture or a moment of sound ends up in, whatever the sizes of the pieces on the way."""

from __future__ import annotations

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from looking import HEARD, RATE, looks
from media import brightness, click, even_ticks, tone, write_media
from numpy.typing import NDArray

from cache.clock import Clock
from cache.track import Track
from extract.backbones.registry import Windows
from extract.backbones.weights import build_backbone, digest_of_state
from extract.clips import Clip
from extract.decode import Frames, MediaError, Samples, decode
from extract.picture import View
from extract.recipe import FeatureSettings
from extract.settings import ExecutionSettings
from extract.worker import Worker

FACE = FeatureSettings(
    backbone="torchvision:resnet18", weights="random:3", layer="layer1", crop={"size_px": 31}, dtype="float32"
)
MEL = FeatureSettings(backbone="logmel", dtype="float32")
ZHAO = FeatureSettings(backbone="zhao19", weights="random:3", dtype="float32")
# The same rows through one network in batches of other sizes: float32 sums in another order.
SAME = {"rtol": 1e-4, "atol": 1e-5}


def clip_of(path: Path, **changes: Any) -> Clip:
    return Clip(name=path.stem, media=path, media_name=path.name, split="train", **changes)


def tracks(path: Path, features: dict[str, FeatureSettings], batch_rows: int = 64, **changes: Any) -> dict[str, Track]:
    worker = Worker(features, ExecutionSettings(device="cpu", batch_rows=batch_rows))
    return worker.extract(clip_of(path, **changes), list(features)).tracks


def sound_of(path: Path) -> tuple[int, NDArray[np.float32]]:
    pieces = [piece for piece in decode(path, hearings=[HEARD]) if isinstance(piece, Samples)]
    return pieces[0].start, np.concatenate([piece.values for piece in pieces])


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """67 frames of variable rate; 3.1 s of sound that starts 200 ms late."""
    noise = np.random.default_rng(31).uniform(-0.5, 0.5, (1, 48000 * 31 // 10)).astype(np.float32)
    ticks = np.cumsum([3600, 3003, 4001] * 23)[:67].tolist()
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    return write_media(path, ticks, sound=noise, sound_start_seconds=Fraction(1, 5))


# ------------------------------------------------------------------------------------------------ pictures


def test_a_visual_row_is_its_frame_s_through_the_network(film: Path) -> None:
    track = tracks(film, {"face": FACE})["face"]
    view = View("square", 31)
    pieces = [piece for piece in decode(film, look=looks(view)) if isinstance(piece, Frames)]
    pixels = np.concatenate([piece.cut[view].pixels for piece in pieces])
    assert track.clock == Clock.explicit(
        np.concatenate([piece.clock.all_ticks() for piece in pieces]), pieces[0].clock.tick_seconds
    )
    assert track.valid.all()
    network = build_backbone(FACE)
    mean, std = (np.array(part, np.float32)[:, None, None] for part in (FACE.spec.mean, FACE.spec.std))
    for row in (0, 31, 32, 33, 66):  # each frame alone, on both sides of the pieces' borders
        given = (pixels[row].transpose(2, 0, 1).astype(np.float32) / 255 - mean) / std
        with torch.inference_mode():
            alone = network(torch.from_numpy(given)[None])[0].numpy()
        np.testing.assert_allclose(track.values[row], alone, **SAME)


def test_the_clock_of_the_frames_comes_with_the_tracks_and_without_pictures_there_is_none(film: Path) -> None:
    worker = Worker({"face": FACE, "mel": MEL}, ExecutionSettings(device="cpu"))
    both = worker.extract(clip_of(film), ["face", "mel"])
    assert both.frames == both.tracks["face"].clock
    heard = worker.extract(clip_of(film), ["mel"])
    assert (set(heard.tracks), heard.frames) == ({"mel"}, None)
    np.testing.assert_array_equal(heard.tracks["mel"].values, both.tracks["mel"].values)


def test_the_person_on_the_right_is_seen_there(tmp_path: Path) -> None:
    def halves(i: int) -> NDArray[np.uint8]:
        picture = np.full((46, 74, 3), 30, np.uint8)
        picture[:, 37:] = brightness(i)
        return picture

    path = write_media(tmp_path / "a.mp4", even_ticks(5, 25), picture=halves)
    left, right = (tracks(path, {"face": FACE}, side=side)["face"].values for side in ("left", "right"))
    moved = np.abs(np.diff(np.stack([left, right]), axis=1)).max((1, 2))
    assert moved[0] < 0.1 * moved[1]


# ------------------------------------------------------------------------------------------------ sound


def window_of(feature: FeatureSettings) -> int:
    assert isinstance(feature.spec.sound, Windows)
    return feature.spec.sound.window_samples


def by_hand(path: Path, feature: FeatureSettings, module: torch.nn.Module) -> NDArray[np.float32]:
    """Row i is the network's view of the window centred on sample first + i * hop, silence beyond the ends."""
    _, sound = sound_of(path)
    window, hop = window_of(feature), feature.hop_samples
    padded = np.concatenate([np.zeros(window // 2), sound, np.zeros(window)]).astype(np.float32)
    rows = [padded[start : start + window] for start in range(0, len(sound), hop)]
    with torch.inference_mode():
        out: NDArray[np.float32] = module(torch.from_numpy(np.stack(rows))).numpy()
    return out


# Hops shorter than the window, longer, longer than the padding, and coprime to every piece's length.
@pytest.mark.parametrize("hop_seconds", [0.01, 401 / 16000, 0.1, 1601 / 16000])
@pytest.mark.parametrize("batch_rows", [1, 7, 100_000])
def test_an_audio_row_is_the_window_around_its_time_whatever_the_batches(
    film: Path, hop_seconds: float, batch_rows: int
) -> None:
    feature = MEL.model_copy(update={"hop_seconds": hop_seconds})
    track = tracks(film, {"mel": feature}, batch_rows)["mel"]
    np.testing.assert_allclose(track.values, by_hand(film, feature, build_backbone(feature)), **SAME)
    first, _ = sound_of(film)
    assert first / RATE == pytest.approx(0.2 - 1024 / 48000, abs=0.001)  # the encoder's priming, to MP4's millisecond
    assert track.clock == Clock.regular(Fraction(feature.hop_samples, RATE), len(track), Fraction(first, RATE))


def test_the_windows_of_a_network_overlap_and_reach_over_both_ends(film: Path) -> None:
    track = tracks(film, {"zhao": ZHAO}, 7)["zhao"]
    np.testing.assert_allclose(track.values, by_hand(film, ZHAO, build_backbone(ZHAO)), **SAME)


@pytest.mark.parametrize("start_seconds", [Fraction(0), Fraction(1, 5)])
def test_a_click_is_in_the_row_of_its_time(tmp_path: Path, start_seconds: Fraction) -> None:
    sound = click(0.4237, 0.9)
    path = write_media(tmp_path / "a.mp4", even_ticks(29, 25), sound=sound, sound_start_seconds=start_seconds)
    track = tracks(path, {"mel": MEL})["mel"]
    loudest = track.clock.seconds()[track.values.mean(1).argmax()]
    # Half a hop of 10 ms, and the millisecond of MP4's edit lists.
    assert loudest == pytest.approx(0.4237 + float(start_seconds), abs=0.005 + 0.001)


def test_a_clip_without_sound_has_a_track_of_no_rows(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", even_ticks(5, 25))
    found = tracks(path, {"face": FACE, "mel": MEL, "zhao": ZHAO})
    assert {name: (len(track), track.width) for name, track in found.items()} == {
        "face": (5, 64), "mel": (0, 64), "zhao": (0, 128)
    }  # fmt: skip
    assert found["mel"].values.dtype == np.float32


def test_sound_shorter_than_one_window_still_has_its_rows(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", even_ticks(5, 25), sound=tone(300, 0.15))
    samples = len(sound_of(path)[1])
    assert samples < window_of(ZHAO)
    assert len(tracks(path, {"zhao": ZHAO})["zhao"]) == -(-samples // ZHAO.hop_samples)


# ------------------------------------------------------------------------------------------------ how


@pytest.mark.parametrize("batch_rows", [5, 32, 37])
def test_no_batch_is_larger_than_asked_and_the_numbers_are_the_same(film: Path, batch_rows: int) -> None:
    features = {"face": FACE, "mel": MEL}
    worker = Worker(features, ExecutionSettings(device="cpu", batch_rows=batch_rows))
    sizes: list[int] = []
    for module in worker._kit.modules.values():
        module.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    found = worker.extract(clip_of(film), list(features)).tracks
    assert max(sizes) == batch_rows
    for name, whole in tracks(film, features, 100_000).items():
        np.testing.assert_allclose(found[name].values, whole.values, **SAME)
        assert found[name].clock == whole.clock


def test_clips_side_by_side_are_as_they_are_alone(tmp_path: Path) -> None:
    paths = [
        write_media(tmp_path / f"{n}.mp4", even_ticks(5 + 2 * n, 25), sound=tone(200 + 50 * n, 0.4)) for n in range(5)
    ]
    features = {"face": FACE, "mel": MEL}
    worker = Worker(features, ExecutionSettings(device="cpu"))
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda path: worker.extract(clip_of(path), list(features)), paths))
    for path, extraction in zip(paths, together, strict=True):
        for name, alone in tracks(path, features).items():
            np.testing.assert_allclose(extraction.tracks[name].values, alone.values, **SAME)


def test_dtype_is_what_was_asked_for_and_an_overflow_names_the_feature(film: Path) -> None:
    half = MEL.model_copy(update={"dtype": "float16"})
    found = tracks(film, {"mel": half})["mel"]
    np.testing.assert_array_equal(found.values, tracks(film, {"mel": MEL})["mel"].values.astype(np.float16))
    worker = Worker({"loud": half}, ExecutionSettings(device="cpu"))
    worker._kit.modules["loud"].register_forward_hook(lambda module, given, out: out * 1e6)
    with pytest.raises(ValueError, match=r"loud has values up to .* more than float16 holds .* `dtype: float32`"):
        worker.extract(clip_of(film), ["loud"])


def left_behind() -> tuple[list[str], list[str]]:
    """Decoding threads that still run, media that are still open."""
    files = []
    for handle in os.listdir("/proc/self/fd"):
        try:
            files.append(os.readlink(f"/proc/self/fd/{handle}"))
        except FileNotFoundError:  # the one that lists them
            continue
    return [t.name for t in threading.enumerate() if t.name == "decode"], [f for f in files if f.endswith(".mp4")]


def test_an_error_of_decoding_comes_out_and_its_thread_ends(tmp_path: Path) -> None:
    path = tmp_path / "junk.mp4"
    path.write_bytes(b"junk" * 1013)
    with pytest.raises(MediaError, match=r"^junk\.mp4: "):
        tracks(path, {"face": FACE})
    assert left_behind()[0] == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")
def test_an_error_of_the_network_ends_the_decoding(film: Path) -> None:
    worker = Worker({"face": FACE}, ExecutionSettings(device="cpu", batch_rows=1))

    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory, say")

    worker._kit.modules["face"].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory, say") as caught:
        worker.extract(clip_of(film), ["face"])
    assert caught.tb is not None, "whoever keeps the error keeps its frames, and yet:"
    assert left_behind() == ([], [])


def test_provenance_says_with_what_and_fits_into_attributes() -> None:
    features = {"face": FACE, "mel": MEL}
    worker = Worker(features, ExecutionSettings(device="cpu"))
    said = {name: worker.provenance(name) for name in features}
    assert json.loads(json.dumps(said)) == said
    assert said["face"]["device"] == "cpu"
    assert said["face"]["torch"] == torch.__version__
    assert said["face"]["weights_digest"] == digest_of_state(build_backbone(FACE)) != said["mel"]["weights_digest"]


def test_clips_at_once_are_one_a_core_or_as_asked() -> None:
    assert Worker({"mel": MEL}, ExecutionSettings(device="cpu")).clips_at_once == len(os.sched_getaffinity(0))
    assert Worker({"mel": MEL}, ExecutionSettings(device="cpu", clips_at_once=5)).clips_at_once == 5


@pytest.mark.gpu
def test_a_gpu_s_numbers_are_within_the_tolerance_of_the_precision(film: Path) -> None:
    features = {"face": FACE, "mel": MEL, "zhao": ZHAO}
    here = tracks(film, features)
    there = Worker(features, ExecutionSettings(device="cuda")).extract(clip_of(film), list(features)).tracks
    for name, track in here.items():
        # cuDNN's convolutions may round their inputs to TF32, 10 bits: a part in a thousand of the largest.
        largest = np.abs(track.values).max()
        np.testing.assert_allclose(there[name].values, track.values, rtol=0, atol=5e-3 * largest)
        assert there[name].clock == track.clock
