"""Visual networks of transformers: ViT, DINOv2, CLIP, SigLIP, Swin, ConvNeXt and others that its AutoModel knows.

A folder holds config.json, preprocessor_config.json and model.safetensors; nothing of it is ever run. Of a model that
has a text side too (CLIP, SigLIP), the vision tower alone is built and loaded. What a file holds beyond that is left
out by the rules below; whatever else is missing or unexpected is an error that lists it.

layer: None = the last hidden state as the model gives it; a number K = hidden state K, where 0 is what enters the first
block and the highest is what leaves the last one (before a norm that follows, if there is one).
pool: `mean` over the patches (class and register tokens left out), `grid:N` = their means in N x N parts of the
picture, `cls` = the class token, `pooler` = the model's own pooling (CLIP: the class token normalised, not projected).
Positions that were learned for another size are interpolated only if asked for.
Names are checked on networks that transformers made and saved; the weights of real repositories were never loaded here.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from extract.backbones.pictures import picture_settings
from extract.backbones.registry import Request
from extract.backbones.state import refuse_differences

# What a checkpoint holds beside the network: the text side, its projections, heads of classification and pretraining.
_TEXT = ("text_model.", "text_projection.", "visual_projection.", "logit_scale", "logit_bias")
_HEADS = ("classifier.", "cls_classifier.", "distillation_classifier.", "decoder.")
_MADE_ANEW = (".position_ids", ".mask_token")  # indices, and what hides patches in pretraining
_POOLER = "pooler."


def build(request: Request) -> nn.Module:
    """The network of request.folder, weights loaded; without a folder that of the folder request.model, at random.

    Pixels [N, 3, S, S] to embeddings [N, D]. Raises ValueError for a folder that can't be used.
    """
    folder = request.folder or Path(request.model)
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"transformers-vision:{request.model} needs its files: `weights: hub` with a `revision`, the path of a "
            "folder that holds them, or, for random weights, transformers-vision:FOLDER with config.json and "
            "preprocessor_config.json"
        )
    kind, config, arguments = _architecture(folder, pooled=request.pool == "pooler")
    if request.folder is None:
        network: nn.Module = kind._from_config(config, dtype=torch.float32, **arguments)
    else:
        network = _loaded(kind, config, arguments, folder, f"transformers-vision:{request.model}")
    return Patches(network, config, picture_settings(folder).size_px, request)


class Patches(nn.Module):
    """A network whose hidden states have places, pooled to one row a picture: [N, 3, S, S] -> [N, D]."""

    def __init__(self, network: nn.Module, config: Any, size_px: int, request: Request) -> None:
        super().__init__()
        self.network = network
        self.loaded = request.folder is not None
        self._pool = request.pool
        self._layer = _number(request.layer, config)
        self._size_px = size_px
        patch_px = getattr(config, "patch_size", None)
        self._patch_px = patch_px if isinstance(patch_px, int) else None
        self._registers = getattr(config, "num_register_tokens", 0)
        self._native_px: int | None = getattr(config, "image_size", None)
        self._takes_interpolation = "interpolate_pos_encoding" in inspect.signature(network.forward).parameters
        learned = any("position_embedding" in name for name in network.state_dict())
        self._has_positions = learned or self._takes_interpolation
        self._interpolates = request.interpolate_positions
        if self._interpolates and not self._has_positions:
            raise ValueError(f"interpolate_positions would have no effect: {type(network).__name__} learned none")
        if self._pool == "pooler" and self._layer is not None:
            raise ValueError(f"layer {request.layer} would have no effect: the pooler sees the last one; leave it out")

    def forward(self, pixels: Tensor) -> Tensor:
        self._check(pixels)
        if len(pixels) == 0:  # attention can't tell the heads of no rows
            return self.forward(pixels.new_zeros(1, *pixels.shape[1:]))[:0]
        arguments: dict[str, Any] = {"output_hidden_states": self._layer is not None}
        if self._takes_interpolation and pixels.shape[-1] != self._native_px:
            arguments["interpolate_pos_encoding"] = True  # DINOv2 and its like do so of themselves
        out = self.network(pixel_values=pixels, **arguments)
        if self._pool == "pooler":
            pooled = getattr(out, "pooler_output", None)
            if pooled is None:
                raise ValueError(f"{type(self.network).__name__} has no pooler of its own; set pool to mean or cls")
            return torch.flatten(pooled, 1)
        state: Tensor = out.last_hidden_state if self._layer is None else out.hidden_states[self._layer]
        if state.ndim == 4:  # convolutions: [N, D, h, w]
            if self._pool == "cls":
                raise ValueError(f"{type(self.network).__name__} has no class token; set pool to mean or grid:N")
            return self._over_places(state)
        first, places = self._places(state, pixels.shape[-1])
        if self._pool == "cls":
            if first == 0:
                raise ValueError(f"{type(self.network).__name__} has no class token; set pool to mean or grid:N")
            return state[:, 0]
        return self._over_places(state[:, first:].transpose(1, 2).unflatten(2, (places, places)))  # [N, D, p, p]

    def _over_places(self, maps: Tensor) -> Tensor:
        parts = 1 if self._pool == "mean" else int(self._pool.removeprefix("grid:"))
        return F.adaptive_avg_pool2d(maps, parts).flatten(1)

    def _places(self, state: Tensor, size_px: int) -> tuple[int, int]:
        """How many tokens stand before those of the patches, and how many patches an edge has."""
        tokens = state.shape[1]
        if self._patch_px:
            edge = size_px // self._patch_px
            before = tokens - edge * edge
            if before == 0 or before - self._registers in (1, 2):  # a class token, and that of distillation
                return before, edge
        edge = math.isqrt(tokens)
        if edge * edge != tokens:
            raise ValueError(
                f"{type(self.network).__name__} gives {tokens} tokens for {size_px} px, whose places are not known "
                "here; set pool to pooler"
            )
        return 0, edge

    def _check(self, pixels: Tensor) -> None:
        size_px = pixels.shape[-1]
        if self._has_positions and size_px != self._size_px and not self._interpolates:
            raise ValueError(
                f"pictures of {size_px} px, but {type(self.network).__name__} knows its positions for {self._size_px} "
                "px; leave crop.size_px out, or set interpolate_positions: true"
            )
        if self._patch_px and size_px % self._patch_px:
            raise ValueError(
                f"pictures of {size_px} px are no whole number of patches of {self._patch_px} px; set crop.size_px to "
                f"{max(1, round(size_px / self._patch_px)) * self._patch_px}"
            )


def _architecture(folder: Path, *, pooled: bool) -> tuple[Any, Any, dict[str, Any]]:
    """Class, configuration and arguments of the visual network that config.json means."""
    from transformers import AutoConfig, AutoModel

    with _quiet():
        try:
            config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"{folder}/config.json means no model that transformers knows: {_first(error)}") from None
    config = getattr(config, "vision_config", config)
    mapping: Any = AutoModel._model_mapping
    if type(config) not in mapping:
        raise ValueError(f"{folder}/config.json: transformers has no plain model for {config.model_type}")
    kind = mapping[type(config)]
    reads = getattr(kind, "main_input_name", "something else")
    if reads != "pixel_values":
        raise ValueError(f"{folder}/config.json: {config.model_type} is no visual model, it reads {reads}")
    optional = "add_pooling_layer" in inspect.signature(kind).parameters
    return kind, config, {"add_pooling_layer": pooled} if optional else {}


def _loaded(kind: Any, config: Any, arguments: dict[str, Any], folder: Path, backbone: str) -> nn.Module:
    """The network with the folder's weights, read by transformers, which knows how names changed over its versions."""
    with _quiet():
        try:
            network, report = kind.from_pretrained(
                str(folder),
                config=config,
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # reported, and refused below with all the others
                output_loading_info=True,
                **arguments,
            )
        except OSError as error:
            raise ValueError(
                f"{folder} holds no model.safetensors, or one that can't be read: {_first(error)}"
            ) from None
    left_out = (*_TEXT, *_HEADS) if arguments.get("add_pooling_layer", True) else (*_TEXT, *_HEADS, _POOLER)
    unexpected = [
        name
        for name in report["unexpected_keys"]
        if not name.removeprefix(f"{kind.base_model_prefix}.").startswith(left_out) and not name.endswith(_MADE_ANEW)
    ]
    shapes = [f"{name}: {list(got)}, wanted {list(wanted)}" for name, got, wanted in report["mismatched_keys"]]
    missing = set(report["missing_keys"]) - {name for name, *_ in report["mismatched_keys"]}
    refuse_differences(str(folder), backbone, missing, unexpected, shapes)
    loaded: nn.Module = network
    return loaded


def _number(layer: str | None, config: Any) -> int | None:
    """Which hidden state is meant; None = the last one, as the model gives it."""
    if layer is None or layer == "last":
        return None
    blocks = getattr(config, "num_hidden_layers", None) or len(getattr(config, "depths", ()))
    if not layer.isdecimal() or int(layer) > blocks:
        raise ValueError(
            f"layer {layer!r} of {config.model_type} is not known; wanted last, or a number from 0 to {blocks}"
        )
    return int(layer)


def _first(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own bars and tables: what matters of them is refused here, by name."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(50)  # only what ends a program
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
