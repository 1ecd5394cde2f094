"""Which weights a feature means, as they enter its key. Imports torch only to ask for a library's default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cache.key import digest_of_file
from extract.recipe import FeatureSettings


def identify_weights(feature: FeatureSettings) -> dict[str, Any] | None:
    """What enters the key: None without weights, else the random seed, the default's name, or the file's digest.

    Raises ValueError if a named file isn't there.
    """
    if feature.weights is None:
        return None
    if feature.random_seed is not None:
        return {"kind": "random", "seed": feature.random_seed}
    if feature.weights == "default":
        from extract.backbones.vision import default_weights

        return {"kind": "default", **default_weights(feature.backbone.partition(":")[2])}
    path = Path(feature.weights)
    if not path.is_file():
        raise ValueError(
            f"weights {feature.weights!r} of {feature.backbone} are no file; wanted default, random:SEED, or the "
            "path of a .safetensors or .pth state dict"
        )
    return {"kind": "file", "sha256": digest_of_file(path)}
