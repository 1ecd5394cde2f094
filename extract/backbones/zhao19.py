"""The 1-D CNN over raw sound that Karas et al. 2022 use as their audio backbone, after Zhao, Mao and Chen 2019.

Four blocks of convolution (kernel 3, same length), batch norm, ELU and max-pool by 4, with 64, 64, 128 and 128
channels, then the mean over time: 128 numbers for a window of 0.66 s at 16 kHz; 87,360 parameters.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from extract.backbones.end2you_names import encoder_names
from extract.backbones.registry import Request

_CHANNELS = (64, 64, 128, 128)


def build(request: Request) -> nn.Module:
    """The network with random weights: sound [N, W] in [-1, 1] to embeddings [N, 128]."""
    del request  # one network, one size
    return Zhao19()


class Zhao19(nn.Module):
    """[N, W] -> [N, 128]. W is 10,560 (0.66 s) in the paper; anything from 256 samples up works."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for before, after in zip((1, *_CHANNELS), _CHANNELS, strict=False):
            blocks += [nn.Conv1d(before, after, 3, padding=1), nn.BatchNorm1d(after), nn.ELU(), nn.MaxPool1d(4)]
        self.blocks = nn.Sequential(*blocks)

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A checkpoint of end2you or of the paper's code under the network's names: its `2.1` is our `blocks.5`."""
        theirs = encoder_names(state)
        ours = {
            f"{2 * block}.{part}.": f"blocks.{4 * block + part}." for block in range(len(_CHANNELS)) for part in (0, 1)
        }
        starts = {name: name[: len("0.0.")] for name in theirs}
        return {name.replace(start, ours.get(start, start), 1): theirs[name] for name, start in starts.items()}

    def forward(self, sound: Tensor) -> Tensor:
        maps: Tensor = self.blocks(sound.unsqueeze(1))  # [N, 128, W / 256]
        return maps.mean(2)
