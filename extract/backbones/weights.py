"""How a backbone is built and its weights loaded.

Loading never runs a pickle's code: safetensors, or `torch.load` with weights_only. Every parameter name must match.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn

from extract.recipe import FeatureSettings


def build_backbone(feature: FeatureSettings) -> nn.Module:
    """The feature's network, weights in place, in evaluation mode, gradients off. Raises ValueError."""
    module_name, _, function = feature.spec.builder.partition(":")
    build = getattr(import_module(module_name), function)
    model = feature.backbone.partition(":")[2]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(feature.random_seed or 0)
        if feature.spec.modality == "visual":
            module = build(model, layer=feature.layer, pool=feature.pool or "mean")
        else:
            module = build(model)
    if feature.weights == "default":
        from extract.backbones.vision import load_default_weights

        load_default_weights(module, model)
    elif feature.weights is not None and feature.random_seed is None:
        _load_file(getattr(module, "network", module), Path(feature.weights), feature.backbone)
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


def _load_file(module: nn.Module, path: Path, backbone: str) -> None:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Mapping[str, Tensor] = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
            raise TypeError("not a mapping of names to tensors")
    except Exception as error:
        raise ValueError(
            f"weights {path} hold more than tensors, or are no state dict ({type(error).__name__}); convert them "
            "where you trust them: safetensors.torch.save_file(state_dict, 'weights.safetensors')"
        ) from error
    expected = module.state_dict()
    missing = sorted(expected.keys() - state.keys())
    unexpected = sorted(state.keys() - expected.keys())
    shapes = [
        f"{name}: {tuple(state[name].shape)}, wanted {tuple(expected[name].shape)}"
        for name in sorted(expected.keys() & state.keys())
        if state[name].shape != expected[name].shape
    ]
    if missing or unexpected or shapes:
        raise ValueError(
            f"weights {path} are not those of {backbone}: missing {_some(missing)}; unexpected {_some(unexpected)}; "
            f"other shapes {_some(shapes)}"
        )
    module.load_state_dict(state, strict=True)


def _some(names: list[str]) -> str:
    if not names:
        return "none"
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
