"""How large the pictures of a hub model are, and how they are normalised, as its own files say. Plain JSON, no torch.

preprocessor_config.json of transformers' image processors, else the `pretrained_cfg` in config.json that timm writes.
Our pictures are squares that are scaled at once to the size the network sees, so what the files say of resizing and
cropping before that has no part in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_RESCALE = 1 / 255  # pixels come to the network as [0, 1], then mean and standard deviation


@dataclass(frozen=True)
class PictureSettings:
    """size_px: the edge of the squares that the network sees. mean, std: of red, green, blue in [0, 1]."""

    size_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def picture_settings(folder: Path) -> PictureSettings:
    """What a hub model's folder says of its pictures. Raises ValueError if nothing says it, or we can't do it."""
    preprocessor, config = folder / "preprocessor_config.json", folder / "config.json"
    if preprocessor.is_file():
        return _of_transformers(_read(preprocessor), preprocessor)
    said = _read(config) if config.is_file() else {}
    if isinstance(said.get("pretrained_cfg"), Mapping):
        return _of_timm(said["pretrained_cfg"], config)
    raise ValueError(
        f"{folder} says nothing of its pictures; wanted preprocessor_config.json, or pretrained_cfg in config.json"
    )


def _of_transformers(said: Mapping[str, Any], path: Path) -> PictureSettings:
    if said.get("do_flip_channel_order"):
        raise ValueError(f"{path} wants blue, green, red (do_flip_channel_order), which is not done here")
    factor = said.get("rescale_factor", _RESCALE)
    if not said.get("do_rescale", True) or not math.isclose(factor, _RESCALE, rel_tol=1e-3):
        raise ValueError(f"{path} wants pixels times {factor}; wanted 1 / 255, the only scale that is done here")
    size = said.get("crop_size") if said.get("do_center_crop") else None
    edge = _edge(size if size is not None else said.get("size"), path)
    if not said.get("do_normalize", True):
        return PictureSettings(edge, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return PictureSettings(edge, _three(said, "image_mean", path), _three(said, "image_std", path))


def _of_timm(said: Mapping[str, Any], path: Path) -> PictureSettings:
    size = said.get("input_size")
    if not isinstance(size, list) or len(size) != 3 or size[0] != 3:
        raise ValueError(f"{path} has the input_size {size!r}; wanted [3, edge, edge]")
    return PictureSettings(
        _edge({"height": size[1], "width": size[2]}, path), _three(said, "mean", path), _three(said, "std", path)
    )


def _edge(size: Any, path: Path) -> int:
    """A size as any image processor spells it: a number, height and width, or the shorter edge."""
    edges = {size} if isinstance(size, int) else set()
    if isinstance(size, Mapping):
        edges = {size[name] for name in ("height", "width", "shortest_edge") if name in size}
    if len(edges) != 1 or not all(isinstance(edge, int) and edge > 0 for edge in edges):
        raise ValueError(f"{path} has the size {size!r}; wanted the edge of a square in pixels")
    return int(edges.pop())


def _three(said: Mapping[str, Any], name: str, path: Path) -> tuple[float, float, float]:
    value = said.get(name)
    if not isinstance(value, list) or len(value) != 3 or not all(isinstance(part, int | float) for part in value):
        raise ValueError(f"{path} has the {name} {value!r}; wanted three numbers, for red, green and blue")
    red, green, blue = map(float, value)
    return red, green, blue


def _read(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error})") from None
    if not isinstance(said, dict):
        raise ValueError(f"{path} holds a {type(said).__name__}; wanted an object")
    return said
