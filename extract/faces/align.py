"""Cut a face out of a picture: upright, in a square of the wanted size, by the standard template.

Two ways to say where something is. Points count from pixel centres: (0, 0) is the middle of the first pixel, as in
OpenCV, and the template is meant so. Edges count from pixel edges: that middle is (0.5, 0.5), as in Pillow. A picture
scaled by s has edges scaled by s, so all arithmetic here is on edges.

    edges   0     1     2     3
            |--.--|--.--|--.--|
    points     0     1     2
"""

from __future__ import annotations

from math import ceil, floor, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from extract.faces.face import Face
from extract.picture import Picture, Pixels

TEMPLATE_PX = 112
# The five points of ArcFace (Deng et al. 2019, arXiv:1801.07698), pixel centres of a square of 112:
# `arcface_src` in deepinsight/insightface, python-package/insightface/utils/face_align.py, commit 0b2958ea.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
_HALF_PIXEL = 0.5
_REACH_PX = 4  # how far, in pixels of the square, shrinking and turning look around a place


def similarity(source: ArrayLike, target: ArrayLike) -> NDArray[np.float64]:
    """[2, 3] = [c R | t], so that c R x + t maps points source [N, 2] onto target [N, 2] with the least squares.

    R turns and never mirrors. S. Umeyama, Least-squares estimation of transformation parameters between two point
    patterns, IEEE TPAMI 13 (4), 1991; the numbers below are its equations. Raises ValueError if all source points
    are at one place.
    """
    x, y = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if x.shape != y.shape or x.ndim != 2 or x.shape[1] != 2:
        raise ValueError(f"points are {x.shape} and {y.shape}; wanted [N, 2] twice")
    mean_x, mean_y = x.mean(0), y.mean(0)  # (34), (35)
    x, y = x - mean_x, y - mean_y
    variance_x = (x**2).sum() / len(x)  # (36)
    if not variance_x > 0:
        raise ValueError(f"all points are at {mean_x.tolist()}, so nothing can be aligned by them; leave them out")
    u, d, vt = np.linalg.svd(y.T @ x / len(x))  # (38)
    s = np.array([1.0, 1.0 if np.linalg.det(u) * np.linalg.det(vt) > 0 else -1.0])  # (39), (43)
    turn = (u * s) @ vt  # (40)
    scale = (d * s).sum() / variance_x  # (42)
    return np.column_stack([scale * turn, mean_y - scale * turn @ mean_x])  # (41)


def cut(picture: Picture, face: Face, size_px: int, margin: float) -> Pixels:
    """uint8 [size_px, size_px, 3], RGB: the face by its five points; without points, the square about its box.

    margin: added on every side of such a box, as a share of its longer edge; not used with points. A square of any
    size shows the same part of the picture. What lies outside the picture is black. A face larger than the square is
    first shrunk to scale by Pillow's bicubic filter, which widens with the shrinking, so that no fine pattern comes
    out as a coarse one; then it is turned and placed with bilinear interpolation, as is usual with this template.
    """
    back = _to_picture(face, size_px, margin)  # [2, 3], from edges of the square to edges of the picture
    shrink = max(1.0, sqrt(abs(float(np.linalg.det(back[:, :2])))))
    corners = back[:, :2] @ np.array([[0, size_px, 0, size_px], [0, 0, size_px, size_px]]) + back[:, 2:]
    reach = ceil(_REACH_PX * shrink)
    left, top = (max(0, floor(edge) - reach) for edge in corners.min(1))
    right, bottom = (
        min(end, ceil(edge) + reach) for end, edge in zip((picture.width, picture.height), corners.max(1), strict=True)
    )
    if left >= right or top >= bottom:
        return np.zeros((size_px, size_px, 3), np.uint8)
    part = Image.fromarray(picture.rgb()[top:bottom, left:right])
    if shrink > 1:
        small = (max(1, round(part.width / shrink)), max(1, round(part.height / shrink)))
        part = part.resize(small, Image.Resampling.BICUBIC, reducing_gap=3.0)
    ratio = np.array([part.width / (right - left), part.height / (bottom - top)])
    onto = back.copy()
    onto[:, 2] -= left, top
    onto *= ratio[:, None]
    square = part.transform(
        (size_px, size_px), Image.Transform.AFFINE, onto.reshape(-1).tolist(), Image.Resampling.BILINEAR
    )
    return np.asarray(square)


def _to_picture(face: Face, size_px: int, margin: float) -> NDArray[np.float64]:
    """[2, 3]: where in the picture, in edges, a place of the square lies."""
    if face.points is not None:
        template = (TEMPLATE + _HALF_PIXEL) * (size_px / TEMPLATE_PX)
        return _inverse(similarity(face.points.astype(np.float64) + _HALF_PIXEL, template))
    left, top, width, height = face.box.astype(np.float64)
    edge = max(width, height) * (1 + 2 * margin)
    scale = edge / size_px
    return np.array([[scale, 0, left + (width - edge) / 2], [0, scale, top + (height - edge) / 2]])


def _inverse(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    turn = np.linalg.inv(affine[:, :2])
    return np.column_stack([turn, -turn @ affine[:, 2]])
