"""The detector: places in pixels of the whole picture, whatever it sees of it, and files that are none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from detectors import CELL_PX, CENTRE, POINTS, SIZE, write_detector
from faces import Still

from extract.faces.detect import Detector, opencv_version
from extract.faces.onnx_sizes import with_sizes
from extract.faces.settings import FaceSettings
from extract.faces.weights import detector_file

RED, BLUE = (255, 0, 0), (0, 0, 255)


def settings(longest_px: int = 640, score: float = 0.6) -> FaceSettings:
    return FaceSettings(method="detect", weights="x.onnx", longest_px=longest_px, score=score)


@pytest.fixture
def red(tmp_path: Path) -> Path:
    pytest.importorskip("cv2")
    return write_detector(tmp_path / "red.onnx")


def squares(
    width: int, height: int, *cells: tuple[int, int], edge: int = CELL_PX, colour: tuple[int, ...] = RED
) -> Still:
    """A black picture with a square at each cell (column, row)."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for column, row in cells:
        pixels[row * edge : (row + 1) * edge, column * edge : (column + 1) * edge] = colour
    return Still(pixels)


# ------------------------------------------------------------------------------------------------ places


def test_a_place_by_hand(red: Path) -> None:
    (found,) = Detector(red, settings())(squares(151, 97, (5, 2)))
    assert found.score == 1
    # The cell starts at (40, 16), the box's middle is (5, 3) from there, its size 24 x 40.
    np.testing.assert_allclose(found.box, [33, -1, 24, 40], atol=1e-4)
    assert found.points is not None
    np.testing.assert_allclose(found.points, np.array(POINTS) + np.array([40, 16]), atol=1e-4)
    assert found.box.dtype == found.points.dtype == np.float32


def test_nothing_red_is_nobody(red: Path) -> None:
    detector = Detector(red, settings())
    assert detector(squares(151, 97)) == []
    assert detector(squares(151, 97, (3, 4), colour=BLUE)) == [], "red is red, not blue"


def test_several_faces(red: Path) -> None:
    found = Detector(red, settings())(squares(211, 163, (2, 3), (17, 4), (9, 15)))
    lefts = sorted(round(float(face.box[0] - CENTRE[0] + SIZE[0] / 2)) for face in found)
    assert lefts == [2 * 8, 9 * 8, 17 * 8]


@pytest.mark.parametrize(("width", "height"), [(151, 97), (33, 200), (64, 64), (8, 8)])
def test_a_picture_of_any_size(red: Path, width: int, height: int) -> None:
    detector = Detector(red, settings())
    for _ in range(2):  # and again, after another size
        (found,) = detector(squares(width, height, (0, 0)))
        np.testing.assert_allclose(found.box, [-7, -17, 24, 40], atol=1e-4)
        detector(squares(71, 73))


def test_a_large_picture_is_seen_small_and_marked_large(red: Path) -> None:
    """Three times as large, the same face is three times as far and as large; points keep to pixel centres."""
    (small,) = Detector(red, settings(longest_px=192))(squares(192, 96, (5, 2)))
    (large,) = Detector(red, settings(longest_px=192, score=0.5))(squares(576, 288, (5, 2), edge=3 * CELL_PX))
    np.testing.assert_allclose(large.box, 3 * small.box, atol=1e-3)
    assert small.points is not None
    assert large.points is not None
    np.testing.assert_allclose(large.points, (small.points + 0.5) * 3 - 0.5, atol=1e-3)


def test_a_small_picture_is_not_enlarged(red: Path) -> None:
    picture = squares(151, 97, (5, 2))
    few, many = (Detector(red, settings(longest_px=px))(picture) for px in (151, 4096))
    np.testing.assert_array_equal(few[0].marks(), many[0].marks())


def test_edges_that_do_not_divide_keep_their_own_scale(red: Path) -> None:
    """101 x 67 seen at 64 x 42: columns shrink by 101 / 64, rows by 67 / 42."""

    class Seen(Still):
        def rgb(self, width: int | None = None, height: int | None = None) -> np.ndarray:
            assert (width, height) == (64, 42)
            return squares(64, 42, (4, 2)).pixels

    (found,) = Detector(red, settings(longest_px=64))(Seen(np.zeros((67, 101, 3), np.uint8)))
    wide, high = 101 / 64, 67 / 42
    np.testing.assert_allclose(found.box, [25 * wide, -1 * high, 24 * wide, 40 * high], rtol=1e-5)


