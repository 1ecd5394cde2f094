"""A state dict from a file, and whether its names and shapes are those of a network.

Reading never runs a pickle's code: safetensors, or `torch.load` with weights_only, which knows tensors and plain
containers alone. Two rules, and no more, lie between what a file holds and its parameters:
1. tensors one level down, under exactly one of `state_dict`, `model_state_dict` or `model`, are taken from there;
2. `module.`, which nn.DataParallel writes, is taken off where every name begins with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

_NESTS = ("state_dict", "model_state_dict", "model")
_PREFIX = "module."
_CONVERT = (
    "convert them outside, where you trust them: safetensors.torch.save_file(state_dict, 'weights.safetensors') of a "
    "plain dict of names and tensors"
)


def read_state(path: Path, remedy: str | None = None) -> dict[str, Tensor]:
    """The parameters in a file, by name, on the CPU. remedy: how this very file is converted, if it is known.

    Raises ValueError for a file that holds anything but tensors under names.
    """
    try:
        held = _read(path)
    except Exception as error:  # every library has its own for junk, and a pickle may raise anything
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else "no reason given"
        raise ValueError(
            f"weights {path} hold more than tensors, or are no state dict ({type(error).__name__}: {reason}); "
            f"{remedy or _CONVERT}"
        ) from error
    state = _unnested(held, path, remedy)
    if all(name.startswith(_PREFIX) for name in state):
        return {name.removeprefix(_PREFIX): tensor for name, tensor in state.items()}
    return dict(state)


def load_strictly(network: nn.Module, state: Mapping[str, Tensor], weights: str, backbone: str) -> None:
    """Load parameters whose names and shapes are exactly the network's. Raises ValueError with every difference."""
    expected = network.state_dict()
    shapes = [
        f"{name}: {list(state[name].shape)}, wanted {list(expected[name].shape)}"
        for name in expected.keys() & state.keys()
        if state[name].shape != expected[name].shape
    ]
    refuse_differences(weights, backbone, expected.keys() - state.keys(), state.keys() - expected.keys(), shapes)
    network.load_state_dict(state, strict=True)


def refuse_differences(
    weights: str,
    backbone: str,
    missing: Iterable[str] = (),
    unexpected: Iterable[str] = (),
    shapes: Iterable[str] = (),
) -> None:
    """Raise ValueError if anything differs: how many of each kind, then each of them on a line of its own, sorted."""
    found = {"missing": sorted(missing), "unexpected": sorted(unexpected), "of another shape": sorted(shapes)}
    if not any(found.values()):
        return
    counts = ", ".join(f"{len(names)} {kind}" for kind, names in found.items())
    lines = [f"  {kind}: {name}" for kind, names in found.items() for name in names]
    raise ValueError("\n".join([f"weights {weights} are not those of {backbone}: names {counts}", *lines]))


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _unnested(held: Any, path: Path, remedy: str | None) -> Mapping[str, Tensor]:
    if _are_tensors(held):
        return held  # type: ignore[no-any-return]
    nests = [name for name in _NESTS if isinstance(held, Mapping) and _are_tensors(held.get(name))]
    if len(nests) == 1:
        return held[nests[0]]  # type: ignore[no-any-return]
    if isinstance(held, Mapping) and held:
        what = f"hold {_some(sorted(map(str, held)))}, not tensors alone"
        what += f", and parameters under each of {', '.join(nests)}" if nests else ""
    else:
        what = "hold nothing" if isinstance(held, Mapping) else f"hold a {type(held).__name__}"
    raise ValueError(
        f"weights {path} {what}; wanted tensors by name, at the top or under one of {', '.join(_NESTS)}: "
        f"{remedy or _CONVERT}"
    )


def _are_tensors(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(name, str) and isinstance(part, Tensor) for name, part in value.items())
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
