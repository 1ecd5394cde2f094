"""Which backbones there are. A light file: settings read it, and it imports no torch.

To add a backbone: write a function `build(name) -> torch.nn.Module` in a file of this folder and add a line
below. A visual module takes pixels [N, 3, S, S], float in [0, 1] then normalised by the spec's mean and
std; an audio module takes windows [N, W] of sound in [-1, 1]. Both return embeddings [N, D].
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class BackboneSpec:
    """What is known of a backbone before it is built.

    builder: "module:function", imported when needed. model: whether `family:model` names one. has_weights: False for
    a fixed transform. revision: raise it whenever the code gives other numbers; it enters the key. width: D, or
    None where only the built network can say. Sound: rate_hz, window and default hop in samples.
    """

    modality: Literal["visual", "audio"]
    builder: str
    licence: str
    source: str
    has_weights: bool = True
    model: Literal["required", "optional", "none"] = "none"
    revision: int = 1
    width: int | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    rate_hz: int = 16000
    window_samples: int = 0
    hop_samples: int = 0


BACKBONES: dict[str, BackboneSpec] = {
    "torchvision": BackboneSpec(
        "visual",
        "extract.backbones.vision:build",
        licence="BSD-3-Clause (code); each set of weights has its own terms",
        source="torchvision.models, any classifier by name: torchvision:resnet18",
        model="required",
    ),
    "hog": BackboneSpec(
        "visual",
        "extract.backbones.hog:build",
        licence="none needed",
        source="histograms of oriented gradients, Dalal and Triggs 2005; 12 orientations, cells of 8 pixels or hog:N",
        model="optional",
        has_weights=False,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    ),
    "zhao19": BackboneSpec(
        "audio",
        "extract.backbones.zhao19:build",
        licence="no weights supplied",
        source="Zhao, Mao, Chen 2019, 1-D CNN branch, as used by Karas et al. 2022",
        width=128,
        window_samples=10560,
        hop_samples=640,
    ),
    "logmel": BackboneSpec(
        "audio",
        "extract.backbones.logmel:build",
        licence="none needed",
        source="log-mel filter bank, 64 bands, 25 ms Hann windows",
        has_weights=False,
        width=64,
        window_samples=400,
        hop_samples=160,
    ),
    "prosody": BackboneSpec(
        "audio",
        "extract.backbones.prosody:build",
        licence="none needed",
        source="pitch, loudness, rate and brightness of one second: functionals after eGeMAPS, Eyben et al. 2016",
        has_weights=False,
        revision=2,
        width=35,
        window_samples=16000,
        hop_samples=640,
    ),
}


def spec_of(backbone: str) -> BackboneSpec:
    """The spec behind `family` or `family:model`. Raises ValueError that lists what is known and what is nearest."""
    family, _, model = backbone.partition(":")
    if family not in BACKBONES:
        near = difflib.get_close_matches(family, BACKBONES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"backbone {backbone!r} is not known; there are {', '.join(BACKBONES)}{hint}")
    spec = BACKBONES[family]
    if (spec.model == "required" and not model) or (spec.model == "none" and model):
        wanted = f"{family}:MODEL ({spec.source})" if spec.model == "required" else family
        raise ValueError(f"backbone {backbone!r} is incomplete or too long; wanted {wanted}")
    return spec