def test_a_score_is_a_threshold(red: Path) -> None:
    picture = squares(151, 97, (5, 2), colour=(128, 0, 0))  # half red: 128 / 255 = 0.502
    (found,) = Detector(red, settings(score=0.5))(picture)
    assert found.score == pytest.approx(128 / 255, abs=1e-6)
    assert Detector(red, settings(score=0.505))(picture) == []


def test_a_turned_view_of_pixels_is_taken_as_it_is(red: Path) -> None:
    stored = squares(97, 151, (2, 13)).pixels
    detector = Detector(red, settings())
    view = np.rot90(stored)
    (found,), (wanted,) = detector(Still(view)), detector(Still(view.copy()))
    np.testing.assert_array_equal(found.marks(), wanted.marks())


# ------------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("sizes", [("n", 3, "h", "w"), (1, 3, "h", "w"), (1, 3, 320, "w"), (1, 3, 320, 320)], ids=str)
def test_open_sizes_are_written_in(tmp_path: Path, red: Path, sizes: Sequence[int | str]) -> None:
    picture = squares(151, 97, (5, 2), (11, 7))
    wanted = Detector(red, settings())(picture)
    found = Detector(write_detector(tmp_path / "other.onnx", sizes), settings())(picture)
    np.testing.assert_array_equal([face.marks() for face in found], [face.marks() for face in wanted])


def test_a_file_with_sizes_stays_as_it_is(tmp_path: Path) -> None:
    fixed = write_detector(tmp_path / "fixed.onnx", (1, 3, 640, 640)).read_bytes()
    opened = write_detector(tmp_path / "open.onnx", ("n", 3, "height", "w")).read_bytes()
    assert with_sizes(fixed, (1, 3, 96, 32)) == fixed
    assert opened != fixed
    assert with_sizes(opened, (1, 3, 640, 640)) == fixed


@pytest.mark.parametrize(
    "content",
    [b"", b"no network at all", b"\x3a\xff", b"\xff" * 11, b"version https://git-lfs.github.com/spec/v1\n"],
    ids=["empty", "text", "cut", "bits", "pointer"],
)
def test_what_is_no_network_is_refused(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("cv2")
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.onnx is no YuNet that OpenCV .* `duet models fetch yunet`"):
        Detector(path, settings())


def test_another_network_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    path = write_detector(tmp_path / "other.onnx", outputs="cls obj bbox")
    with pytest.raises(ValueError, match=r"other\.onnx is no YuNet"):
        Detector(path, settings())


def test_a_missing_file_says_which(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    with pytest.raises(FileNotFoundError, match=r"gone\.onnx"):
        Detector(tmp_path / "gone.onnx", settings())


def test_without_opencv_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ValueError, match=r"needs OpenCV.*pip install 'duet-affect\[face\]'"):
        Detector(tmp_path / "x.onnx", settings())


def test_the_version_is_opencvs() -> None:
    cv2 = pytest.importorskip("cv2")
    assert opencv_version() == cv2.__version__


def test_weights_by_path_and_by_name(tmp_path: Path) -> None:
    path = tmp_path / "own.onnx"
    with pytest.raises(ValueError, match=r"own\.onnx, which is no file; wanted the path of YuNet's ONNX file"):
        detector_file(str(path))
    path.write_bytes(b"x")
    assert detector_file(str(path)) == path


# ------------------------------------------------------------------------------------------------ real files


@pytest.mark.samples
@pytest.mark.parametrize("edges", [(360, 288), (97, 71), (640, 360), (321, 199)], ids=str)
def test_the_real_files_agree_at_every_size(samples: Callable[[str], Path], edges: tuple[int, int]) -> None:
    """The network is one; only the input size that each file states differs."""
    from extract.decode import pictures

    picture, _ = next(pictures(samples("grid/bbaf2n.mpg")))
    seen = Still(picture.rgb(*edges).copy())
    rows = []
    for kind in ("320_320", "640_640", "dynamic"):
        (found,) = Detector(samples(f"weights/yunet/yunet_n_{kind}.onnx"), settings())(seen)
        assert found.score > 0.9
        rows.append(found.marks())
    np.testing.assert_array_equal(rows[0], rows[1])
    np.testing.assert_array_equal(rows[0], rows[2])
