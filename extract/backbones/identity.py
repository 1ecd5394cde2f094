"""Which weights a feature means, as they enter its key. Imports torch only to ask for a library's default.

Weights are known by their bytes: a checkpoint is the same by name, address or path, a hub model the same from the hub's
cache or a folder. So identifying wants the bytes only where nothing else says their digest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from extract.backbones.hub import described_by, digests_of_tensors, snapshot_folder
from extract.backbones.kept import digest_of_weights, kept_file
from extract.backbones.pictures import picture_settings
from extract.backbones.pinned import Pinned, is_address, read_pinned
from extract.recipe import FeatureSettings, Identity


def identify(feature: FeatureSettings) -> Identity:
    """Look for the feature's weights, and say what of them enters its key.

    Raises ValueError if a named file or folder isn't there.
    """
    spec = feature.spec
    size_px, mean, std = spec.size_px, spec.mean, spec.std
    folder = hub_folder(feature)
    if folder is None:
        return Identity(_weights(feature), size_px, mean, std)
    known = described_by(folder, with_preprocessor=spec.modality == "audio")
    if feature.random_seed is not None:
        known |= {"kind": "random", "seed": feature.random_seed}
    else:
        known |= {"kind": "hub", "tensors": digests_of_tensors(folder)}
    if spec.modality == "visual":
        said = picture_settings(folder)
        size_px, mean, std = size_px or said.size_px, mean or said.mean, std or said.std
    return Identity(known, size_px, mean, std, str(folder))


def hub_folder(feature: FeatureSettings) -> Path | None:
    """The folder of a hub model's files, or None for a backbone of another kind. Raises ValueError if it isn't there.

    It is the hub's cache at the revision, the folder that `weights` names, or for random weights that of the model.
    """
    if not feature.spec.hub:
        return None
    if feature.weights == "hub":
        assert feature.revision is not None, "settings want a revision with weights: hub"
        return snapshot_folder(feature.model, feature.revision)
    family = feature.backbone.partition(":")[0]
    if feature.random_seed is not None:
        if not Path(feature.model).is_dir():
            raise ValueError(
                f"{feature.backbone} with random weights: {feature.model!r} is no folder; wanted {family}:FOLDER with "
                "the config.json of a network (and preprocessor_config.json)"
            )
        return Path(feature.model)
    assert feature.weights is not None
    folder = Path(feature.weights)
    if not folder.is_dir():
        raise ValueError(
            f"weights {feature.weights!r} of {feature.backbone} are no folder; wanted hub with a `revision`, or the "
            "path of a folder with config.json and model.safetensors"
        )
    return folder


def pinned_of(feature: FeatureSettings) -> Pinned | None:
    """The address and digest of a feature's weights, where settings or registry give one."""
    if feature.weights is None:
        return None
    published = feature.spec.published.get(feature.weights)
    if published is not None:
        return Pinned(published.url, published.sha256)
    return read_pinned(feature.weights) if is_address(feature.weights) else None


def weights_file(feature: FeatureSettings) -> Path:
    """The file that the weights are read from: a fetched one, whose digest is checked, or that of a path.

    Raises ValueError if it isn't there, or isn't what it should be.
    """
    assert feature.weights is not None
    pinned = pinned_of(feature)
    if pinned is not None:
        by_name = feature.weights in feature.spec.published
        name = f"{feature.backbone.partition(':')[0]}/{feature.weights}" if by_name else pinned.file_name
        return kept_file(pinned, name, f"duet models fetch {name if by_name else 'CONFIG'}")
    path = Path(feature.weights)
    if not path.is_file():
        named = ", ".join([*feature.spec.published, *["default"] * feature.spec.library_weights, "random:SEED"])
        raise ValueError(
            f"weights {feature.weights!r} of {feature.backbone} are no file; wanted {named}, "
            "https://...#sha256=DIGEST, or the path of a .safetensors or .pth state dict"
        )
    return path


def _weights(feature: FeatureSettings) -> dict[str, Any] | None:
    """None without weights, else the random seed, the default's name, or the file's digest."""
    if feature.weights is None:
        return None
    if feature.random_seed is not None:
        return {"kind": "random", "seed": feature.random_seed}
    if feature.weights == "default":
        from extract.backbones.vision import default_weights

        return {"kind": "default", **default_weights(feature.model)}
    pinned = pinned_of(feature)
    return {"kind": "file", "sha256": pinned.sha256 if pinned is not None else digest_of_weights(weights_file(feature))}
