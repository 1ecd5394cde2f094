"""Emo18 and Emo16: the two other 1-D CNNs over raw sound that Karas et al. 2022 offer beside zhao19.

Blocks of convolution, batch norm, ELU and max-pool, then the mean over time: 64 numbers (emo18, after Tzirakis, Zhang
and Schuller 2018) or 40 (emo16, after Trigeorgis et al. 2016) for a window of 0.66 s at 16 kHz. Channels, kernels,
paddings and the order are those of the authors' code (github.com/VincentKaras/abaw3_rnn_attn, commit 1db4705,
models/modules/audio.py), which are not those of the papers: end2you's own networks are wider, use other activations and
flatten instead of the mean. That code names no public weights for either; a checkpoint made with it loads by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from extract.backbones.end2you_names import encoder_names
from extract.backbones.registry import Request


@dataclass(frozen=True)
class _Block:
    channels: int
    kernel: int
    padding: int
    pool: int
    pool_padding: int


_EMO18 = (_Block(16, 8, 3, 10, 0), _Block(32, 6, 2, 8, 0), _Block(64, 6, 2, 8, 0))
_EMO16 = (_Block(40, 20, 9, 2, 1), _Block(40, 40, 19, 10, 4))


def build_emo18(request: Request) -> nn.Module:
    """The network with random weights: sound [N, W] in [-1, 1] to embeddings [N, 64]."""
    del request  # one network, one size
    return RawSoundCnn(_EMO18)


def build_emo16(request: Request) -> nn.Module:
    """The network with random weights: sound [N, W] in [-1, 1] to embeddings [N, 40]."""
    del request  # one network, one size
    return RawSoundCnn(_EMO16)


class RawSoundCnn(nn.Module):
    """[N, W] -> [N, D]. W is 10,560 (0.66 s) in the paper; anything that fills every pool works."""

    def __init__(self, blocks: tuple[_Block, ...]) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        before = 1
        for block in blocks:
            convolution = nn.Conv1d(before, block.channels, block.kernel, padding=block.padding)
            parts.append(nn.Sequential(convolution, nn.BatchNorm1d(block.channels), nn.ELU()))
            parts.append(nn.MaxPool1d(block.pool, padding=block.pool_padding))
            before = block.channels
        self.network = nn.Sequential(*parts)

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A checkpoint of the authors' code under the network's names."""
        return encoder_names(state)

    def forward(self, sound: Tensor) -> Tensor:
        maps: Tensor = self.network(sound.unsqueeze(1))  # [N, D, T]
        return maps.mean(2)
