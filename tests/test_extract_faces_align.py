"""Faces cut out upright: the transformation, its conventions to a fraction of a pixel, borders and shrinking."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
from faces import Places, Still, centre_of, face, spots
from numpy.typing import NDArray
from PIL import Image

from extract.faces.align import TEMPLATE, cut, similarity

HALF = 0.5


def turned(points: Places, degrees: float, scale: float, shift: tuple[float, float]) -> Places:
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * points @ turn.T + shift


def noisy(seed: int) -> tuple[Places, Places]:
    chance = np.random.default_rng(seed)
    return chance.normal(size=(5, 2)) * 31 + 57, chance.normal(size=(5, 2)) * 13 - 7


# ------------------------------------------------------------------------------------------------ similarity


@pytest.mark.parametrize("degrees", [0, 37, 90, 179, -101])
def test_an_exact_similarity_is_found_again(degrees: float) -> None:
    found = similarity(TEMPLATE, turned(TEMPLATE, degrees, 0.37, (41.0, -3.0)))
    angle = np.radians(degrees)
    wanted = 0.37 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    np.testing.assert_allclose(found, np.column_stack([wanted, (41.0, -3.0)]), atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_it_has_the_least_squares(seed: int) -> None:
    """By another road: a similarity without mirroring is linear in a, b, t, so any least squares solver finds it."""
    source, target = noisy(seed)
    (x, y), ones, zeros = source.T, np.ones(5), np.zeros(5)
    equations = np.concatenate([np.column_stack([x, -y, ones, zeros]), np.column_stack([y, x, zeros, ones])])
    a, b, tx, ty = scipy.optimize.lsq_linear(equations, target.T.reshape(-1), tol=1e-14).x
    np.testing.assert_allclose(similarity(source, target), [[a, -b, tx], [b, a, ty]], atol=1e-9)


def test_it_never_mirrors() -> None:
    mirrored = TEMPLATE * [-1, 1]
    found = similarity(TEMPLATE, mirrored)
    assert np.linalg.det(found[:, :2]) > 0
    assert np.linalg.norm(TEMPLATE @ found[:, :2].T + found[:, 2] - mirrored) > 10


def test_points_in_one_place_align_nothing() -> None:
    with pytest.raises(ValueError, match=r"all points are at \[3\.0, 7\.0\], so nothing can be aligned"):
        similarity(np.tile([3.0, 7.0], (5, 1)), TEMPLATE)
    with pytest.raises(ValueError, match=r"points are \(4, 2\) and \(5, 2\); wanted \[N, 2\] twice"):
        similarity(TEMPLATE[:4], TEMPLATE)


# ------------------------------------------------------------------------------------------------ conventions


def test_a_face_on_the_template_is_the_picture_itself() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (112, 112, 3), np.uint8)
    there = face(0, 0, 112, 112, points=TEMPLATE)
    assert np.abs(cut(Still(pixels), there, 112, 0.0).astype(int) - pixels).max() <= 1  # float32 points, one rounding


def test_whole_pixels_move_whole_pixels() -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (151, 173, 3), np.uint8)
    there = face(0, 0, 9, 9, points=TEMPLATE + np.array([29, 17]))
    assert np.abs(cut(Still(pixels), there, 112, 0.0).astype(int) - pixels[17:129, 29:141]).max() <= 1


@pytest.mark.parametrize("size_px", [112, 160, 224])
@pytest.mark.parametrize(
    ("degrees", "scale"), [(0, 1.0), (23, 0.61), (-41, 1.37), (90, 1.0), (180, 2.0), (7, 3.31)], ids=str
)
def test_turned_faces_come_out_upright(degrees: float, scale: float, size_px: int) -> None:
    """Five spots of light, wherever and however turned, lie on the template afterwards, to a tenth of a pixel."""
    centred = TEMPLATE - 55.5
    points = turned(centred, degrees, scale, (211.3, 197.8))
    picture = Still(spots(points, 431, 397, spread_px=3 * scale))
    square = cut(picture, face(0, 0, 9, 9, points=points), size_px, 0.0)
    assert square.shape == (size_px, size_px, 3)
    assert square.dtype == np.uint8
    ratio = size_px / 112
    for place in (TEMPLATE + HALF) * ratio - HALF:
        off = centre_of(square, place, round(10 * ratio)) - place
        assert np.abs(off).max() < 0.1 * max(1.0, ratio)


def test_it_agrees_with_opencv() -> None:
    """By another road: cv2.warpAffine with the matrix from template to picture, in pixel centres."""
    cv2 = pytest.importorskip("cv2")
    rows, columns = np.mgrid[:293, :359]
    smooth = np.stack([127 + 120 * np.sin(columns / a + rows / b) for a, b in ((17, 23), (29, 13), (19, 31))], axis=-1)
    pixels = smooth.round().astype(np.uint8)
    points = turned(TEMPLATE, 19, 0.83, (97.4, 61.2)).astype(np.float32).astype(float)
    wanted = cv2.warpAffine(
        pixels, similarity(TEMPLATE, points), (112, 112), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    inverse_fit = similarity(points, TEMPLATE)  # exact points: both fits are one
    np.testing.assert_allclose(inverse_fit[:, :2] @ similarity(TEMPLATE, points)[:, :2], np.eye(2), atol=1e-6)
    got = cut(Still(pixels), face(0, 0, 9, 9, points=points), 112, 0.0)
    # OpenCV interpolates at thirty-seconds of a pixel: here up to 1/64 of a pixel times a slope of 12 levels.
    assert np.abs(got.astype(int) - wanted).max() <= 2


def test_every_size_shows_the_same_part() -> None:
    points = turned(TEMPLATE - 55.5, 13, 2.5, (301.0, 283.0))
    picture = Still(spots(points, 601, 563, spread_px=17))
    small, large = (cut(picture, face(0, 0, 9, 9, points=points), size, 0.0) for size in (112, 224))
    halved = np.asarray(Image.fromarray(large).reduce(2))
    assert np.abs(halved.astype(int) - small).max() <= 4  # two filters, one place: a shift of half a pixel makes 20


# ------------------------------------------------------------------------------------------------ boxes


def test_a_box_without_points_is_its_square_with_a_margin() -> None:
    rows, columns = np.mgrid[:211, :307]
    pixels = np.stack([columns % 256, rows, columns // 256 * 100], axis=-1).astype(np.uint8)
    # 40 x 60 with a quarter on every side: 90 x 90 about (90, 100).
    square = cut(Still(pixels), face(70, 70, 40, 60), 90, 0.25)
    np.testing.assert_array_equal(square, pixels[55:145, 45:135])


def test_points_have_no_margin() -> None:
    picture = Still(spots(TEMPLATE, 131, 127, spread_px=3))
    there = face(0, 0, 112, 112, points=TEMPLATE)
    np.testing.assert_array_equal(cut(picture, there, 112, 0.0), cut(picture, there, 112, 0.7))


# ------------------------------------------------------------------------------------------------ borders and size


@pytest.mark.parametrize(("left", "top"), [(-30, 0), (0, -30), (71, 0), (0, 31)])
def test_what_lies_outside_the_picture_is_black(left: int, top: int) -> None:
    square = cut(Still(np.full((71, 101, 3), 200, np.uint8)), face(left, top, 60, 60), 60, 0.0)
    rows, columns = np.mgrid[:60, :60]
    inside = (columns + left >= 0) & (columns + left < 101) & (rows + top >= 0) & (rows + top < 71)
    assert 0 < inside.sum() < 3600
    np.testing.assert_array_equal(square, np.where(inside[..., None], 200, 0) * np.ones(3, int))


@pytest.mark.parametrize(("left", "top"), [(-500, 10), (10, 900), (101, 0)])
def test_a_face_beside_the_picture_is_black(left: int, top: int) -> None:
    assert not cut(Still(np.full((71, 101, 3), 200, np.uint8)), face(left, top, 40, 40), 31, 0.0).any()


def test_a_fine_pattern_does_not_come_out_as_a_coarse_one() -> None:
    """Stripes of 2 pixels, shrunk by 3.7: grey. Taking every 3.7th pixel would show stripes of full contrast."""
    stripes = np.zeros((521, 541, 3), np.uint8)
    stripes[:, ::2] = 255
    square = cut(Still(stripes), face(0, 0, 9, 9, points=turned(TEMPLATE - 55.5, 0, 3.7, (270, 260))), 112, 0.0)
    assert np.abs(square.astype(int) - 127).max() < 8


def test_a_part_of_the_picture_gives_what_the_whole_gives() -> None:
    """Only the part about the face is looked at; how much else there is changes nothing."""
    pixels = np.random.default_rng(7).integers(0, 256, (401, 503, 3), np.uint8)
    points = turned(TEMPLATE - 55.5, 31, 0.9, (251, 199))
    whole = cut(Still(pixels), face(0, 0, 9, 9, points=points), 112, 0.0)
    part = cut(Still(pixels[101:301, 150:350]), face(0, 0, 9, 9, points=points - [150, 101]), 112, 0.0)
    assert np.abs(whole.astype(int) - part).max() <= 1


def test_a_picture_of_one_pixel() -> None:
    square = cut(Still(np.full((1, 1, 3), 77, np.uint8)), face(0, 0, 1, 1), 17, 0.0)
    np.testing.assert_array_equal(square, np.full((17, 17, 3), 77))


def test_a_turned_view_of_pixels_is_taken_as_it_is() -> None:
    """Pictures of turned videos are views of memory that runs backwards."""
    stored = np.random.default_rng(11).integers(0, 256, (83, 127, 3), np.uint8)
    view: NDArray[np.uint8] = np.rot90(stored)
    there = face(5, 7, 53, 47)
    np.testing.assert_array_equal(cut(Still(view), there, 37, 0.1), cut(Still(view.copy()), there, 37, 0.1))
