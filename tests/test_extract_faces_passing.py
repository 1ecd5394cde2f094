"""The face pass: each frame's place while it is there, and which rows were right in the end."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from faces import Still, face

from cache.clock import Clock
from cache.track import Track
from extract.clips import GivenFaces
from extract.faces.align import TEMPLATE, cut
from extract.faces.face import MARKS, Face
from extract.faces.passing import FacePass
from extract.faces.settings import FaceSettings
from extract.picture import Picture

STEP = Fraction(1, 25)
PICTURE = Still(np.random.default_rng(3).integers(0, 256, (211, 307, 3), np.uint8))


def detecting(hold_seconds: float = 0.2) -> FaceSettings:
    return FaceSettings(method="detect", weights="x", hold_seconds=hold_seconds)


def boxed(hold_seconds: float = 0.2) -> FaceSettings:
    return FaceSettings(method="box", hold_seconds=hold_seconds)


def moving(row: int) -> Face:
    """Somebody who walks a pixel a frame."""
    return face(40 + row, 30, 60, 80, score=0.75, points=TEMPLATE * 0.6 + [35 + row, 31])


def detector_of(seen: str) -> Callable[[Picture], list[Face]]:
    """A detector that finds `moving` in the frames marked x."""
    frames = iter(enumerate(seen))

    def detect(picture: Picture) -> list[Face]:
        row, letter = next(frames)
        return [moving(row)] if letter == "x" else []

    return detect


def places(passing: FacePass, rows: int, missing: tuple[int, ...] = ()) -> list[Face | None]:
    return [passing.look(None if row in missing else PICTURE, row * STEP) for row in range(rows)]


def clock(rows: int) -> Clock:
    return Clock.regular(STEP, rows)


def drawn(rows: np.ndarray) -> str:
    return "".join("x" if row else "." for row in rows)


# ------------------------------------------------------------------------------------------------ detecting


def test_a_short_gap_is_held_and_a_long_one_dropped_in_the_end() -> None:
    seen = ".xx..x.......x.."
    passing = FacePass(detecting(), None, detector_of(seen))
    looked = places(passing, len(seen))
    #                 .xx..x.......x..
    assert drawn(np.array([place is not None for place in looked])) == ".xxxxxxxxxx..xxx"
    assert looked[3] is looked[4] is looked[2], "the last place"
    marks, found, valid = passing.finish(clock(len(seen)))
    assert drawn(found) == seen
    assert drawn(valid) == ".xxxxx.......x.."
    assert marks.shape == (16, 15)
    assert marks.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(marks).all(1), ~found)
    np.testing.assert_array_equal(marks[5], moving(5).marks())


def test_every_valid_row_had_a_place() -> None:
    for seed in range(20):
        chance = np.random.default_rng(seed)
        seen = "".join(chance.choice(["x", "."], 47, p=[0.4, 0.6]))
        hold = float(chance.choice([0.0, 0.04, 0.12, 0.5]))
        passing = FacePass(detecting(hold), None, detector_of(seen))
        looked = np.array([place is not None for place in places(passing, 47)])
        _, found, valid = passing.finish(clock(47))
        assert (looked >= valid).all()
        assert (valid >= found).all()


def test_the_side_is_the_followers() -> None:
    both = [face(20, 30, 60, 80), face(200, 30, 70, 90)]
    for side, wanted in (("left", both[0]), ("right", both[1])):
        assert FacePass(detecting(), side, lambda picture: both).look(PICTURE, Fraction(0)) is wanted  # type: ignore[arg-type]


def test_a_frame_without_a_picture_has_no_place_and_is_not_held() -> None:
    passing = FacePass(detecting(), None, detector_of("x.xx"))
    looked = places(passing, 5, missing=(1,))
    assert [place is not None for place in looked] == [True, False, True, True, True]
    _, found, valid = passing.finish(clock(5))
    assert drawn(found) == "x..xx"
    assert drawn(valid) == "x.xxx", "row 1 has no picture; row 2 has one, without a face, and is held"


# ------------------------------------------------------------------------------------------------ stored


def test_stored_marks_give_the_same_places_without_looking() -> None:
    seen = "..xx.x.....xx."
    first = FacePass(detecting(), None, detector_of(seen))
    looked = places(first, len(seen))
    marks, found, valid = first.finish(clock(len(seen)))
    track = Track.of(marks, clock(len(seen)), found, dtype="float32")  # as the store keeps them
    again = FacePass(detecting(), None, track.values.astype(np.float32))
    for place, wanted in zip(places(again, len(seen)), looked, strict=True):
        assert (place is None) == (wanted is None)
        if place is not None and wanted is not None:
            np.testing.assert_array_equal(cut(PICTURE, place, 47, 0.2), cut(PICTURE, wanted, 47, 0.2))
    for got, same in zip(again.finish(clock(len(seen))), (marks, found, valid), strict=True):
        np.testing.assert_array_equal(got, same)


def test_marks_of_another_form() -> None:
    with pytest.raises(ValueError, match=r"marks have shape \(3, 14\); wanted \[T, 15\]: score, left, top, width"):
        FacePass(detecting(), None, np.zeros((3, 14), np.float32))


def test_frames_beyond_the_stored_marks_have_no_face() -> None:
    passing = FacePass(detecting(0.0), None, np.stack([moving(0).marks()]))
    assert [place is not None for place in places(passing, 3)] == [True, False, False]


# ------------------------------------------------------------------------------------------------ given


def given_faces(seen: str, points: bool = True) -> GivenFaces:
    faces = [moving(row) for row in range(len(seen))]
    return GivenFaces(
        np.stack([one.box for one in faces]),
        np.stack([one.points for one in faces if one.points is not None]) if points else None,
        np.array([letter == "x" for letter in seen]),
    )


def test_given_faces_are_found_faces() -> None:
    passing = FacePass(boxed(), None, given_faces("x.x......xx"))
    places(passing, 13)  # two frames more than the corpus says anything of
    marks, found, valid = passing.finish(clock(13))
    assert drawn(found) == "x.x......xx.."
    assert drawn(valid) == "xxx......xx.."
    assert marks[0, 0] == 1
    np.testing.assert_array_equal(marks[9, 1:], moving(9).marks()[1:])


def test_fewer_frames_than_given_faces() -> None:
    passing = FacePass(boxed(), None, given_faces("xxxxx"))
    places(passing, 3)
    assert [len(part) for part in passing.finish(clock(3))] == [3, 3, 3]


def test_points_that_are_not_given_leave_the_box() -> None:
    some = given_faces("xx")
    assert some.points is not None
    points = some.points.copy()
    points[1, 2] = np.nan
    looked = places(FacePass(boxed(), None, GivenFaces(some.boxes, points, some.valid)), 2)
    assert looked[0] is not None
    assert looked[0].points is not None
    assert looked[1] is not None
    assert looked[1].points is None
    bare = FacePass(boxed(), None, given_faces("x", points=False))
    places(bare, 1)
    marks, _, _ = bare.finish(clock(1))
    assert np.isnan(marks[0, MARKS.index("left_eye_x") :]).all()


# ------------------------------------------------------------------------------------------------ refusals


def test_a_clock_of_other_length() -> None:
    passing = FacePass(boxed(), None, given_faces("xxx"))
    places(passing, 3)
    with pytest.raises(ValueError, match="3 frames were looked at, but their clock has 4 rows; wanted as many"):
        passing.finish(clock(4))


def test_crops_need_no_pass() -> None:
    with pytest.raises(ValueError, match=r"faces\.method is crops, so no face is looked for; wanted detect or box"):
        FacePass(FaceSettings(method="crops"), None, given_faces("x"))


def test_no_frame_at_all() -> None:
    marks, found, valid = FacePass(boxed(), None, given_faces("x")).finish(clock(0))
    assert (marks.shape, found.shape, valid.shape) == ((0, 15), (0,), (0,))


# ------------------------------------------------------------------------------------------------ real files


def whole_pass(path: Path, weights: Path) -> tuple[np.ndarray, np.ndarray, list[Fraction]]:
    """found [T], valid [T] and the times of a real clip."""
    from extract.decode import frame_clock, pictures
    from extract.faces.detect import Detector

    settings = FaceSettings(method="detect", weights=str(weights))
    passing = FacePass(settings, None, Detector(weights, settings))
    times = []
    for picture, seconds in pictures(path):
        passing.look(picture, seconds)
        times.append(seconds)
    _, found, valid = passing.finish(frame_clock(path))
    return found, valid, times


@pytest.mark.samples
@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["bbaf2n", "brbk7n", "id2_vcd_swwp2s", "lbax4n", "lbbc2a", "lrwp9a", "pwij3p", "sbia1a"]
)
def test_every_frame_of_grid_has_its_face(samples: Callable[[str], Path], name: str) -> None:
    found, valid, _ = whole_pass(samples(f"grid/{name}.mpg"), samples("weights/yunet/yunet_n_640_640.onnx"))
    assert len(found) == 75
    assert found.all()
    assert valid.all()


@pytest.mark.samples
@pytest.mark.slow
def test_a_film_that_goes_from_a_face_to_a_cartoon(samples: Callable[[str], Path]) -> None:
    """What one sees, frame by frame: a man in front of a door in [0, 72), black in 72, clouds and letters after."""
    found, valid, times = whole_pass(samples("faces/face_noface.mov"), samples("weights/yunet/yunet_n_640_640.onnx"))
    assert len(found) == 169
    assert times[71] < Fraction(24, 10) <= times[72]
    np.testing.assert_array_equal(found, np.arange(169) < 72)
    np.testing.assert_array_equal(valid, found)


@pytest.mark.samples
@pytest.mark.slow
def test_a_film_without_a_face(samples: Callable[[str], Path]) -> None:
    found, valid, _ = whole_pass(samples("faces/no_face.mp4"), samples("weights/yunet/yunet_n_640_640.onnx"))
    assert len(found) == 95
    assert not found.any()
    assert not valid.any()
