"""Visual networks of timm (extra `timm`), as its hub repositories hold them: config.json and model.safetensors.

config.json says architecture, number of classes and how pictures are made; the classes are left out.
layer: None = what the classes are made of, pooled as the network does it; a number K = the maps of its stage or block K
(timm's `forward_intermediates`), pooled by `mean` or `grid:N`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from extract.backbones.registry import Request


def build(request: Request) -> nn.Module:
    """The network that the folder's config.json describes, with random weights: pixels [N, 3, S, S] to rows [N, D].

    Without request.folder, the model itself names the folder. Raises ValueError for a folder or layer that won't do.
    """
    folder = request.folder or Path(request.model)
    if request.pool != "mean" and request.layer in (None, "last"):
        raise ValueError(f"pool {request.pool} would have no effect: the last layer has no places; name a `layer`")
    return Staged(_network(folder, _configuration(folder, request)), request.layer, request.pool)


class Staged(nn.Module):
    """A network without its classes, or cut after a stage: [N, 3, S, S] -> [N, D]."""

    def __init__(self, network: Any, layer: str | None, pool: str) -> None:
        super().__init__()
        self.network = network
        self._pool = pool
        self._stage = None if layer is None or layer == "last" else _stage(network, layer)

    def prepare(self) -> None:
        """Cut the classes off; call once the weights are in place."""
        self.network.reset_classifier(0)

    def forward(self, pixels: Tensor) -> Tensor:
        if len(pixels) == 0:  # attention can't tell the heads of no rows
            return self.forward(pixels.new_zeros(1, *pixels.shape[1:]))[:0]
        if self._stage is None:
            out: Tensor = self.network(pixels)
            return out
        (maps,) = self.network.forward_intermediates(
            pixels, indices=[self._stage], output_fmt="NCHW", intermediates_only=True
        )
        parts = 1 if self._pool == "mean" else int(self._pool.removeprefix("grid:"))
        return F.adaptive_avg_pool2d(maps, parts).flatten(1)  # [N, D]


def _configuration(folder: Path, request: Request) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(
            f"timm:{request.model} needs its files: `weights: hub` with a `revision`, the path of a folder that holds "
            "them, or, for random weights, timm:FOLDER with config.json"
        )
    said = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(said, dict) or not isinstance(said.get("architecture"), str):
        raise ValueError(f"{path} names no architecture; wanted a config.json that timm wrote")
    return said


def _network(folder: Path, said: dict[str, Any]) -> Any:
    try:
        import timm
    except ImportError:
        raise ValueError("timm is not installed; pip install 'duet-affect[timm]'") from None
    name, classes, more = said["architecture"], said.get("num_classes", 1000), said.get("model_args") or {}
    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"{name.split('_')[0]}*")[:8])
        raise ValueError(f"{folder}/config.json: timm has no {name!r}" + (f"; it has {near}" if near else ""))
    return timm.create_model(name, pretrained=False, num_classes=classes, **more)


def _stage(network: Any, layer: str) -> int:
    if not hasattr(network, "forward_intermediates"):
        raise ValueError(f"{type(network).__name__} of timm gives no layer but the last; leave `layer` out")
    stages = len(network.feature_info) if hasattr(network, "feature_info") else 0
    if not layer.isdecimal() or int(layer) >= stages:
        raise ValueError(
            f"layer {layer!r} of timm's {type(network).__name__} is not known; wanted last, or a number from 0 to "
            f"{stages - 1}"
        )
    return int(layer)
