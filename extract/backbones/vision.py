"""Visual networks of torchvision, by name: any classifier, at its last layer before the classes or at a named one."""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from extract.backbones.registry import Request

_HEADS = ("fc", "classifier", "heads", "head")  # what torchvision calls the module that ends in the classes


def build(request: Request) -> nn.Module:
    """The network with random weights, giving embeddings [N, D] of pixels [N, 3, S, S].

    request.layer: a node of the network's graph, e.g. `layer2` of a resnet; None = the input of its classes.
    Raises ValueError for an unknown name or layer.
    """
    name = request.model
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise ValueError(f"torchvision has no classifier {name!r}; it has {', '.join(known)}")
    arguments = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    network = torchvision.models.get_model(name, weights=None, **arguments)
    return Embedder(network, request.layer, request.pool)


def default_weights(name: str) -> dict[str, str]:
    """The name and address of the weights that torchvision calls its default."""
    weights = torchvision.models.get_model_weights(name).DEFAULT
    return {"name": str(weights), "url": weights.url}


def load_default_weights(module: Embedder, name: str) -> None:
    """Load torchvision's default weights from its download cache, fetching them once.

    Raises ValueError if they are not here and can't be fetched.
    """
    weights = torchvision.models.get_model_weights(name).DEFAULT
    try:
        state = weights.get_state_dict(progress=False, check_hash=True)
    except OSError as error:
        raise ValueError(
            f"the weights {weights} of {name} are not on this machine and can't be fetched ({error}); connect once, "
            f"put {weights.url.rsplit('/', 1)[-1]} into {torch.hub.get_dir()}/checkpoints, or ask for random:SEED"
        ) from error
    module.network.load_state_dict(state, strict=True)


class Embedder(nn.Module):
    """A classifier cut at one layer, its maps pooled to one row a picture."""

    def __init__(self, network: nn.Module, layer: str | None, pool: str) -> None:
        super().__init__()
        self.network = network
        self.pool = pool
        self._layer = layer
        self._cut: nn.Module | None = None

    def prepare(self) -> None:
        """Cut the network; call once its weights are in place."""
        if self._layer is None:
            for head in _HEADS:
                if hasattr(self.network, head):
                    setattr(self.network, head, nn.Identity())
                    break
            else:
                raise ValueError(f"{type(self.network).__name__} has no classes to cut off; name a layer")
            self._cut = self.network
            return
        nodes = get_graph_node_names(self.network)[1]
        modules = {node.rpartition(".")[0] for node in nodes} | set(nodes)
        if not any(node == self._layer or node.startswith(f"{self._layer}.") for node in modules):
            top = sorted({node.split(".")[0] for node in nodes})
            raise ValueError(
                f"layer {self._layer!r} is not in the network; it has {', '.join(top)} and what is in them"
            )
        self._cut = create_feature_extractor(self.network, {self._layer: "embedding"})

    def forward(self, pixels: Tensor) -> Tensor:
        assert self._cut is not None, "prepare() was not called"
        out = self._cut(pixels)
        maps: Tensor = out["embedding"] if isinstance(out, dict) else out
        if maps.ndim == 4:  # [N, C, h, w]
            places = 1 if self.pool == "mean" else int(self.pool.removeprefix("grid:"))
            maps = nn.functional.adaptive_avg_pool2d(maps, places)
        elif self.pool != "mean":
            raise ValueError(f"layer {self._layer!r} has no places to pool to {self.pool}; it gives {list(maps.shape)}")
        return maps.flatten(1)  # [N, D]
