"""Folders of numbered pictures, and clips whose face, clock and sound come from different places."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from looking import looks
from media import even_ticks, tone, write_media
from numpy.typing import NDArray
from PIL import Image

from cache.clock import Clock
from cache.track import Track
from extract.clips import Clip, GivenFaces, Images
from extract.decode import Damage, Frames, MediaError, frame_clock
from extract.faces.settings import FaceSettings
from extract.images import look_through, numbered
from extract.picture import Picture, View
from extract.recipe import FACES, FeatureSettings
from extract.settings import ExecutionSettings
from extract.worker import Worker

WHOLE = View("whole", 13)
CLOCK = Clock.regular(Fraction(1, 25), 41)
FACE = FeatureSettings(backbone="hog:4", crop={"region": "face", "size_px": 16}, dtype="float32")
SQUARE = FeatureSettings(backbone="hog:4", crop={"region": "square", "size_px": 16}, dtype="float32")
MEL = FeatureSettings(backbone="logmel", dtype="float32")


def grey(i: int) -> int:
    return 20 + 5 * i


def write_images(folder: Path, rows: list[int], first: int = 1, suffix: str = ".png") -> Path:
    """One grey picture a row, numbered from `first`; a gradient, so that it is no blank."""
    folder.mkdir(parents=True, exist_ok=True)
    ramp = np.linspace(-15, 15, 37)[None, :, None]
    for row in rows:
        pixels = np.clip(np.full((29, 37, 3), grey(row)) + ramp * (1 + row % 3), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{first + row:05d}{suffix}")
    return folder


def seen(images: Images, clock: Clock) -> tuple[NDArray[np.uint8], NDArray[np.bool_], Clock, list[Damage]]:
    pieces = list(look_through(images, clock, looks(WHOLE)))
    frames = [piece for piece in pieces if isinstance(piece, Frames)]
    ticks = np.concatenate([piece.clock.all_ticks() for piece in frames])
    return (
        np.concatenate([piece.cut[WHOLE].pixels for piece in frames]),
        np.concatenate([piece.cut[WHOLE].present for piece in frames]),
        Clock.explicit(ticks, clock.tick_seconds),
        [piece for piece in pieces if isinstance(piece, Damage)],
    )


@pytest.mark.parametrize("first", [0, 1])
def test_each_number_is_its_row_and_a_missing_one_is_a_row_without_a_picture(tmp_path: Path, first: int) -> None:
    rows = [row for row in range(41) if row not in (0, 7, 8, 33, 40)]
    folder = write_images(tmp_path / "a", rows, first)
    (folder / ".00003.png").touch()
    (folder / "readme.txt").touch()
    pixels, present, clock, damage = seen(Images(folder, first, cropped=True), CLOCK)
    assert np.flatnonzero(present).tolist() == rows
    assert clock == CLOCK
    assert damage == []
    assert np.abs(pixels.mean((1, 2, 3)) - [grey(row) for row in rows]).max() < 1.5  # rounding, and the ramp's resize


def test_a_picture_that_can_not_be_read_is_missing_and_counted(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "a", list(range(41)))
    (folder / "00005.png").write_bytes((folder / "00005.png").read_bytes()[:40])
    (folder / "00009.png").write_bytes(b"junk")
    _, present, _, damage = seen(Images(folder, 1, cropped=True), CLOCK)
    assert np.flatnonzero(~present).tolist() == [4, 8]
    assert damage == [Damage(2, 0)]


def test_folders_that_can_not_be_used_say_why(tmp_path: Path) -> None:
    twice = write_images(tmp_path / "twice", [3])
    (twice / "4.png").write_bytes((twice / "00004.png").read_bytes())
    with pytest.raises(ValueError, match=r"00004\.png and 4\.png have one number; keep one of them"):
        numbered(twice)
    for name, wanted in (("empty", "no picture is numbered 1 to 41"), ("nowhere", "No such file")):
        if name == "empty":
            (tmp_path / name).mkdir()
        with pytest.raises(MediaError, match=rf"^{name}: .*{wanted}"):
            seen(Images(tmp_path / name, 1, cropped=True), CLOCK)
    with pytest.raises(MediaError, match="no picture is numbered 1 to 3"):
        seen(Images(write_images(tmp_path / "beyond", [9]), 1, cropped=True), CLOCK.rows(0, 3))


def test_what_a_camera_turned_is_upright(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[:, 15:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it by 90 degrees clockwise: its right half is then at the bottom
    Image.fromarray(picture).save(folder / "1.png", exif=exif)
    shapes: list[tuple[int, int]] = []

    def look(shown: Picture | None, seconds: Fraction) -> dict[View, Any]:
        assert shown is not None
        shapes.append((shown.width, shown.height))
        return looks(WHOLE)(shown, seconds)  # type: ignore[return-value]

    (piece,) = look_through(Images(folder, 1, cropped=False), CLOCK.rows(0, 1), look)
    assert isinstance(piece, Frames)
    assert shapes == [(20, 30)]
    assert piece.cut[WHOLE].pixels[0, :5].max() < 40 < 215 < piece.cut[WHOLE].pixels[0, -5:].min()


# ------------------------------------------------------------------------------------------------ through the worker


def clip_of(**changes: Any) -> Clip:
    return Clip(**{"name": "a", "media": None, "media_name": "a", "split": "train", **changes})


def extract(clip: Clip, features: dict[str, FeatureSettings], faces: FaceSettings | None) -> Any:
    return Worker(features, ExecutionSettings(device="cpu"), faces).extract(clip, list(features))


def hog_of(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    import torch

    from extract.backbones.hog import Hog

    with torch.inference_mode():
        out: NDArray[np.float32] = Hog(4)(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255).numpy()
    return out


CROPS = FaceSettings(method="crops")


def test_crops_are_the_face_and_the_video_is_the_clock_and_the_sound(tmp_path: Path) -> None:
    """As Aff-Wild2 ships it, with variable frame rate: frame n of the video is crop n + 1."""
    ticks = np.cumsum([3600, 3003, 4001] * 14)[:41].tolist()
    video = write_media(tmp_path / "a.mp4", ticks, sound=tone(300, 1.5))
    rows = [row for row in range(41) if row not in (3, 4, 40)]
    images = Images(write_images(tmp_path / "crops", rows), 1, cropped=True)
    done = extract(clip_of(media=video, images=images), {"face": FACE, "scene": SQUARE, "mel": MEL}, CROPS)
    face, scene, mel = (done.tracks[name] for name in ("face", "scene", "mel"))
    assert face.clock == scene.clock == done.frames == frame_clock(video)
    assert np.flatnonzero(face.valid).tolist() == rows
    assert np.isnan(face.values[[3, 4, 40]]).all(), "marked, not dropped"
    assert scene.valid.all()
    assert len(mel) > 100
    shrunk = np.stack(
        [np.asarray(Image.open(images.folder / f"{row + 1:05d}.png").resize((16, 16), 3)) for row in rows]
    )
    np.testing.assert_allclose(face.values[rows], hog_of(shrunk), rtol=1e-4, atol=1e-5)  # float32, in other batches


def test_crops_alone_happen_when_their_own_clock_says(tmp_path: Path) -> None:
    images = Images(write_images(tmp_path / "crops", [0, 2]), 1, cropped=True, clock=CLOCK.rows(0, 3))
    done = extract(clip_of(images=images), {"face": FACE, "mel": MEL}, CROPS)
    assert done.tracks["face"].clock == done.frames == CLOCK.rows(0, 3)
    assert done.tracks["face"].valid.tolist() == [True, False, True]
    assert len(done.tracks["mel"]) == 0, "looked for, not there"
    with pytest.raises(ValueError, match="a has no video, only crops of the face"):
        extract(clip_of(images=images), {"scene": SQUARE}, CROPS)


def test_crops_beyond_the_last_frame_go_on_at_its_pace_and_are_noted(tmp_path: Path) -> None:
    video = write_media(tmp_path / "a.mp4", even_ticks(5, 25))
    images = Images(write_images(tmp_path / "crops", list(range(7))), 1, cropped=True)
    done = extract(clip_of(media=video, images=images), {"face": FACE}, CROPS)
    assert done.tracks["face"].clock == frame_clock(video).resized(7)
    assert done.notes == ("crops go to row 7, the media has 5 frames",)


def test_a_clip_without_crops_where_crops_are_wanted_says_so(tmp_path: Path) -> None:
    video = write_media(tmp_path / "a.mp4", even_ticks(5, 25))
    with pytest.raises(ValueError, match=r"the corpus has no crops of a; use another faces\.method"):
        extract(clip_of(media=video), {"face": FACE}, CROPS)


def test_frames_that_are_images_are_looked_at_like_a_video_s(tmp_path: Path) -> None:
    """As AFEW-VA ships it: whole pictures numbered from 0, boxes, no sound."""
    images = Images(
        write_images(tmp_path / "frames", list(range(5)), first=0), 0, cropped=False, clock=CLOCK.rows(0, 5)
    )
    boxes = np.array([[5, 3, 17, 17]] * 5, np.float32)
    given = GivenFaces(boxes, None, np.array([True, True, False, True, False]))
    faces = FaceSettings(method="box", margin=0.0, hold_seconds=0.05)
    done = extract(clip_of(images=images, faces=given), {"face": FACE, "scene": SQUARE}, faces)
    assert done.tracks["scene"].valid.all()
    assert done.tracks["face"].valid.tolist() == [True, True, False, True, False], "a gap of 80 ms is longer than 50"
    held = extract(
        clip_of(images=images, faces=given), {"face": FACE}, FaceSettings(method="box", margin=0.0, hold_seconds=0.1)
    )
    assert held.tracks["face"].valid.tolist() == [True, True, True, True, False], "a gap at the end has no other side"


def test_sound_in_a_file_of_its_own_is_heard_instead_of_the_media_s(tmp_path: Path) -> None:
    video = write_media(tmp_path / "a.mp4", even_ticks(9, 25), sound=tone(300, 0.4))
    sound = write_media(tmp_path / "a.m4a", sound=tone(2000, 0.9))
    together = extract(clip_of(media=video, sound=sound), {"scene": SQUARE, "mel": MEL}, None)
    alone = extract(clip_of(media=sound), {"mel": MEL}, None)
    np.testing.assert_array_equal(together.tracks["mel"].values, alone.tracks["mel"].values)
    assert len(together.tracks["scene"]) == 9


# ------------------------------------------------------------------------------------------------ places, stored


class _Finder:
    """Finds one face, except in some rows."""

    def __init__(self, *, blind: tuple[int, ...] = ()) -> None:
        self.asked, self._blind = 0, blind

    def __call__(self, picture: Picture) -> list[Any]:
        from extract.faces.face import Face

        self.asked += 1
        if self.asked - 1 in self._blind:
            return []
        eyes_nose_mouth = np.array([[15, 12], [25, 12], [20, 17], [16, 21], [24, 21]], np.float32)
        return [Face(0.75, np.array([10, 5, 20, 20], np.float32), eyes_nose_mouth)]


def with_detector(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, features: dict[str, FeatureSettings], finder: _Finder
) -> Worker:
    (tmp_path / "detector.onnx").touch()
    monkeypatch.setattr("extract.faces.detect.Detector", lambda path, settings: finder)
    faces = FaceSettings(method="detect", weights=str(tmp_path / "detector.onnx"), hold_seconds=0.1)
    return Worker(features, ExecutionSettings(device="cpu"), faces)


def test_places_are_kept_and_found_again_without_looking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = write_media(tmp_path / "a.mp4", even_ticks(40, 25))
    blind = (0, 7, 20, 21, 22, 23, 39)
    finder = _Finder(blind=blind)
    other = FACE.model_copy(update={"backbone": "hog:8"})
    worker = with_detector(monkeypatch, tmp_path, {"face": FACE, "other": other}, finder)
    first = worker.extract(clip_of(media=video), ["face", "other", FACES])
    assert finder.asked == 40, "two features, one look"
    places: Track = first.tracks[FACES]
    assert np.flatnonzero(~places.valid).tolist() == list(blind)
    assert (places.width, places.values.dtype) == (15, np.float32)
    np.testing.assert_array_equal(places.values[1, :5], np.array([0.75, 10, 5, 20, 20], np.float32))
    wanted = [0, 20, 21, 22, 23, 39]  # row 7 is held: 80 ms between what was found
    assert np.flatnonzero(~first.tracks["face"].valid).tolist() == wanted
    again = worker.extract(clip_of(media=video), ["other"], places)
    assert finder.asked == 40
    np.testing.assert_array_equal(again.tracks["other"].values, first.tracks["other"].values)
    assert again.tracks.keys() == {"other"}
