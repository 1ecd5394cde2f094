"""How a backbone is built and its weights put in place."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn

from extract.backbones.hub import tensor_files
from extract.backbones.identity import identify, weights_file
from extract.backbones.registry import Request
from extract.backbones.state import load_strictly, read_state
from extract.recipe import FeatureSettings, Identity


def build_backbone(feature: FeatureSettings, identity: Identity | None = None) -> nn.Module:
    """The feature's network, weights in place, in evaluation mode, gradients off.

    identity: what `identify` found; None = look now. Raises ValueError if the weights are not here, or not those of the
    network.
    """
    identity = identity or identify(feature)
    module_name, _, function = feature.spec.builder.partition(":")
    build = getattr(import_module(module_name), function)
    at_random = feature.random_seed is not None
    folder = Path(identity.folder) if identity.folder is not None and not at_random else None
    request = Request(feature.model, feature.layer, feature.pool or "mean", folder, feature.interpolate_positions)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(feature.random_seed or 0)
        module = build(request)
    if feature.weights == "default":
        from extract.backbones.vision import load_default_weights

        load_default_weights(module, feature.model)
    elif feature.weights is not None and not at_random and not getattr(module, "loaded", False):
        _load(module, feature, folder)
    if hasattr(module, "prepare"):
        module.prepare()
    built: nn.Module = module.eval().requires_grad_(False)
    return built


def digest_of_state(module: nn.Module) -> str:
    """sha256 over every parameter and buffer, by name: provenance of random weights."""
    total = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        total.update(name.encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _load(module: nn.Module, feature: FeatureSettings, folder: Path | None) -> None:
    if folder is not None:
        files, remedy = tensor_files(folder), None
    else:
        published = feature.spec.published.get(feature.weights or "")
        files, remedy = [weights_file(feature)], published.remedy if published is not None else None
    state = {name: tensor for file in files for name, tensor in read_state(file, remedy).items()}
    own_names: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = getattr(module, "own_names", None)
    if own_names is not None:
        state = own_names(state)
    network: nn.Module = getattr(module, "network", module)
    load_strictly(network, state, str(folder or files[0]), feature.backbone)
