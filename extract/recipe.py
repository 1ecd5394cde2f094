"""What is extracted. All of it enters the key; nothing of where or how fast does. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from extract.backbones.hidden_states import HiddenStates
from extract.backbones.pinned import is_address, read_pinned
from extract.backbones.registry import BackboneSpec, Chunks, Windows, spec_of

RECIPE_FORMAT = 2
FACES = "faces"  # the name of the track that says where the face is
Channels = Literal["averaged", "first", "second"]


class CropSettings(BaseModel):
    """Which part of the upright picture is seen, and how large it is made.

    region: `square` = the largest centred square, `whole` = everything, squeezed to a square, `face` = as the
    recipe's `faces` say. Of a clip with a side (`_left`, `_right`) a square or the whole is taken within that half of
    the picture. size_px: None = the size that the backbone was made for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    region: Literal["square", "whole", "face"] = "square"
    size_px: int | None = Field(default=None, ge=16, le=1024)


@dataclass(frozen=True)
class Identity:
    """What a feature's backbone turns out to be, once its weights were looked for.

    weights: what enters the key: their digest or seed, None where there are none. size_px, mean, std: of a visual
    backbone's pictures. folder: where a hub model's files are; not part of the key.
    """

    weights: Mapping[str, Any] | None
    size_px: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    folder: str | None = None


