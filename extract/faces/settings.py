"""How the face is found and cut out. All of it enters the key. Imports neither torch nor OpenCV."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

FACES_REVISION = 1  # raise it whenever the code finds, follows or cuts faces otherwise: it enters the key


class FaceSettings(BaseModel):
    """Which face every feature with `crop.region: face` sees.

    method: `crops` = the corpus's own aligned pictures; `box` = the boxes (and points) that the corpus gives;
    `detect` = found in every frame, one person followed. weights: of the detector, `yunet` (fetched once) or the path
    of an ONNX file. longest_px: the longer edge of the picture that the detector sees. score: below it, a find is no
    face. overlap: intersection over union with the last box, from which on it is the same face. hold_seconds: gaps up
    to this keep the last place, longer ones are marked as without a face. margin: added on every side of a box that
    comes without points, as a share of its longer edge.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["crops", "detect", "box"]
    weights: str | None = None
    longest_px: int = Field(default=640, ge=64, le=4096)
    score: float = Field(default=0.6, gt=0, lt=1)
    overlap: float = Field(default=0.3, gt=0, lt=1)
    hold_seconds: float = Field(default=0.2, ge=0)
    margin: float = Field(default=0.2, ge=0, le=2)

    @model_validator(mode="after")
    def _refuse_what_would_have_no_effect(self) -> FaceSettings:
        detecting, boxed = ("weights", "longest_px", "score", "overlap"), ("margin",)
        foreign = {"crops": (*detecting, *boxed, "hold_seconds"), "box": detecting, "detect": boxed}[self.method]
        given = [name for name in foreign if name in self.model_fields_set]
        if given:
            raise ValueError(f"{', '.join(given)} would have no effect with method {self.method}; leave out")
        if self.method == "detect" and self.weights is None:
            raise ValueError("method detect needs `weights`: yunet, or the path of an ONNX file")
        return self

    def recipe(self, detector: dict[str, Any] | None) -> dict[str, Any]:
        """The faces as the JSON that enters the key. detector: what its weights were identified as."""
        meant: dict[str, Any] = {"method": self.method}
        if self.method == "crops":
            return meant
        meant |= {"revision": FACES_REVISION, "hold_seconds": self.hold_seconds, "alignment": "five points, 112-px"}
        if self.method == "box":
            return meant | {"margin": self.margin}
        return meant | {
            "detector": detector,
            "longest_px": self.longest_px,
            "score": self.score,
            "overlap": self.overlap,
        }
