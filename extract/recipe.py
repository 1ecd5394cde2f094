"""What is extracted. All of it enters the key; nothing of where or how fast does. Imports no torch."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from extract.backbones.registry import BackboneSpec, spec_of

RECIPE_FORMAT = 1


class CropSettings(BaseModel):
    """Which part of the upright picture is the face, and how large it is made.

    region: `square` = the largest centred square, `whole` = everything, squeezed to a square. Of a clip with
    a side (`_left`, `_right`) the region is taken within that half of the picture.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    region: Literal["square", "whole"] = "square"
    size_px: int = Field(default=112, ge=16, le=1024)


class FeatureSettings(BaseModel):
    """One feature: a backbone, its weights, and how its input is made.

    weights: `default` (the library's own), `random:SEED`, or the path of a state dict (.safetensors, .pth).
    layer: a named layer of the network instead of its last one. pool: `mean`, or `grid:N` to keep N x N
    places. hop_seconds: how often an audio window is taken. dtype: how rows are stored.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str
    weights: str | None = None
    layer: str | None = None
    pool: str | None = Field(default=None, pattern=r"^(mean|grid:[1-9][0-9]?)$")
    crop: CropSettings | None = None
    hop_seconds: float | None = Field(default=None, gt=0)
    dtype: Literal["float16", "float32"] = "float16"

    @model_validator(mode="after")
    def _refuse_what_would_have_no_effect(self) -> FeatureSettings:
        spec = self.spec
        foreign = ("hop_seconds",) if spec.modality == "visual" else ("layer", "pool", "crop")
        given = [name for name in foreign if getattr(self, name) is not None]
        if given:
            raise ValueError(f"{', '.join(given)} would have no effect: {self.backbone} is a {spec.modality} backbone")
        if spec.has_weights and self.weights is None:
            raise ValueError(f"{self.backbone} needs `weights`: default, random:SEED (say so by name), or a path")
        if not spec.has_weights and self.weights is not None:
            raise ValueError(f"{self.backbone} has no weights; leave `weights` out")
        if self.weights is not None and self.weights.startswith("random") and self.random_seed is None:
            raise ValueError(f"weights are {self.weights!r}; wanted random:SEED with a whole number, e.g. random:0")
        if self.weights == "default" and self.backbone.partition(":")[0] != "torchvision":
            raise ValueError(f"{self.backbone} comes without weights of its own; give a path or random:SEED")
        if self.pool not in (None, "mean") and self.layer is None:
            raise ValueError(f"pool {self.pool} would have no effect: the last layer has no places; name a `layer`")
        if self.hop_seconds is not None:
            samples = self.hop_seconds * spec.rate_hz
            whole = max(1, round(samples))
            if abs(samples - whole) > 1e-6:
                raise ValueError(
                    f"hop_seconds is {self.hop_seconds}, not a whole number of samples at {spec.rate_hz} Hz; "
                    f"try {whole / spec.rate_hz}"
                )
        return self

    @property
    def spec(self) -> BackboneSpec:
        """The registered backbone."""
        return spec_of(self.backbone)

    @property
    def random_seed(self) -> int | None:
        """The seed of `random:SEED`, or None."""
        found = re.fullmatch(r"random:([0-9]{1,18})", self.weights or "")
        return int(found[1]) if found else None

    @property
    def resolved_crop(self) -> CropSettings:
        """The crop of a visual feature, defaults filled in."""
        return self.crop or CropSettings()

    @property
    def hop_samples(self) -> int:
        """The hop of an audio feature in samples."""
        return round(self.hop_seconds * self.spec.rate_hz) if self.hop_seconds is not None else self.spec.hop_samples

    def recipe(self, weights: dict[str, Any] | None) -> dict[str, Any]:
        """The feature as the JSON whose digest is its key. weights: what `identify_weights` found."""
        spec = self.spec
        meant: dict[str, Any] = {
            "format": RECIPE_FORMAT,
            "modality": spec.modality,
            "backbone": self.backbone,
            "backbone_revision": spec.revision,
            "weights": weights,
            "precision": "float32",
            "dtype": self.dtype,
        }
        if spec.modality == "visual":
            crop = self.resolved_crop
            return meant | {
                "layer": self.layer or "last",
                "pool": self.pool or "mean",
                "crop": {"region": crop.region, "size_px": crop.size_px, "resize": "bicubic"},
                "preprocessing": {"mean": list(spec.mean), "std": list(spec.std)},
            }
        return meant | {
            "rate_hz": spec.rate_hz,
            "channels": "averaged",
            "resampler": "filter_size 64, cutoff 0.97, phase_shift 10",
            "window_samples": spec.window_samples,
            "hop_samples": self.hop_samples,
        }
