"""Which fusion models there are, with their options and defaults. A light file: it imports no torch.

To add a model: write its class in a file of this folder and add a line below. The class takes
`(widths, **options)`, where widths is {modality: D}, and its forward takes a dict of features [B, L, D], a dict
of marks [B, L] (True = observed) and the marks [B, L] of rows inside the clip, and returns [B, L, 2].
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class FusionSpec:
    """builder: "module:class", imported when needed. options: every option with its default."""

    builder: str
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)


MODELS: dict[str, FusionSpec] = {
    "mlp": FusionSpec(
        "fuse.models.mlp:Mlp",
        source="per-frame multilayer perceptron: the baseline without time",
        options={"width": 64, "layers": 2, "dropout": 0.3},
    ),
    "lstm": FusionSpec(
        "fuse.models.lstm:Lstm",
        source="Hochreiter and Schmidhuber 1997; fusion after Karas et al. 2022",
        options={"width": 64, "layers": 1, "dropout": 0.3, "bidirectional": True},
    ),
    "selfattn": FusionSpec(
        "fuse.models.selfattn:SelfAttention",
        source="Vaswani et al. 2017; fusion after Karas et al. 2022",
        options={"width": 64, "layers": 2, "heads": 4, "feedforward": 128, "dropout": 0.3},
    ),
    "crossattn": FusionSpec(
        "fuse.models.crossattn:CrossAttention",
        source="MulT, Tsai et al. 2019; fusion after Karas et al. 2022",
        options={"width": 64, "cross_layers": 1, "layers": 1, "heads": 4, "feedforward": 128, "dropout": 0.3},
    ),
}


def resolve_options(model: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Every option of a model, defaults filled in. Raises ValueError for unknown names and wrong types."""
    if model not in MODELS:
        raise ValueError(f"model {model!r} is not known; there are {', '.join(MODELS)}{_near(model, MODELS)}")
    defaults = MODELS[model].options
    for name, value in given.items():
        if name not in defaults:
            raise ValueError(
                f"model {model} has no option {name!r}; it has {', '.join(defaults)}{_near(name, defaults)}"
            )
        wanted = type(defaults[name])
        if not (type(value) is wanted or (wanted is float and type(value) is int)):
            raise ValueError(f"option {name} of model {model} is {value!r}; wanted {wanted.__name__}")
        if wanted is int and value < 1:
            raise ValueError(f"option {name} of model {model} is {value}; wanted 1 or more")
    options = {name: type(default)(given.get(name, default)) for name, default in defaults.items()}
    if "heads" in options:
        # Positions are pairs of sine and cosine, so what they are added to has an even width.
        streams = 2 if model == "crossattn" else 1
        stream = options["width"] // streams
        if options["width"] % (2 * streams) or stream % options["heads"]:
            raise ValueError(
                f"model {model} has {options['heads']} heads for a width of {options['width']}; wanted a width that "
                f"divides by {2 * streams}{' and whose half' if streams == 2 else ' and'} divides by the heads"
            )
    if not 0 <= options.get("dropout", 0) < 1:
        raise ValueError(f"dropout of model {model} is {options['dropout']}; wanted at least 0 and less than 1")
    return options


def build_model(model: str, widths: Mapping[str, int], options: Mapping[str, Any]) -> nn.Module:
    """The model for features of the given widths, {modality: D}, with fresh weights from torch's current seed.

    Modalities are taken in the order of their names: the order in which settings list them changes nothing.
    """
    module, _, name = MODELS[model].builder.partition(":")
    built: nn.Module = getattr(import_module(module), name)(
        dict(sorted(widths.items())), **resolve_options(model, options)
    )
    return built


def _near(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
