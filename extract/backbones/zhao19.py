"""The 1-D CNN over raw sound that Karas et al. 2022 use as their audio backbone, after Zhao, Mao and Chen 2019.

Four blocks of convolution (kernel 3, same length), batch norm, ELU and max-pool by 4, with 64, 64, 128 and 128
channels, then the mean over time: 128 numbers for a window of 0.66 s at 16 kHz; 87,360 parameters.
"""

from __future__ import annotations

from torch import Tensor, nn

_CHANNELS = (64, 64, 128, 128)


def build(name: str) -> nn.Module:
    """The network with random weights: sound [N, W] in [-1, 1] to embeddings [N, 128]."""
    del name  # one network, one size
    return Zhao19()


class Zhao19(nn.Module):
    """[N, W] -> [N, 128]. W is 10,560 (0.66 s) in the paper; anything from 256 samples up works."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for before, after in zip((1, *_CHANNELS), _CHANNELS, strict=False):
            blocks += [nn.Conv1d(before, after, 3, padding=1), nn.BatchNorm1d(after), nn.ELU(), nn.MaxPool1d(4)]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, sound: Tensor) -> Tensor:
        maps: Tensor = self.blocks(sound.unsqueeze(1))  # [N, 128, W / 256]
        return maps.mean(2)
