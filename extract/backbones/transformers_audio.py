"""What the audio networks of transformers share: the files of a folder, their layers, and names in checkpoints.

A folder holds config.json, preprocessor_config.json and model.safetensors, as a hub repository does. Nothing in it is
run: the classes are those of transformers, named here. Repositories that hold only a pickle (pytorch_model.bin) are
converted once, outside, where one trusts them:

    state = torch.load("pytorch_model.bin", map_location="cpu", weights_only=True)
    safetensors.torch.save_file({name: t.clone() for name, t in state.items()}, "model.safetensors")

Many of them have a converted copy as a pull request; the commit of that is a `revision` like any other. Names are
checked against networks of transformers; the weights of real repositories were never loaded here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from extract.backbones.hidden_states import HiddenStates
from extract.backbones.hub import CONFIG, PREPROCESSOR
from extract.backbones.registry import SOUND_RATE_HZ, Request


@dataclass(frozen=True)
class HubFiles:
    """What a hub model's folder says of the network and of its input."""

    folder: Path
    backbone: str
    config: Mapping[str, Any]
    preprocessor: Mapping[str, Any]

    @classmethod
    def read(cls, request: Request, family: str, model_type: str) -> HubFiles:
        """Read the request's folder, or, for random weights, the one that the model itself names.

        Raises ValueError if there is none, if a file is missing, or if it holds another kind of network.
        """
        folder, backbone = request.folder or Path(request.model), f"{family}:{request.model}"
        if not folder.is_dir():
            raise ValueError(
                f"{backbone} is known by its files alone; wanted `weights: hub` with a `revision`, `weights` that are "
                f"the path of a folder, or, for random weights, {family}:FOLDER with {CONFIG} and {PREPROCESSOR} in it"
            )
        files = cls(folder, backbone, _json(folder / CONFIG), _json(folder / PREPROCESSOR))
        files.demand(CONFIG, {"model_type": model_type}, files.config)
        files.demand(PREPROCESSOR, {"sampling_rate": SOUND_RATE_HZ}, files.preprocessor)
        return files

    def demand(self, file: str, wanted: Mapping[str, Any], got: Mapping[str, Any]) -> None:
        """Raise ValueError where a file says otherwise: rows and their times are built on these numbers."""
        other = [
            f"{name} is {got.get(name)!r}, wanted {value!r}" for name, value in wanted.items() if got.get(name) != value
        ]
        if other:
            raise ValueError(f"{self.folder / file} is not that of {self.backbone}: {'; '.join(other)}")


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{path} is missing; wanted the folder of a hub model, with {CONFIG} and {PREPROCESSOR}"
        ) from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} can't be read as JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a {type(found).__name__}, wanted a mapping")
    return found


class Layers:
    """The hidden states that a feature asked for, of a network with so many layers."""

    def __init__(self, layer: str | None, count: int) -> None:
        named = HiddenStates.named(layer)
        self._numbers = None if named is None else named.among(count)

    @property
    def by_number(self) -> bool:
        """Whether states are wanted as they leave their layers: then a final norm has to go."""
        return self._numbers is not None

    @property
    def several(self) -> bool:
        """Whether the network must hand out what lies between its layers."""
        return self._numbers is not None and len(self._numbers) > 1

    def needed(self, layers: Any) -> Any:
        """The layers up to the deepest state wanted, which so becomes the network's output."""
        return layers if self._numbers is None else layers[: self._numbers[-1]]

    def of(self, output: Any) -> Tensor:
        """[N, T, D] of what the network returned."""
        last: Tensor = output.last_hidden_state
        if self._numbers is None or not self.several:
            return last
        total = last
        for number in self._numbers[:-1]:
            total = total + output.hidden_states[number]
        return total / len(self._numbers)


@dataclass(frozen=True)
class Names:
    """How a checkpoint's names become the network's own, by rule.

    prefixes: the part that the embedding is made of goes by one of these in networks for a task. left_out: modules and
    parameters beside it that no embedding needs: heads, a decoder. renamed: (old, new) pieces of names, tried in order
    where the network doesn't know the old name.
    """

    prefixes: tuple[str, ...]
    left_out: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...] = ()

    def own(self, state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
        """The tensors under the network's names. What no rule speaks of stays in, for the loader to list."""
        expected = network.state_dict().keys()
        prefix = next((p for p in self.prefixes if any(name.startswith(p) for name in state)), "")
        inside = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        beside = {name: tensor for name, tensor in state.items() if not name.startswith(prefix)}
        kept = {name: tensor for name, tensor in inside.items() if name in expected or not self._is_left_out(name)}
        kept |= {name: tensor for name, tensor in beside.items() if not self._is_left_out(name)}
        return {self._renamed(name, expected): tensor for name, tensor in kept.items()}

    def _is_left_out(self, name: str) -> bool:
        return any(name == part or name.startswith(f"{part}.") for part in self.left_out)

    def _renamed(self, name: str, expected: Iterable[str]) -> str:
        if name in expected:
            return name
        new = name
        for old_piece, new_piece in self.renamed:
            new = new.replace(old_piece, new_piece)
        return new if new in expected else name


def normalised(sound: Tensor) -> Tensor:
    """[N, S] with mean 0 and deviation 1 over each chunk, as Wav2Vec2FeatureExtractor makes one recording."""
    centred = sound - sound.mean(1, keepdim=True)
    return centred / torch.sqrt(centred.square().mean(1, keepdim=True) + 1e-7)
