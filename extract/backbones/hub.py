"""A hub model's files: where they lie, and what they are known by. Imports neither torch nor transformers.

A folder holds config.json, model.safetensors (or shards and model.safetensors.index.json) and, mostly,
preprocessor_config.json. The hub's own cache has one for every revision, in a layout that is documented
(huggingface.co/docs/hub/local-cache): models--ORG--NAME/snapshots/COMMIT/ holds links to blobs/ETAG, and the etag of a
large file is the sha256 of its bytes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from cache.key import digest_of_file
from extract.backbones.kept import digest_of_weights

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
TENSORS = "model.safetensors"
INDEX = "model.safetensors.index.json"


def hub_cache() -> Path:
    """The Hugging Face cache that this environment names."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def snapshot_folder(repository: str, revision: str) -> Path:
    """The folder of a repository at a commit, in the hub's cache. Raises ValueError if it was not fetched."""
    folder = hub_cache() / f"models--{repository.replace('/', '--')}" / "snapshots" / revision
    if not (folder / CONFIG).is_file():
        raise ValueError(
            f"{repository} at revision {revision} is not on this machine: get it once with `duet models fetch CONFIG` "
            "(the recipe that names it), or give `weights` the path of a folder with its files"
        )
    return folder


def tensor_files(folder: Path) -> list[Path]:
    """The safetensors files of a model, sorted by name. Raises ValueError if one is missing."""
    if (folder / TENSORS).is_file():
        return [folder / TENSORS]
    if not (folder / INDEX).is_file():
        raise ValueError(
            f"{folder} holds no {TENSORS}; wanted safetensors, since other formats can run code when read. On the hub, "
            "look for a revision that has them (often a pull request of the conversion bot), or convert where you "
            "trust the file: model.save_pretrained(FOLDER)"
        )
    names = sorted(set(shards(folder / INDEX)))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} lacks {', '.join(missing)}, which {INDEX} names; fetch the whole model")
    return [folder / name for name in names]


def shards(index: Path) -> list[str]:
    """The file that each parameter lies in, as an index of shards says. Raises ValueError for another file."""
    try:
        files = list(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is no index of shards ({type(error).__name__}: {error})") from None
    outside = sorted({name for name in files if not re.fullmatch(r"[A-Za-z0-9][\w.-]*\.safetensors", str(name))})
    if outside:
        raise ValueError(f"{index} names {', '.join(map(str, outside))}; wanted safetensors files beside it")
    return files


def described_by(folder: Path, *, with_preprocessor: bool) -> dict[str, Any]:
    """What a hub model's network is known by, apart from its weights: the bytes of its configuration.

    with_preprocessor: preprocessor_config.json counts too (of a visual model only its size, mean and standard deviation
    do, and these stand in the recipe by themselves). Raises ValueError if the configuration is missing.
    """
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{folder} holds no {CONFIG}; wanted the folder of a hub model, as save_pretrained writes it")
    known: dict[str, Any] = {"config": digest_of_file(folder / CONFIG)}
    if with_preprocessor:
        preprocessor = folder / PREPROCESSOR
        known["preprocessor"] = digest_of_file(preprocessor) if preprocessor.is_file() else None
    return known


def digests_of_tensors(folder: Path) -> list[str]:
    """sha256 of each safetensors file of a hub model, in the order of their names. Raises ValueError."""
    return [blob_digest(path) or digest_of_weights(path) for path in tensor_files(folder)]


def blob_digest(path: Path) -> str | None:
    """The sha256 that the hub's cache holds a large file under, or None for any other file."""
    if not path.is_symlink():
        return None
    blob = path.resolve()
    return blob.name if blob.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", blob.name) else None
