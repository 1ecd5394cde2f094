"""Which file the face detector is read from, and what it is known by. Imports neither torch nor OpenCV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from extract.backbones.kept import digest_of_weights, kept_file
from extract.backbones.pinned import Pinned
from extract.backbones.registry import Published

_ZOO = "https://media.githubusercontent.com/media/opencv/opencv_zoo"

# The digest is that of the git-lfs pointer in opencv/opencv_zoo at the commit in the address; the licence is that of
# the README beside it. Files of the same authors, of other input sizes, are what was tried here.
DETECTORS: dict[str, Published] = {
    "yunet": Published(
        url=f"{_ZOO}/82b38c8f98e7b52aa171400f3e4c722352d0669f/models/face_detection_yunet/"
        "face_detection_yunet_2023mar.onnx",
        sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        licence="MIT",
        commercial=True,
    ),
}


def detector_file(weights: str) -> Path:
    """The ONNX file that `faces.weights` means: the path of one, or `yunet`, fetched before.

    Raises ValueError if it isn't there, or isn't what was published.
    """
    published = DETECTORS.get(weights)
    if published is not None:
        return kept_file(Pinned(published.url, published.sha256), weights, f"duet models fetch {weights}")
    path = Path(weights)
    if not path.is_file():
        raise ValueError(
            f"faces.weights is {weights}, which is no file; wanted the path of YuNet's ONNX file, or `yunet`"
        )
    return path


def detector_identity(weights: str) -> dict[str, Any]:
    """What of the detector enters the key: the digest of its file, however it is named. Raises ValueError."""
    published = DETECTORS.get(weights)
    sha256 = published.sha256 if published is not None else digest_of_weights(detector_file(weights))
    return {"kind": "file", "sha256": sha256}
