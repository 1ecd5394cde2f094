"""Folders as a hub repository holds them, with tiny visual networks at random in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

SIZE_PX, PATCH_PX, WIDTH, BLOCKS = 28, 7, 26, 3  # 4 x 4 patches
_TOWER = {
    "hidden_size": WIDTH,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 2,
    "intermediate_size": 37,
    "image_size": SIZE_PX,
    "patch_size": PATCH_PX,
}
_TEXT = {
    "hidden_size": 22,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 31,
    "vocab_size": 41,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MEAN, STD = [0.5, 0.25, 0.125], [0.5, 0.75, 0.625]


def save_model(model: Any, folder: Path, size_px: int = SIZE_PX) -> Path:
    """config.json, model.safetensors and preprocessor_config.json of a network of transformers."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model.save_pretrained(str(folder))
    said = {"do_normalize": True, "image_mean": MEAN, "image_std": STD, "size": {"height": size_px, "width": size_px}}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return folder


def tiny(kind: str) -> Any:
    """A network of transformers with random weights, none of them 0 or 1 by accident of initialisation."""
    import transformers

    config_name = {
        "ViTModel": "ViTConfig",
        "ViTForImageClassification": "ViTConfig",
        "Dinov2Model": "Dinov2Config",
        "Dinov2WithRegistersModel": "Dinov2WithRegistersConfig",
        "CLIPModel": "CLIPConfig",
        "SiglipModel": "SiglipConfig",
        "ConvNextModel": "ConvNextConfig",
        "SwinModel": "SwinConfig",
    }[kind]
    arguments: dict[str, Any] = dict(_TOWER)
    if kind in ("CLIPModel", "SiglipModel"):
        arguments = {"vision_config": _TOWER, "text_config": _TEXT}
    elif kind == "ConvNextModel":
        arguments = {"hidden_sizes": [7, 13, WIDTH], "depths": [1, 1, 1], "num_stages": 3}
    elif kind == "SwinModel":
        arguments = {"embed_dim": 13, "depths": [1, 1], "num_heads": [1, 2], "window_size": 2, "image_size": 28}
        arguments["patch_size"] = PATCH_PX
    torch.manual_seed(29)
    model = getattr(transformers, kind)(getattr(transformers, config_name)(**arguments)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def save_timm(name: str, folder: Path, classes: int = 7) -> Any:
    """A network of timm and its folder, as timm.models.push_to_hf_hub lays it out; returns the network."""
    import timm

    torch.manual_seed(29)
    model = timm.create_model(name, num_classes=classes).eval()
    folder.mkdir()
    said = {
        "architecture": name,
        "num_classes": classes,
        "pretrained_cfg": {"input_size": [3, 67, 67], "mean": MEAN, "std": STD},
    }
    (folder / "config.json").write_text(json.dumps(said))
    save_file(model.state_dict(), folder / "model.safetensors")
    return model