class FeatureSettings(BaseModel):
    """One feature: a backbone, its weights, and how its input is made.

    weights: the name of a published checkpoint (`duet models` lists them), `default` (the library's own), `hub` (the
    backbone's repository, at `revision`), `random:SEED`, `https://HOST/FILE#sha256=DIGEST`, or the path of a state dict
    (.safetensors, .pth) or of a hub model's folder. layer: a named or numbered layer of the network instead of its last
    one. pool: `mean`, `grid:N` to keep N x N places, or of a transformer `cls` or `pooler`. interpolate_positions:
    stretch the positions that a transformer learned for another size of picture. hop_seconds: how often an audio window
    is taken. channels: which of the sound's channels are heard. dtype: how rows are stored. accept_non_commercial: yes
    to a licence that forbids commercial use; not part of the key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str
    weights: str | None = None
    revision: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")
    layer: str | None = None
    pool: str | None = Field(default=None, pattern=r"^(mean|cls|pooler|grid:[1-9][0-9]?)$")
    interpolate_positions: bool = False
    crop: CropSettings | None = None
    hop_seconds: float | None = Field(default=None, gt=0)
    channels: Channels | None = None
    dtype: Literal["float16", "float32"] = "float16"
    accept_non_commercial: bool = False

    @field_validator("layer", mode="before")
    @classmethod
    def _number_as_text(cls, layer: Any) -> Any:
        """YAML reads `layer: 9` as a number."""
        return str(layer) if isinstance(layer, int) and not isinstance(layer, bool) else layer

    @model_validator(mode="after")
    def _refuse_what_would_have_no_effect(self) -> FeatureSettings:
        spec = self.spec
        heeded = spec.takes | ({"crop"} if spec.modality == "visual" else {"channels"})
        heeded |= {"hop_seconds"} if isinstance(spec.sound, Windows) else set()
        options = ("layer", "pool", "interpolate_positions", "crop", "hop_seconds", "channels")
        given = [name for name in options if getattr(self, name) not in (None, False)]
        foreign = [name for name in given if name not in heeded]
        if foreign:
            raise ValueError(
                f"{', '.join(foreign)} would have no effect: the {spec.modality} backbone {self.backbone} heeds "
                f"{', '.join(sorted(heeded))}"
            )
        self._check_weights(spec)
        if self.pool is not None and self.pool.partition(":")[0] not in spec.pools:
            raise ValueError(f"{self.backbone} has no pool {self.pool}; it has {', '.join(sorted(spec.pools))}")
        if self.pool not in (None, "mean") and self.layer is None and not spec.last_has_places:
            raise ValueError(f"pool {self.pool} would have no effect: the last layer has no places; name a `layer`")
        if spec.hub and spec.modality == "audio":
            HiddenStates.named(self.layer)
        if spec.hub and spec.modality == "visual" and not re.fullmatch(r"last|[0-9]{1,3}", self.layer or "last"):
            raise ValueError(f"layer is {self.layer!r}; wanted last, or the number of a layer")
        if self.hop_seconds is not None:
            samples = self.hop_seconds * spec.rate_hz
            whole = max(1, round(samples))
            if abs(samples - whole) > 1e-6:
                raise ValueError(
                    f"hop_seconds is {self.hop_seconds}, not a whole number of samples at {spec.rate_hz} Hz; "
                    f"try {whole / spec.rate_hz}"
                )
        return self

    def _check_weights(self, spec: BackboneSpec) -> None:
        published = spec.published.get(self.weights or "")
        restricted = [one for one in (spec, published) if one is not None and not one.commercial]
        if self.accept_non_commercial and not restricted:
            raise ValueError("accept_non_commercial would have no effect: no licence here asks for it; leave it out")
        if restricted and not self.accept_non_commercial:
            raise ValueError(
                f"{self.backbone} is under a licence that forbids commercial use ({restricted[0].licence}); "
                "if that suits you, set accept_non_commercial: true"
            )
        if not spec.has_weights:
            if self.weights is not None:
                raise ValueError(f"{self.backbone} has no weights; leave `weights` out")
            return
        named = [*spec.published, *["default"] * spec.library_weights, *["hub"] * spec.hub]
        if self.weights is None:
            choice = ", ".join([*named, "random:SEED (say so by name)", "a path"])
            raise ValueError(f"{self.backbone} needs `weights`: {choice}")
        if self.weights.startswith("random") and self.random_seed is None:
            raise ValueError(f"weights are {self.weights!r}; wanted random:SEED with a whole number, e.g. random:0")
        if is_address(self.weights):
            read_pinned(self.weights)
        if self.weights in ("default", "hub") and self.weights not in named:
            raise ValueError(f"{self.backbone} has no weights {self.weights!r}; give a path or random:SEED")
        if (self.weights == "hub") != (self.revision is not None):
            raise ValueError(
                "weights: hub needs a `revision`, the 40 digits of a commit, so that they can't change under you"
                if self.revision is None
                else f"revision would have no effect: weights are {self.weights!r}, not hub"
            )

    @property
    def spec(self) -> BackboneSpec:
        """The registered backbone."""
        return spec_of(self.backbone)

    @property
    def model(self) -> str:
        """What stands after the colon of `family:model`, or nothing."""
        return self.backbone.partition(":")[2]

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
    def resolved_channels(self) -> Channels:
        """Which channels an audio feature hears."""
        return self.channels or "averaged"

    @property
    def hop_samples(self) -> int:
        """The hop of an audio feature in samples."""
        assert self.spec.sound is not None
        return round(self.hop_seconds * self.spec.rate_hz) if self.hop_seconds else self.spec.sound.hop_samples

    def size_px(self, identity: Identity) -> int:
        """The edge of the squares that a visual feature sees. Raises ValueError if nothing says it."""
        size = self.resolved_crop.size_px or identity.size_px
        if size is None:
            raise ValueError(f"nothing says how large the pictures of {self.backbone} are; set crop.size_px")
        return size

    def recipe(self, identity: Identity, faces: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The feature as the JSON whose digest is its key. faces: the recipe of the faces it sees, if it does."""
        spec = self.spec
        # A folder after the colon is known by what is in it, which stands under `weights`, and not by its path.
        is_folder = spec.hub and identity.folder == self.model
        meant: dict[str, Any] = {
            "format": RECIPE_FORMAT,
            "kind": "backbone",
            "modality": spec.modality,
            "backbone": self.backbone.partition(":")[0] if is_folder else self.backbone,
            "backbone_revision": spec.revision,
            "weights": None if identity.weights is None else dict(identity.weights),
            "layer": self.layer or "last",
            "pool": self.pool or "mean",
            "precision": "float32",
            "dtype": self.dtype,
        }
        if spec.modality == "visual":
            assert identity.mean is not None
            assert identity.std is not None
            meant["interpolate_positions"] = self.interpolate_positions
            crop = self.resolved_crop
            return meant | {
                "crop": {"region": crop.region, "size_px": self.size_px(identity), "resize": "bicubic"},
                "faces": dict(faces) if faces is not None and crop.region == "face" else None,
                "preprocessing": {"mean": list(identity.mean), "std": list(identity.std)},
            }
        return meant | {
            "rate_hz": spec.rate_hz,
            "channels": self.resolved_channels,
            "resampler": "filter_size 64, cutoff 0.97, phase_shift 10",
            "sound": self._sound(),
        }

    def _sound(self) -> dict[str, Any]:
        sound = self.spec.sound
        if isinstance(sound, Chunks):
            return {
                "kind": "chunks",
                "hop_samples": sound.hop_samples,
                "body_samples": sound.body_samples,
                "context_samples": sound.context_samples,
                "first_centre_half_samples": sound.first_centre_half_samples,
            }
        assert sound is not None
        return {"kind": "windows", "window_samples": sound.window_samples, "hop_samples": self.hop_samples}
