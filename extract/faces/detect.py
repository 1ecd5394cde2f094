"""Find faces in a picture with YuNet, through OpenCV. The only file that knows OpenCV.

YuNet: W. Wu, H. Peng, S. Yu, YuNet: a tiny millisecond-level face detector, Machine Intelligence Research 20, 2023.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np

from extract.faces.face import Face
from extract.faces.onnx_sizes import with_sizes
from extract.faces.settings import FaceSettings
from extract.picture import Picture

_INPUT = (1, 3, 640, 640)  # written into files that leave it open; pictures of every size are taken all the same
# OpenCV's defaults, said here because they decide what is found: FACES_REVISION stands for them in the key.
_MERGE_OVERLAP, _MOST_CANDIDATES = 0.3, 5000


class Detector:
    """One YuNet: a picture in, its faces out. Not for several threads: make one a thread, which takes milliseconds.

    path: an ONNX file of YuNet with the outputs that cv2.FaceDetectorYN knows (cls_8 .. kps_32), of fixed or open
    input size. Raises ValueError for another file or without OpenCV, OSError for a file that can't be read.
    """

    def __init__(self, path: Path, settings: FaceSettings) -> None:
        self._cv2 = _opencv()
        self._longest_px = settings.longest_px
        try:
            model = np.frombuffer(with_sizes(path.read_bytes(), _INPUT), np.uint8)
            self._net = self._cv2.FaceDetectorYN.create(
                "onnx",
                model,
                np.zeros(0, np.uint8),
                (32, 32),
                score_threshold=settings.score,
                nms_threshold=_MERGE_OVERLAP,
                top_k=_MOST_CANDIDATES,
            )
            self._net.detect(np.zeros((32, 32, 3), np.uint8))  # another network fails here, not at the first frame
        except (self._cv2.error, ValueError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ValueError(
                f"face detector {path} is no YuNet that OpenCV {self._cv2.__version__} can read ({reason}); "
                "wanted the ONNX file of YuNet: fetch one with `duet models fetch yunet`"
            ) from None

    def __call__(self, picture: Picture) -> list[Face]:
        """Faces in pixels of the whole picture, however small the detector saw it; parts may lie outside."""
        scale = min(1.0, self._longest_px / max(picture.width, picture.height))
        width, height = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        seen = picture.rgb() if scale == 1 else picture.rgb(width, height)
        self._net.setInputSize((width, height))
        _, rows = self._net.detect(self._cv2.cvtColor(np.ascontiguousarray(seen), self._cv2.COLOR_RGB2BGR))
        if rows is None:
            return []
        # A row: left, top, width, height, then x, y of five points, then the score. OpenCV names left and right as
        # the person would: its "right eye" is the one on the picture's left, as everywhere here.
        ratio = np.array([picture.width / width, picture.height / height])
        boxes = rows[:, :4] * np.tile(ratio, 2)
        points = (rows[:, 4:14].reshape(-1, 5, 2) + 0.5) * ratio - 0.5  # pixel centres
        return [
            Face(min(1.0, float(row[14])), box.astype(np.float32), five.astype(np.float32))
            for row, box, five in zip(rows, boxes, points, strict=True)
        ]


def opencv_version() -> str:
    """The version of OpenCV that finds the faces. Raises ValueError without it."""
    return str(_opencv().__version__)


def _opencv() -> ModuleType:
    try:
        import cv2
    except ImportError as error:
        raise ValueError(
            f"finding faces needs OpenCV, which can't be imported ({error}): pip install 'duet-affect[face]'"
        ) from None
    cv2.setNumThreads(1)  # clips share the cores
    # What goes wrong is raised; the same on stderr besides would only confuse.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2
